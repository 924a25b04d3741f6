"""The data sets that networks see, and the loaders around them.

Randomness belongs to the data, not to workers: draw number ``d`` of a training run is the same
image, augmented in the same way, however many workers load it and wherever the run was resumed.
"""

import itertools
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dataloader.datalist import Item
from dataloader.datasets import IGNORE, DatasetInfo
from dataloader.images import read_image, read_label, read_superpixels
from dataloader.transforms import EvaluationTransform, TrainingTransform
from utils.errors import UserError
from utils.stopping import STOP


class Draw(NamedTuple):
    """One training sample to load: which image, and the seed of its augmentation."""

    index: int
    seed: int


class TrainingSet(Dataset):
    """Labelled images; item :class:`Draw` -> (image (3, H, W) float32, label (H, W) uint8).

    Args:
        items: images with their labels.
        info: the dataset they belong to.
        size: (H, W) that samples are resized to.
        label: whether there are labels to read; without, every pixel is ignored.
        labelled: superpixel path -> labelled region ids. When given, only their pixels keep a
            label; all others are ignored.
    """

    def __init__(
        self,
        items: Sequence[Item],
        info: DatasetInfo,
        size: tuple[int, int],
        label: bool = True,
        labelled: Mapping[str, Sequence[int]] | None = None,
    ):
        self.items = items
        self.info = info
        self.with_label = label
        self.labelled = labelled
        self.transform = TrainingTransform(size, random_scale=info.random_scale)

    def __len__(self) -> int:
        return len(self.items)

    def path(self, index: int) -> str:
        """Path of an image."""
        return self.items[index].image

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        item = self.items[draw.index]
        image = to_tensor(read_image(item.image))
        if self.with_label:
            maps = [torch.from_numpy(read_label(item.label, self.info))]
        else:
            maps = [torch.full(image.shape[-2:], IGNORE, dtype=torch.uint8)]
        if self.labelled is not None:
            maps.append(_unknown(item.superpixel, self.labelled))
        rng = torch.Generator().manual_seed(draw.seed)
        image, (label, *unknown) = self.transform(image, maps, rng)
        if unknown:
            label = label | unknown[0]  # 255 where either is
        return image, label


class JoinedSet(Dataset):
    """Several training sets behind one another, addressed by one running index."""

    def __init__(self, sets: Sequence[TrainingSet]):
        self.sets = [s for s in sets if len(s)]
        self.starts = np.cumsum([0] + [len(s) for s in self.sets])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        which, index = self._find(draw.index)
        return self.sets[which][Draw(index, draw.seed)]

    def path(self, index: int) -> str:
        """Path of an image."""
        which, index = self._find(index)
        return self.sets[which].path(index)

    def _find(self, index: int) -> tuple[int, int]:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        return which, index - int(self.starts[which])


class EvaluationSet(Dataset):
    """Images at evaluation size, each with the maps asked for.

    Item -> (index, image (3, H, W) float32, label (H, W) uint8 or None, superpixels (H0, W0) uint8
    at their own size or None).
    """

    def __init__(
        self,
        items: Sequence[Item],
        info: DatasetInfo,
        size: tuple[int, int],
        label: bool = False,
        superpixels: bool = False,
    ):
        self.items = items
        self.info = info
        self.transform = EvaluationTransform(size)
        self.with_label = label
        self.with_superpixels = superpixels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor | None, Tensor | None]:
        item = self.items[index]
        maps = [torch.from_numpy(read_label(item.label, self.info))] if self.with_label else []
        image, maps = self.transform(to_tensor(read_image(item.image)), maps)
        superpixels = None
        if self.with_superpixels:
            superpixels = torch.from_numpy(read_superpixels(item.superpixel).copy())
        return index, image, maps[0] if maps else None, superpixels


def _unknown(path: str, labelled: Mapping[str, Sequence[int]]) -> Tensor:
    """(H, W) uint8, 0 inside the labelled regions of a superpixel map and 255 outside."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(labelled.get(path, ()))] = 0
    return torch.from_numpy(cv2.LUT(read_superpixels(path), table))


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8 view."""
    return torch.from_numpy(image.copy() if not image.flags.writeable else image).permute(2, 0, 1)


class EndlessSampler(Sampler):
    """Batches of draws without end: one shuffled pass over the data after another.

    The stream depends on ``seed`` alone, so a run that stopped before iteration ``start`` goes on
    with just the draws that it would have seen.
    """

    def __init__(self, length: int, batch_size: int, seed: int, start: int = 0):
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __iter__(self) -> Iterator[list[Draw]]:
        return map(self.batch, itertools.count(self.start))

    def batch(self, iteration: int) -> list[Draw]:
        """The draws of an iteration."""
        first = iteration * self.batch_size
        return [self.draw(position) for position in range(first, first + self.batch_size)]

    def draw(self, position: int) -> Draw:
        """The draw at a position of the stream."""
        epoch, offset = divmod(position, self.length)
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        seed = np.random.SeedSequence([self.seed, 1, position]).generate_state(1, np.uint64)[0]
        return Draw(int(self._order[offset]), int(seed >> 1))


class Loader(DataLoader):
    """A data loader that names the cause when a worker dies, and leaves the random state alone."""

    def __init__(self, data: Dataset, num_workers: int, **options: Any):
        options |= {
            "generator": torch.Generator(),  # else each pass would draw from the global one
            "pin_memory": torch.cuda.is_available(),
        }
        if num_workers:  # they start from a clean server: a threaded process must not be forked
            torch.multiprocessing.set_forkserver_preload(["dataloader.segmentation"])
            options |= {
                "multiprocessing_context": "forkserver",
                "persistent_workers": True,
                "worker_init_fn": _start_worker,
            }
        super().__init__(data, num_workers=num_workers, **options)

    def __iter__(self) -> Iterator:
        try:
            yield from super().__iter__()
        except RuntimeError as error:
            died = re.match(r"DataLoader worker \(pid[^)]*\) [^.\n]*", str(error))
            if not died:
                raise
            STOP.check()  # who stops a whole group of processes stops workers, too
            raise UserError(
                f"a data worker died (out of memory?): {died[0]}; "
                "run again with fewer --num_workers"
            ) from error


class TrainingLoader(Loader):
    """Endless batches (images (N, 3, H, W) float32, labels (N, H, W) uint8)."""

    def names(self, iteration: int) -> list[str]:
        """Paths of the images of an iteration's batch."""
        return [self.dataset.path(draw.index) for draw in self.batch_sampler.batch(iteration)]


def training_loader(
    data: TrainingSet | JoinedSet, batch_size: int, seed: int, num_workers: int, start: int = 0
) -> TrainingLoader:
    """The loader of a training, from iteration ``start`` on."""
    sampler = EndlessSampler(len(data), batch_size, seed, start)
    return TrainingLoader(data, num_workers, batch_sampler=sampler)


def evaluation_loader(data: Dataset, batch_size: int, num_workers: int) -> Loader:
    """Batches (indices, images (N, 3, H, W), labels (N, H, W) or None, list of superpixel maps)."""
    return Loader(data, num_workers, batch_size=batch_size, collate_fn=_collate)


def _collate(samples: Sequence[tuple]) -> tuple[list[int], Tensor, Tensor | None, list]:
    indices, images, labels, superpixels = zip(*samples, strict=True)
    stacked = None if labels[0] is None else torch.stack(labels)
    return list(indices), torch.stack(images), stacked, list(superpixels)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to handle
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    """A worker of a killed run must not stay; its parent, the server, does not notice."""
    torch.multiprocessing.parent_process().join()
    os._exit(1)

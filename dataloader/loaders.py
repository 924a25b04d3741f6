"""Data loaders: endless random batches for training, and ordered batches for evaluation.

Randomness belongs to the data, not to workers: draw number ``d`` of a training run is the same
image, augmented in the same way, however many workers load it and wherever the run was resumed.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from multiprocessing.queues import Queue
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from dataloader.datasets import SeededIndex, TrainingSet
from utils.distributed import SINGLE, World
from utils.errors import UserError
from utils.resources import resource_problem
from utils.stopping import STOP
from utils.workers import end_with_main_process, worker_context

CPU = torch.device("cpu")


class InfiniteSampler(Sampler):
    """Endless batches of draws: one shuffled pass over the data after another.

    The draws depend only on ``seed``, so a run that continues at batch ``start`` sees exactly the
    draws that it would have seen without the stop. Several ranks divide the sequence: together,
    their batches of one number are the batch of one process that is as large as theirs together.

    Args:
        length: number of images.
        batch_size: draws in a batch.
        seed: of order and augmentation.
        start: number of the batch to begin with.
        rank, size: which of how many ranks this is.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        size: int = 1,
    ):
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.rank = rank
        self.size = size
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        return map(self.batch, itertools.count(self.start))

    def batch(self, number: int) -> list[SeededIndex]:
        """Return the draws of a batch."""
        first = (number * self.size + self.rank) * self.batch_size
        return [self.draw(position) for position in range(first, first + self.batch_size)]

    def draw(self, position: int) -> SeededIndex:
        """Return the draw at a position of the endless sequence."""
        epoch, offset = divmod(position, self.length)
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        (seed,) = np.random.SeedSequence([self.seed, 1, position]).generate_state(1, np.uint64)
        return SeededIndex(int(self._order[offset]), int(seed) >> 1)


class Loader(DataLoader):
    """A data loader that says why a worker died, and does not use the global random state.

    Args:
        data: the images.
        num_workers: data loading processes.
        device: that batches are for; those for a GPU are pinned, which makes CUDA start.
        options: others of torch's data loader.
    """

    def __init__(self, data: Dataset, num_workers: int, device: torch.device = CPU, **options: Any):
        options |= {
            "generator": torch.Generator(),  # without it, each pass draws from the global one
            "pin_memory": device.type == "cuda",
        }
        if num_workers:  # forked from a clean server, since a process with threads must not fork
            options |= {
                "multiprocessing_context": worker_context(),
                "persistent_workers": True,
                "worker_init_fn": _start_worker,
            }
        super().__init__(data, num_workers=num_workers, **options)

    def check_worker_number_rationality(self) -> None:
        """Without torch's warning about more workers than cores, which are often right here."""

    def __iter__(self) -> Iterator:
        try:
            yield from super().__iter__()
        except (RuntimeError, ConnectionError, EOFError) as error:
            death = self.num_workers and _death_of_worker(error)
            if not death:
                raise
            STOP.check()  # who stops a whole group of processes stops workers, too
            if resource_problem(error):
                raise
            raise UserError(
                f"a data worker died (out of memory?): {death}; run again with fewer --num_workers"
            ) from error


def _death_of_worker(error: Exception) -> str | None:
    """Return how torch noticed that a worker had died; None for other errors.

    The tensors of a queued batch are fetched from the worker that made them. One that has just died
    refuses the connection, and may not yet count as dead.
    """
    if isinstance(error, RuntimeError):
        died = re.match(
            r"DataLoader worker \(pid[^)]*\) [^.\n]*|Pin memory thread exited", str(error)
        )
        return died[0] if died else None
    raised_by_worker = str(error).startswith("Caught ")
    return None if raised_by_worker else f"{type(error).__name__} while fetching its batch"


class TrainingLoader(Loader):
    """Endless batches (images (N, 3, H, W) float32, labels (N, H, W) uint8).

    Attributes:
        per_step: batches that an iteration takes.
    """

    per_step = 1

    def start_at(self, iteration: int) -> None:
        """Let the next pass begin with the first batch of this iteration."""
        self.batch_sampler.start = iteration * self.per_step

    def names(self, iteration: int) -> list[str]:
        """Return the paths of the images in an iteration's batches."""
        first = iteration * self.per_step
        batches = map(self.batch_sampler.batch, range(first, first + self.per_step))
        return [self.dataset.path(draw.index) for batch in batches for draw in batch]


def training_loader(
    data: TrainingSet,
    batch_size: int,
    seed: int,
    num_workers: int,
    per_step: int = 1,
    world: World = SINGLE,
    device: torch.device = CPU,
) -> TrainingLoader:
    """Return the data loader of a training, which begins at iteration 0.

    Args:
        data: the images.
        batch_size: images per batch.
        seed: of order and augmentation.
        num_workers: data loading processes.
        per_step: batches that an iteration takes.
        world: the ranks that divide the draws.
        device: that batches are for.
    """
    sampler = InfiniteSampler(len(data), batch_size, seed, 0, world.rank, world.size)
    loader = TrainingLoader(data, num_workers, device, batch_sampler=sampler)
    loader.per_step = per_step
    return loader


def evaluation_loader(
    data: Dataset, batch_size: int, num_workers: int, device: torch.device = CPU
) -> Loader:
    """Return a data loader in datalist order, of batches for a device.

    Batches are (indices, images (N, 3, H, W), labels (N, H, W) or None, list of superpixel maps).
    """
    return Loader(data, num_workers, device, batch_size=batch_size, collate_fn=_collate)


def _collate(samples: Sequence[tuple]) -> tuple[list[int], Tensor, Tensor | None, list]:
    indices, images, labels, superpixels = zip(*samples, strict=True)
    stacked = None if labels[0] is None else torch.stack(labels)
    batch = list(indices), torch.stack(images), stacked, list(superpixels)
    if get_worker_info() is not None:
        # The queue's thread would do this, too, but an error there does not reach the main process.
        for tensor in filter(torch.is_tensor, [batch[1], stacked, *superpixels]):
            tensor.share_memory_()
    return batch


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    end_with_main_process()
    Queue._on_queue_feeder_error = staticmethod(_end_worker)


def _end_worker(error: Exception, batch: Any) -> None:
    """End a worker that cannot send a batch, for which the main process would wait forever."""
    os._exit(1)

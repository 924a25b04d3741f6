"""The forward pass over a domain that fills its region table.

Several ranks divide the batches of one process, so that the table does not depend on their number.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Subset

from active_selection.pooling import pool_features, pool_predictions
from active_selection.region_table import RegionTable, column_types, make_table
from active_selection.table_files import ColumnFiles
from dataloader.datasets import EvaluationSet
from dataloader.domain import Domain
from dataloader.ignore_mask import NO_REGION
from dataloader.loaders import evaluation_loader
from dataloader.regions import check_areas, region_areas
from models.folding import folded_copy
from utils.checkpoint import digest
from utils.distributed import World
from utils.errors import UserError
from utils.progress import progress
from utils.runtime import Runtime
from utils.stopping import STOP, Stopped

log = logging.getLogger(__name__)

PREDICTIONS = ("prob", "uncertainty", "predicted_share")
"""The columns that :func:`active_selection.pooling.pool_predictions` returns."""


@dataclass(frozen=True)
class PassOptions:
    """Options of a pass over a domain.

    Attributes:
        size: (H, W) that images are resized to.
        batch_size: images per batch.
        num_workers: data loading processes.
        runtime: device and precision.
        folder: folder of the table's columns, which are memory-mapped files.
        save_period: batches between saved states.
    """

    size: tuple[int, int]
    batch_size: int
    num_workers: int
    runtime: Runtime
    folder: Path
    save_period: int = 1000

    @classmethod
    def from_args(cls, args: Namespace, runtime: Runtime, folder: Path) -> "PassOptions":
        """The options that the flags of ``train_ADA.py`` give."""
        size = tuple(args.image_size)
        return cls(size, args.val_batch_size, args.num_workers, runtime, folder, args.save_period)


def measure(
    name: str,
    domain: Domain,
    model: nn.Module,
    discriminator: nn.Module | None,
    options: PassOptions,
) -> RegionTable:
    """Measure the region table of a domain with a network; a stopped pass continues.

    Of several ranks, rank 0 alone gets the whole table; in those of the others, only the rows that
    they have measured themselves are certain.

    Args:
        name: name of the table's files, for example "round00_target".
        domain: the domain with its regions.
        model: the network (:class:`models.deeplab.DeepLab`).
        discriminator: fills the column ``target_prob``; None for a table without that column.
        options: options of the pass.

    Raises:
        UserError: a superpixel map does not match the domain's regions, or a feature is NaN or
            infinite.
        Stopped: a signal asked to stop, on all ranks; the finished rows are saved.
    """
    classes, world = model.classifier.final.out_channels, options.runtime.world
    check_same_regions(name, domain, world)
    areas = _areas(domain)
    facts = (_without_root(domain), areas, options.size, classes)
    facts += (options.batch_size, options.runtime.dtype)
    networks = nn.ModuleList(filter(None, [model, discriminator]))
    first = np.cumsum([0, *map(len, areas)])
    files = ColumnFiles(
        options.folder,
        name,
        [*first[: -1 : options.batch_size].tolist(), int(first[-1])],
        column_types(classes, with_discriminator=discriminator is not None),
        digest(networks, facts),
        world,
    )
    table = make_table(domain, files.columns)
    if files.open_batches:
        data = EvaluationSet(
            domain.items, domain.info, options.size, superpixels=True, masks=domain.masks
        )
        _fill(name, table, files, data, model, discriminator, options)
    return table


def _areas(domain: Domain) -> list[dict[int, int]]:
    """Region id -> area, of each image."""
    return [domain.regions[item.superpixel] for item in domain.items]


def _without_root(domain: Domain) -> list[list[str]]:
    """Paths of each image's files from the data root, which may be moved during a pass."""
    root = os.path.abspath(domain.root)
    return [[os.path.relpath(path, root) for path in item if path] for item in domain.items]


def check_same_regions(name: str, domain: Domain, world: World) -> None:
    """Raise a :class:`UserError` if a rank has other regions than rank 0, and thus other rows."""
    if world.size == 1:
        return
    if other := world.first_other(digest(nn.Module(), _areas(domain))):
        raise UserError(
            f"{name}: rank {other[0]} has other regions than rank 0; copy the superpixel maps and "
            "their dictionary (train.dict) to its machine again"
        )


def _fill(
    name: str,
    table: RegionTable,
    files: ColumnFiles,
    data: EvaluationSet,
    model: nn.Module,
    discriminator: nn.Module | None,
    options: PassOptions,
) -> None:
    """Measure this rank's share of the remaining batches.

    All ranks save together, every ``save_period`` batches and when one of them is asked to stop.
    """
    runtime, size, world = options.runtime, options.batch_size, options.runtime.world
    left = [range(len(data))[batch * size :][:size] for batch in files.open_batches]
    if done := len(data) - sum(map(len, left)):
        log.info("%s: %d of %d images are measured", name, done, len(data))
    images = [image for k in world.shard(len(left)) for image in left[k]]
    loader = evaluation_loader(Subset(data, images), size, options.num_workers, runtime.device)
    bar = progress(loader, desc=name, unit="batch", leave=False)
    if not runtime.compiled:  # a compiled function is bound to the network itself
        model = runtime.prepare(folded_copy(model))
    most = -(-len(left) // world.size)  # batches of a rank
    with closing(fill_table(table, model, bar, runtime, discriminator)) as filling:
        for _ in range(0, most, options.save_period):
            with suppress(Stopped):  # on this rank; below, all ranks agree
                for end in islice(filling, options.save_period):
                    files.finish((end - 1) // size)
                    STOP.check()
            files.save()
            world.check_stop()


@torch.inference_mode()
def fill_table(
    table: RegionTable,
    model: nn.Module,
    loader: Iterable,
    runtime: Runtime,
    discriminator: nn.Module | None = None,
) -> Iterator[int]:
    """Measure regions image by image; yield where each batch ends.

    Args:
        table: the table whose measured columns are filled.
        model: the network.
        loader: batches (indices, images, _, superpixel maps) of the table's images, in order.
        runtime: device and precision.
        discriminator: fills the column ``target_prob``, if the table has it.

    Raises:
        UserError: a superpixel map does not match the table's regions, or a feature is NaN or
            infinite.
    """
    model.eval()
    first = np.searchsorted(table.image, np.arange(len(table.items) + 1))
    for indices, images, _, superpixels in loader:
        with runtime.autocast():
            features, logits = model.forward_features(images.to(runtime.device, non_blocking=True))
        for i, index in enumerate(indices):
            rows, size = slice(first[index], first[index + 1]), images.shape[-2:]
            if rows.start == rows.stop:  # its mask leaves no region
                continue
            target_prob = None
            if discriminator is not None:
                with runtime.autocast():
                    target_prob = target_probability(discriminator, logits[i], size)
            measure_image(table, rows, features[i], logits[i], superpixels[i], size, target_prob)
        yield indices[-1] + 1


def measure_image(
    table: RegionTable,
    rows: slice,
    features: Tensor,
    logits: Tensor,
    superpixels: Tensor,
    size: Sequence[int],
    target_prob: Tensor | None = None,
) -> None:
    """Fill an image's rows of the table; results come from the device in one copy.

    Means are taken over the pixels of a region alone, so that masked pixels enter none.

    Args:
        table: the table to fill.
        rows: the rows of the image's regions.
        features: (256, h, w), the network's.
        logits: (C, h, w), the network's.
        superpixels: (H0, W0) region ids, on the CPU; -1 where a pixel belongs to no region.
        size: (H, W), evaluation size.
        target_prob: (1, h', w') probabilities of *target*, see :func:`target_probability`; None
            for a table without that column.

    Raises:
        UserError: the superpixel map does not match the table's regions, or a mean is not finite.
    """
    ids, item = table.region[rows], table.items[table.image[rows.start]]
    known = dict(zip(ids.tolist(), table.area[rows].tolist(), strict=True))
    check_areas(item.superpixel, region_areas(superpixels.numpy()), known)
    rank_of = np.full(257, len(ids), np.int16)  # the last entry is that of NO_REGION, which is -1
    rank_of[ids] = np.arange(len(ids))
    ranks = rank_of[resize_superpixels(superpixels, ids, size)]
    pixels = np.bincount(ranks.ravel(), minlength=len(ids))
    count = len(pixels)  # one more than regions if some pixels belong to none
    on_device = torch.from_numpy(ranks).to(features.device).long()
    columns = {
        "feature": pool_features(features, on_device, count),
        **dict(zip(PREDICTIONS, pool_predictions(logits, on_device, count), strict=True)),
    }
    if target_prob is not None:
        columns["target_prob"] = pool_features(target_prob, on_device, count)
    means = torch.cat(list(columns.values()), 1)[: len(ids)].cpu().numpy()
    if not np.isfinite(means).all():
        raise UserError(
            f"{item.image}: the network's features of this image are NaN or infinite; "
            "check the image, or use an earlier checkpoint"
        )
    ends = np.cumsum([column.shape[1] for column in columns.values()])
    for name, values in zip(columns, np.split(means, ends[:-1], 1), strict=True):
        column = getattr(table, name)[rows]
        column[...] = values.reshape(column.shape)
    table.pixels[rows] = pixels[: len(ids)]


def target_probability(discriminator: nn.Module, logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return (1, h', w') float32 probabilities of *target* for logits (C, h, w) of an (H, W) image.

    The discriminator sees the class probabilities at the size of the image.
    """
    whole = F.interpolate(logits[None].float(), tuple(size), mode="bilinear", align_corners=False)
    return discriminator(whole.softmax(1)).float().sigmoid()[0]


def resize_superpixels(superpixels: Tensor, ids: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize superpixels to evaluation size by nearest neighbour, without losing a region.

    A region that would lose all its pixels gets one: the nearest to its middle among the pixels
    of regions that keep at least one other.

    Args:
        superpixels: (H0, W0) uint8, or int16 with :data:`NO_REGION` outside of all regions.
        ids: the region ids that occur, ascending.
        size: (H, W) of the result.

    Returns:
        (H, W) region ids of the same type.

    Raises:
        UserError: there are fewer pixels than regions.
    """
    source = superpixels if superpixels.dtype == torch.uint8 else superpixels.float()
    small = F.interpolate(source[None, None], tuple(size), mode="nearest-exact")[0, 0]
    small = small.to(superpixels.dtype).numpy()

    def counts() -> np.ndarray:
        """Pixels of each region id; those of NO_REGION come last."""
        ids = small.ravel()
        if small.dtype != np.uint8:
            ids = np.where(ids == NO_REGION, np.int16(256), ids)
        return np.bincount(ids, minlength=257)

    for lost in ids[counts()[ids] == 0]:
        places = np.argwhere(superpixels.numpy() == lost)
        middle = (places[len(places) // 2] + 0.5) * size / superpixels.shape - 0.5
        spare = np.argwhere(counts()[small] > 1)
        if not len(spare):
            raise UserError(
                f"--image_size {size[0]} {size[1]}: fewer pixels than an image has regions"
            )
        y, x = spare[((spare - middle) ** 2).sum(1).argmin()]
        small[y, x] = lost
    return small

"""The region table: all that selection knows of a domain, filled by one forward pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from active_selection.pooling import pool_features, pool_predictions
from dataloader.datalist import Item
from dataloader.regions import Regions
from utils.device import Compute
from utils.errors import UserError

SCORES = ("softmax_entropy", "softmax_confidence", "softmax_margin")


@dataclass
class RegionTable:
    """One row a region, n rows, images in datalist order and regions in order of their ids.

    Attributes:
        items: the images.
        image: (n,) int32, index into ``items``.
        region: (n,) int32 region id; -1 where a row stands for a whole image.
        area: (n,) int64, pixels of the superpixel map at its own size.
        pixels: (n,) int64, pixels at evaluation size, over which the means were taken.
        feature: (n, 256) float32 mean feature.
        prob: (n, classes) float32 mean class probabilities.
        score: (n, 3) float32 mean pixel uncertainties, columns as :data:`SCORES`.
    """

    items: Sequence[Item]
    image: np.ndarray
    region: np.ndarray
    area: np.ndarray
    pixels: np.ndarray
    feature: np.ndarray
    prob: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    @property
    def pseudo_class(self) -> np.ndarray:
        """(n,) int64: the most probable class of each region."""
        return self.prob.argmax(1)

    def per_image(self, pool: np.ndarray | None = None) -> "RegionTable":
        """The table of whole images (scan mode): means weighted by pixels, and summed areas.

        Args:
            pool: (n,) bool, the unlabelled regions; when given, only their areas are summed, since
                labelling the image costs no more.
        """
        count = len(self.items)
        total = np.bincount(self.image, self.pixels, count)[:, None]
        first = np.searchsorted(self.image, np.arange(count))

        def mean(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values * self.pixels[:, None], first) / total

        return RegionTable(
            items=self.items,
            image=np.arange(count, dtype=np.int32),
            region=np.full(count, -1, np.int32),
            area=np.add.reduceat(self.area if pool is None else self.area * pool, first),
            pixels=total[:, 0].astype(np.int64),
            feature=mean(self.feature).astype(np.float32),
            prob=mean(self.prob).astype(np.float32),
            score=mean(self.score).astype(np.float32),
        )


def lay_out(
    items: Sequence[Item], regions: Regions, columns: Mapping[str, np.ndarray]
) -> RegionTable:
    """A table with its rows laid out over ``columns`` (features, probs, scores, pixels)."""
    areas = [regions[item.superpixel] for item in items]
    counts = [len(ids) for ids in areas]
    n = sum(counts)
    return RegionTable(
        items=items,
        image=np.repeat(np.arange(len(items), dtype=np.int32), counts),
        region=np.fromiter((r for ids in areas for r in ids), np.int32, n),
        area=np.fromiter((a for ids in areas for a in ids.values()), np.int64, n),
        pixels=columns["pixels"],
        feature=columns["features"],
        prob=columns["probs"],
        score=columns["scores"],
    )


@torch.inference_mode()
def fill_table(
    table: RegionTable,
    model: nn.Module,
    loader: Iterable,
    compute: Compute,
) -> Iterator[int]:
    """Measure regions image by image; yields how many images are done after each batch.

    Args:
        table: rows laid out.
        model: the network.
        loader: batches (indices, images, _, superpixel maps) of the table's images, in order.
        compute: device and precision.

    Raises:
        UserError: a map is not that of the table's regions, or a feature is no number.
    """
    model.eval()
    first = np.searchsorted(table.image, np.arange(len(table.items) + 1))
    for indices, images, _, superpixels in loader:
        with compute.autocast():
            features, logits = model.forward_features(images.to(compute.device))
        for i, index in enumerate(indices):
            rows = slice(first[index], first[index + 1])
            measure_image(table, rows, features[i], logits[i], superpixels[i], images.shape[-2:])
        yield indices[-1] + 1


def measure_image(
    table: RegionTable,
    rows: slice,
    features: Tensor,
    logits: Tensor,
    superpixels: Tensor,
    size: Sequence[int],
) -> None:
    """Fill an image's rows from its features (256, h, w), logits (C, h, w) and map (H0, W0)."""
    ids, item = table.region[rows], table.items[table.image[rows.start]]
    areas = np.bincount(superpixels.numpy().ravel(), minlength=256)
    same_ids = np.array_equal(np.flatnonzero(areas), ids)
    if not (same_ids and np.array_equal(areas[ids], table.area[rows])):
        raise UserError(
            f"{item.superpixel}: its regions are not those of the region dictionary; "
            "run superpixel_gen.py again"
        )
    small = shrink_superpixels(superpixels, ids, size)
    ranks = torch.from_numpy(np.searchsorted(ids, small)).to(features.device)
    prob, score = pool_predictions(logits, ranks, len(ids))
    feature = pool_features(features, ranks, len(ids))
    if not (feature.isfinite().all() and prob.isfinite().all()):
        raise UserError(
            f"{item.image}: the network's features of it are no numbers (NaN or infinite); "
            "look at the image, or go back to a checkpoint from before"
        )
    table.feature[rows] = feature.cpu().numpy()
    table.prob[rows] = prob.cpu().numpy()
    table.score[rows] = score.cpu().numpy()
    table.pixels[rows] = np.bincount(ranks.cpu().numpy().ravel(), minlength=len(ids))


def shrink_superpixels(superpixels: Tensor, ids: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a map to evaluation size by nearest neighbour, so that no region is lost.

    A region too small to keep a pixel gets the one nearest to its own middle, of those that
    another region can spare.

    Args:
        superpixels: (H0, W0) uint8.
        ids: the region ids that occur, ascending.
        size: (H, W) wanted.

    Returns:
        (H, W) int64 region ids.
    """
    small = F.interpolate(superpixels[None, None].float(), tuple(size), mode="nearest-exact")
    small = small[0, 0].numpy().astype(np.int64)
    for lost in np.setdiff1d(ids, small):
        places = np.argwhere(superpixels.numpy() == lost)
        middle = (places[len(places) // 2] + 0.5) * size / superpixels.shape - 0.5
        spare = np.argwhere(np.bincount(small.ravel(), minlength=256)[small] > 1)
        if not len(spare):
            raise UserError(
                f"--image_size {size[0]} {size[1]}: fewer pixels than an image has regions"
            )
        y, x = spare[((spare - middle) ** 2).sum(1).argmin()]
        small[y, x] = lost
    return small

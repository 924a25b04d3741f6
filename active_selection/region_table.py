"""The region table: all that selection knows of a domain, filled by one forward pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from active_selection.pooling import pool_features, pool_predictions
from dataloader.datalist import Item
from dataloader.regions import Regions, check_areas, region_areas
from models.deeplab import FEATURES
from utils.errors import UserError
from utils.runtime import Runtime

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
        predicted: (n, classes) float32, share of the pixels whose most probable class each one is.
        domain: (n,) float32, the discriminator's mean probability of *target*; None without one.
    """

    items: Sequence[Item]
    image: np.ndarray
    region: np.ndarray
    area: np.ndarray
    pixels: np.ndarray
    feature: np.ndarray
    prob: np.ndarray
    score: np.ndarray
    predicted: np.ndarray
    domain: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def pseudo_class(self) -> np.ndarray:
        """(n,) int64: the most probable class of each region."""
        return self.prob.argmax(1)

    @property
    def entropy(self) -> np.ndarray:
        """(n,) float32 mean pixel entropy: bits, divided by the number of classes (SPEC 6)."""
        return self.score[:, SCORES.index("softmax_entropy")]

    def per_image(self, pool: np.ndarray | None = None) -> "RegionTable":
        """The table of whole images (scan mode): means weighted by pixels, and summed areas.

        Args:
            pool: (n,) bool, the unlabelled regions; when given, only their areas are summed, since
                labelling the image costs no more.
        """
        count = len(self.items)
        first = np.searchsorted(self.image, np.arange(count))

        return RegionTable(
            items=self.items,
            image=np.arange(count, dtype=np.int32),
            region=np.full(count, -1, np.int32),
            area=np.add.reduceat(self.area if pool is None else self.area * pool, first),
            pixels=np.add.reduceat(self.pixels, first),
            feature=self.image_means(self.feature),
            prob=self.image_means(self.prob),
            score=self.image_means(self.score),
            predicted=self.image_means(self.predicted),
            domain=None if self.domain is None else self.image_means(self.domain),
        )

    def image_means(self, values: np.ndarray) -> np.ndarray:
        """Means over whole images, float32, of a column (n, ...), weighted by pixels."""
        ends = np.searchsorted(self.image, np.arange(len(self.items) + 1))
        means = np.empty((len(self.items), *values.shape[1:]), np.float32)
        for image, rows in enumerate(map(slice, ends[:-1], ends[1:])):
            means[image] = np.average(values[rows], axis=0, weights=self.pixels[rows])
        return means


def column_types(num_classes: int, with_domain: bool) -> dict[str, tuple[type, tuple[int, ...]]]:
    """dtype, and shape of a row, of each measured column, by its name in files."""
    types = {
        "features": (np.float32, (FEATURES,)),
        "probs": (np.float32, (num_classes,)),
        "scores": (np.float32, (len(SCORES),)),
        "predicted": (np.float32, (num_classes,)),
        "pixels": (np.int64, ()),
    }
    return types | ({"domain": (np.float32, ())} if with_domain else {})


def make_table(
    items: Sequence[Item], regions: Regions, columns: Mapping[str, np.ndarray]
) -> RegionTable:
    """A table with its rows laid out over ``columns``, as :func:`column_types` has them."""
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
        predicted=columns["predicted"],
        domain=columns.get("domain"),
    )


def areas_only(items: Sequence[Item], regions: Regions) -> RegionTable:
    """A table of regions and their areas alone; what a network would measure is of width 0."""
    n = sum(len(regions[item.superpixel]) for item in items)
    empty = np.empty((n, 0), np.float32)
    columns = dict.fromkeys(("features", "probs", "scores", "predicted"), empty)
    return make_table(items, regions, {**columns, "pixels": np.ones(n, np.int64)})


@torch.inference_mode()
def fill_table(
    table: RegionTable,
    model: nn.Module,
    loader: Iterable,
    runtime: Runtime,
    discriminator: nn.Module | None = None,
) -> Iterator[int]:
    """Measure regions image by image; yields how many images are done after each batch.

    Args:
        table: rows laid out.
        model: the network.
        loader: batches (indices, images, _, superpixel maps) of the table's images, in order.
        runtime: device and precision.
        discriminator: what tells domains apart, for a table that has that column.

    Raises:
        UserError: a map is not that of the table's regions, or a feature is no number.
    """
    model.eval()
    first = np.searchsorted(table.image, np.arange(len(table.items) + 1))
    for indices, images, _, superpixels in loader:
        with runtime.autocast():
            features, logits = model.forward_features(images.to(runtime.device))
        for i, index in enumerate(indices):
            rows, size = slice(first[index], first[index + 1]), images.shape[-2:]
            ranks = measure_image(table, rows, features[i], logits[i], superpixels[i], size)
            if discriminator is not None:
                with runtime.autocast():
                    domain = domain_probability(discriminator, logits[i], size)
                regions = rows.stop - rows.start
                table.domain[rows] = pool_features(domain, ranks, regions)[:, 0].cpu().numpy()
        yield indices[-1] + 1


def measure_image(
    table: RegionTable,
    rows: slice,
    features: Tensor,
    logits: Tensor,
    superpixels: Tensor,
    size: Sequence[int],
) -> Tensor:
    """Fill an image's rows from its features (256, h, w), logits (C, h, w) and map (H0, W0).

    Returns:
        (H, W) int64: which of the rows each pixel belongs to.
    """
    ids, item = table.region[rows], table.items[table.image[rows.start]]
    known = dict(zip(ids.tolist(), table.area[rows].tolist(), strict=True))
    check_areas(item.superpixel, region_areas(superpixels.numpy()), known)
    small = resize_superpixels(superpixels, ids, size)
    rank_of = np.zeros(256, np.int64)
    rank_of[ids] = np.arange(len(ids))
    ranks = torch.from_numpy(rank_of[small]).to(features.device)
    prob, score, predicted = pool_predictions(logits, ranks, len(ids))
    feature = pool_features(features, ranks, len(ids))
    if not (feature.isfinite().all() and prob.isfinite().all()):
        raise UserError(
            f"{item.image}: the network's features of it are no numbers (NaN or infinite); "
            "look at the image, or go back to a checkpoint from before"
        )
    table.feature[rows] = feature.cpu().numpy()
    table.prob[rows] = prob.cpu().numpy()
    table.score[rows] = score.cpu().numpy()
    table.predicted[rows] = predicted.cpu().numpy()
    table.pixels[rows] = np.bincount(ranks.cpu().numpy().ravel(), minlength=len(ids))
    return ranks


def domain_probability(discriminator: nn.Module, logits: Tensor, size: Sequence[int]) -> Tensor:
    """(1, h', w') float32 probability of *target*, for logits (C, h, w) of an image (H, W)."""
    whole = F.interpolate(logits[None].float(), tuple(size), mode="bilinear", align_corners=False)
    return discriminator(whole.softmax(1)).float().sigmoid()[0]


def resize_superpixels(superpixels: Tensor, ids: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a map to evaluation size by nearest neighbour, so that no region is lost.

    A region too small to keep a pixel gets the one nearest to its own middle, of those that
    another region can spare.

    Args:
        superpixels: (H0, W0) uint8.
        ids: the region ids that occur, ascending.
        size: (H, W) wanted.

    Returns:
        (H, W) uint8 region ids.
    """
    small = F.interpolate(superpixels[None, None], tuple(size), mode="nearest-exact")[0, 0].numpy()
    for lost in ids[np.bincount(small.ravel(), minlength=256)[ids] == 0]:
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

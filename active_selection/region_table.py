"""The region table: all that selection knows of a domain, filled by one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from tqdm import tqdm

from active_selection.pooling import pool_features, pool_predictions
from dataloader.datalist import Item
from dataloader.regions import Regions
from dataloader.segmentation import EvaluationSet, evaluation_loader
from models.deeplab import FEATURES
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


def empty_table(
    items: Sequence[Item], regions: Regions, num_classes: int, feature_file: Path | None = None
) -> RegionTable:
    """A table with its rows laid out and nothing measured; features in a mapped file if named."""
    counts = [len(regions[item.superpixel]) for item in items]
    n = sum(counts)
    areas = [regions[item.superpixel] for item in items]
    if feature_file is None:
        feature = np.zeros((n, FEATURES), np.float32)
    else:
        feature_file.parent.mkdir(parents=True, exist_ok=True)
        feature = open_memmap(feature_file, "w+", np.float32, (n, FEATURES))
    return RegionTable(
        items=items,
        image=np.repeat(np.arange(len(items), dtype=np.int32), counts),
        region=np.fromiter((r for ids in areas for r in ids), np.int32, n),
        area=np.fromiter((a for ids in areas for a in ids.values()), np.int64, n),
        pixels=np.zeros(n, np.int64),
        feature=feature,
        prob=np.zeros((n, num_classes), np.float32),
        score=np.zeros((n, len(SCORES)), np.float32),
    )


@torch.inference_mode()
def fill_table(
    table: RegionTable,
    model: nn.Module,
    data: EvaluationSet,
    batch_size: int,
    num_workers: int,
    compute: Compute,
    description: str = "regions",
) -> None:
    """Measure every region of ``data`` (the table's images with superpixels) in one pass."""
    model.eval()
    first = np.searchsorted(table.image, np.arange(len(table.items) + 1))
    loader = evaluation_loader(data, batch_size, num_workers)
    for indices, images, _, superpixels in tqdm(
        loader, desc=description, disable=None, leave=False
    ):
        with compute.autocast():
            features, logits = model.forward_features(images.to(compute.device))
        size = images.shape[-2:]
        for i, index in enumerate(indices):
            rows = slice(first[index], first[index + 1])
            ids = table.region[rows]
            if not np.array_equal(superpixels[i].unique(), ids):
                raise UserError(
                    f"{table.items[index].superpixel}: its regions are not those of the region "
                    "dictionary; run superpixel_gen.py again"
                )
            small = shrink_superpixels(superpixels[i], ids, size)
            ranks = torch.from_numpy(np.searchsorted(ids, small)).to(compute.device)
            prob, score = pool_predictions(logits[i], ranks, len(ids))
            table.feature[rows] = pool_features(features[i], ranks, len(ids)).cpu().numpy()
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

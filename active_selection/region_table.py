"""The region table: everything that selection knows about a domain, one row per region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataloader.domain import Domain
from dataloader.item import Item
from models.deeplab import FEATURES

UNCERTAINTIES = ("softmax_entropy", "softmax_confidence", "softmax_margin")


@dataclass
class RegionTable:
    """One row per region, n rows: images in datalist order, the regions of an image by id.

    Attributes:
        items: the images.
        image: (n,) int32, index into ``items``.
        region: (n,) int32 region id; -1 in rows of whole images (scan mode).
        area: (n,) int64, pixels in the superpixel map at its original size.
        pixels: (n,) int64, pixels at evaluation size, over which the means are taken.
        feature: (n, 256) float32 mean feature.
        prob: (n, classes) float32 mean class probabilities.
        uncertainty: (n, 3) float32 mean pixel uncertainties, columns as :data:`UNCERTAINTIES`.
        predicted_share: (n, classes) float32, share of the pixels that are predicted as each class.
        target_prob: (n,) float32, mean probability of *target* by the discriminator; None without a
            discriminator.
    """

    items: Sequence[Item]
    image: np.ndarray
    region: np.ndarray
    area: np.ndarray
    pixels: np.ndarray
    feature: np.ndarray
    prob: np.ndarray
    uncertainty: np.ndarray
    predicted_share: np.ndarray
    target_prob: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def pseudo_class(self) -> np.ndarray:
        """(n,) int64: the pseudo-label of each region, its most probable class."""
        return self.prob.argmax(1)

    @property
    def entropy(self) -> np.ndarray:
        """(n,) float32 mean pixel entropy: bits, divided by the number of classes, as published."""
        return self.uncertainty[:, UNCERTAINTIES.index("softmax_entropy")]

    def per_image(self, pool: np.ndarray | None = None) -> "RegionTable":
        """Return the table of whole images (scan mode): means weighted by pixels, summed areas.

        Args:
            pool: (n,) bool, the unlabelled regions; if given, only their areas are summed, since
                labelling the rest of an image costs no more.
        """
        images, first = np.unique(self.image, return_index=True)
        return RegionTable(
            items=self.items,
            image=images,
            region=np.full(len(images), -1, np.int32),
            area=np.add.reduceat(self.area if pool is None else self.area * pool, first),
            pixels=np.add.reduceat(self.pixels, first),
            feature=self.image_means(self.feature),
            prob=self.image_means(self.prob),
            uncertainty=self.image_means(self.uncertainty),
            predicted_share=self.image_means(self.predicted_share),
            target_prob=None if self.target_prob is None else self.image_means(self.target_prob),
        )

    def image_means(self, values: np.ndarray) -> np.ndarray:
        """Return float32 means of a column (n, ...) over each image, weighted by pixels.

        Images without a region, whose masks leave none, have no row.
        """
        ends = np.append(np.unique(self.image, return_index=True)[1], len(self))
        means = np.empty((len(ends) - 1, *values.shape[1:]), np.float32)
        for row, rows in enumerate(map(slice, ends[:-1], ends[1:])):
            means[row] = np.average(values[rows], axis=0, weights=self.pixels[rows])
        return means


def column_types(
    num_classes: int, with_discriminator: bool
) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Return the dtype and row shape of each column that a pass measures."""
    types = {
        "feature": (np.float32, (FEATURES,)),
        "prob": (np.float32, (num_classes,)),
        "uncertainty": (np.float32, (len(UNCERTAINTIES),)),
        "predicted_share": (np.float32, (num_classes,)),
        "pixels": (np.int64, ()),
    }
    return types | ({"target_prob": (np.float32, ())} if with_discriminator else {})


def make_table(domain: Domain, columns: Mapping[str, np.ndarray]) -> RegionTable:
    """Return the table of a domain's regions with the columns of :func:`column_types`."""
    areas = [domain.regions[item.superpixel] for item in domain.items]
    counts = [len(ids) for ids in areas]
    n = sum(counts)
    return RegionTable(
        items=domain.items,
        image=np.repeat(np.arange(len(areas), dtype=np.int32), counts),
        region=np.fromiter((r for ids in areas for r in ids), np.int32, n),
        area=np.fromiter((a for ids in areas for a in ids.values()), np.int64, n),
        **columns,
    )


def areas_only(domain: Domain) -> RegionTable:
    """Return a table of regions and areas; columns that a network would measure have width 0."""
    n = sum(len(domain.regions[item.superpixel]) for item in domain.items)
    empty = np.empty((n, 0), np.float32)
    columns = dict.fromkeys(("feature", "prob", "uncertainty", "predicted_share"), empty)
    return make_table(domain, {**columns, "pixels": np.ones(n, np.int64)})

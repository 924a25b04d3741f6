"""Labels, maps or predictions of other images than their names say, told by what is in them.

Where images were renamed in another order than their labels (frame 10 after frame 1, or one frame
dropped on one side), names and sizes agree, and a network learns noise.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dataloader.checks.turned_labels import LOOKED_AT, THREADS, edge_steps
from dataloader.checks.turned_predictions import is_clearly_better, right_share
from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.images import (
    fit_label,
    read_image,
    read_label,
    read_superpixels,
    read_train_ids,
)
from dataloader.item import Item
from dataloader.provenance import is_made_here
from utils.errors import shown
from utils.files import map_files

log = logging.getLogger(__name__)

SIDE = 256  # pixels of the shorter side, to which images are shrunk: so noise is no edge
APART = 2  # rows, and columns, that are looked at
BETTER = 1.4  # right labels of CamVid fit their images 2.6 times as well as others, coarse ones 1.5
FITTING = 2.0  # times as strong as elsewhere are edges at borders that follow them
FEWEST = 400  # pixels of border that tell something: single persons may be hidden in the dark
RING = 11  # pixels; wider ignored areas are no rings


class Exchanged(NamedTuple):
    """A map that fits another image better than its own, and how many of those looked at do."""

    map: int
    image: int
    count: int


def warn_if_labels_exchanged(items: Sequence[Item], info: DatasetInfo) -> None:
    """Warn if the borders of some labels fit the edges of other images better than of their own.

    Args:
        items: images with labels, which can be read.
        info: their dataset.
    """
    looked_at = _neighbours(items)
    if found := _exchanged_by_edges(looked_at, lambda item: read_label(item.label, info)):
        log.warning(
            "%s: its borders fit the edges of %s better than those of its own image (%d of %d "
            "labels looked at fit another image better); labels and images may be numbered in "
            "different ways: pair them anew",
            *(shown(looked_at[found.map].label), shown(looked_at[found.image].image)),
            *(found.count, len(looked_at)),
        )


def warn_if_maps_exchanged(items: Sequence[Item]) -> None:
    """Warn if superpixel maps of other programs fit other images better than their own.

    Maps that were made here know their image, and those that are all alike, as grids are, fit none.

    Args:
        items: images with superpixel maps, which can be read.
    """
    looked_at = [item for item in _neighbours(items) if not is_made_here(item.superpixel)]
    maps = {item: read_superpixels(item.superpixel) for item in looked_at}
    if not looked_at or all(np.array_equal(maps[looked_at[0]], ids) for ids in maps.values()):
        return
    if found := _exchanged_by_edges(looked_at, maps.__getitem__):
        log.warning(
            "%s: its borders fit the edges of %s better than those of its own image (%d of %d "
            "superpixel maps looked at fit another image better); maps and images may be numbered "
            "in different ways: pair them anew, or remove the maps and run superpixel_gen.py",
            *(shown(looked_at[found.map].superpixel), shown(looked_at[found.image].image)),
            *(found.count, len(looked_at)),
        )


def warn_if_predictions_exchanged(pairs: Sequence[Item], info: DatasetInfo) -> None:
    """Warn if most of some predictions are right where another image's label is theirs.

    Args:
        pairs: labels with predictions in place of their images, which can be read.
        info: their dataset.
    """
    looked_at = _neighbours(pairs)
    images = [pair.image for pair in looked_at]
    predictions = map_files(read_train_ids, images, threads=THREADS)
    right = map_files(lambda pair: _right(pair, info, predictions), looked_at, threads=THREADS)
    right = np.array(right)
    own = np.diag(right)
    better = np.vectorize(is_clearly_better)(right, np.maximum(own[:, None], own))
    if found := _exchanged(right, better, min_share=0.5):
        log.warning(
            "%s: fits the prediction of another image, %s, better than its own (%d of %d labels "
            "looked at are such); images may have been renamed since they were predicted, or not "
            "as their labels were",
            *(shown(looked_at[found.map].label), shown(looked_at[found.image].image)),
            *(found.count, len(looked_at)),
        )


def _neighbours(items: Sequence[Item]) -> list[Item]:
    """Some pairs of items that follow each other, from the first to the last, or all of a few."""
    if len(items) <= LOOKED_AT:
        return list(items)
    pairs = LOOKED_AT // 2
    firsts = [number * (len(items) - 2) // (pairs - 1) for number in range(pairs)]
    return [items[index] for first in firsts for index in (first, first + 1)]


def _exchanged_by_edges(
    items: Sequence[Item], read: Callable[[Item], np.ndarray]
) -> Exchanged | None:
    """Tell if some maps fit other images better than their own.

    Args:
        items: whose images can be read.
        read: returns the (H, W) map of an item.
    """
    edges = map_files(_edges, [item.image for item in items], threads=THREADS)
    fits = np.array(map_files(lambda item: _fits(read(item), edges), items, threads=THREADS))
    own = np.diag(fits)
    better = (fits > BETTER * np.maximum(own[:, None], own)) & (fits > FITTING)
    return _exchanged(fits, better, min_share=0.25)


def _exchanged(fits: np.ndarray, better: np.ndarray, min_share: float) -> Exchanged | None:
    """Tell if some maps fit other images better than their own.

    Args:
        fits: (n, n), how well each map fits each image; its own is the one of the same number. A
            row of zeros tells nothing.
        better: (n, n) bool, whether a map fits an image clearly better than its own image, and
            better than that image's own map.
        min_share: least share of the maps that must be such, of those that tell something.
    """
    fits_another = np.flatnonzero(better.any(1))
    if len(fits_another) < max(2, min_share * np.count_nonzero(fits.any(1))):
        return None
    first = int(fits_another[0])
    image = int(np.where(better[first], fits[first], 0).argmax())
    return Exchanged(first, image, len(fits_another))


def _edges(path: str) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Steps from pixel to pixel of an image that is shrunk, and its height and width."""
    image = read_image(path)
    scale = SIDE / min(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return list(map(np.abs, edge_steps(grey, APART))), grey.shape


def _fits(
    values: np.ndarray, edges: Sequence[tuple[list[np.ndarray], tuple[int, ...]]]
) -> list[float]:
    """How strong each image's edges are at the borders of a map, beside all of the image's.

    Borders of ignored areas do not count: they may lie anywhere. All are 0 where there is too
    little of a border.
    """
    shapes = {shape for _, shape in edges}  # often one
    borders_at = {shape: _borders(fit_label(values, shape)) for shape in shapes}
    if any(sum(map(np.count_nonzero, borders)) < FEWEST for borders in borders_at.values()):
        return [0.0] * len(edges)
    fits = []
    for steps, shape in edges:
        borders = borders_at[shape]
        there = sum(int(s[b].sum()) for s, b in zip(steps, borders, strict=True))
        there /= sum(map(np.count_nonzero, borders))
        everywhere = sum(int(s.sum()) for s in steps) / sum(s.size for s in steps)
        fits.append(there / everywhere if everywhere else 0.0)
    return fits


def _borders(values: np.ndarray) -> list[np.ndarray]:
    """Where :func:`edge_steps` of a map are between two of its values, and none is ignored."""
    placed = _without_rings(values)
    steps, ignored = edge_steps(placed, APART), edge_steps(placed == IGNORE, APART)
    return [(step != 0) & (other == 0) for step, other in zip(steps, ignored, strict=True)]


def _without_rings(values: np.ndarray) -> np.ndarray:
    """A map in which narrow ignored areas, as PASCAL VOC has around objects, belong to both sides.

    The edge is in their middle, and their borders lie beside it.
    """
    ignored = (values == IGNORE).astype(np.uint8)
    if not ignored.any() or ignored.all():
        return values
    wide = cv2.morphologyEx(ignored, cv2.MORPH_OPEN, np.ones((RING, RING), np.uint8))
    nearest = cv2.distanceTransformWithLabels(
        ignored, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    known = ignored == 0
    of_number = np.zeros(int(nearest.max()) + 1, values.dtype)
    of_number[nearest[known]] = values[known]
    return np.where(known | (wide > 0), values, of_number[nearest])


def _right(pair: Item, info: DatasetInfo, predictions: Sequence[np.ndarray]) -> list[float]:
    """Share of a label's pixels that are right in each prediction."""
    label = read_label(pair.label, info)
    return [right_share(values, fit_label(label, values.shape)) for values in predictions]

"""Pixels of regions by class."""

from collections.abc import Iterable

import numpy as np

from dataloader.dataset_info import free_name
from dataloader.ignore_mask import NO_REGION
from dataloader.images import count_values

VOID = "void"
"""What pixels without a class are called, see :func:`names_with_void`."""


def names_with_void(class_names: Iterable[str]) -> list[str]:
    """The names, then what pixels without a class are called: no class has that name."""
    names = list(class_names)
    return [*names, free_name(VOID, names)]


def count_classes(regions: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of each region of an image by class.

    Args:
        regions: (H, W) region ids of :func:`dataloader.ignore_mask.read_regions`; masked pixels,
            which belong to no region, are not counted.
        label: (H, W) uint8 train ids; what is no class counts as void.
        num_classes: C.

    Returns:
        (256, C + 1) int64 by region id and class; the last column is void.
    """
    columns = num_classes + 1
    cells = regions.astype(np.int32) * columns + np.minimum(label, num_classes)
    cells = cells[regions != NO_REGION] if regions.dtype != np.uint8 else cells.ravel()
    return count_values(cells, 256 * columns).reshape(256, columns)


def majority(counts: np.ndarray) -> int | None:
    """The most frequent class, void aside, of a region's (C + 1,) counts; None if all are void."""
    return int(counts[:-1].argmax()) if counts[:-1].any() else None

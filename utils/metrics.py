"""Intersection over union from one confusion matrix."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

IGNORE = 255
"""Label of ignored pixels."""
EXACT_COUNTS = 1 << 24
"""The most pixels that OpenCV counts in float32 without rounding."""


class ConfusionMatrix:
    """Counts pixels by (label, prediction).

    ``counts`` is (C, C + 1) int64; the last column holds labelled pixels whose prediction is not a
    class (for example 255). They are false negatives of their own class and false positives of
    none, as in the official Cityscapes evaluation.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Add the pixels of integer arrays of equal shape; labels outside 0..C-1 are ignored."""
        label, prediction = (_as_bytes(values) for values in (label, prediction))
        pairs = np.zeros((256, 256), np.int64)
        for start in range(0, label.size, EXACT_COUNTS):
            part = [v[None, start : start + EXACT_COUNTS] for v in (label, prediction)]
            pairs += cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(int)
        classes = self.num_classes
        self.counts[:, :-1] += pairs[:classes, :classes]
        self.counts[:, -1] += pairs[:classes, classes:].sum(1)

    def iou(self, without: Collection[int] = ()) -> np.ndarray:
        """(C,) float64 intersection over union.

        NaN for a class in neither label nor prediction, and for those of ``without``.
        """
        hits = self.counts.diagonal()
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - hits
        counted = (union > 0) & ~np.isin(np.arange(self.num_classes), list(without))
        return np.where(counted, hits / np.maximum(union, 1), np.nan)

    def mean_iou(self, without: Collection[int] = ()) -> float:
        """Mean IoU over the classes that occur, ``without`` left out; NaN when there is none."""
        iou = self.iou(without)
        return float(iou[~np.isnan(iou)].mean()) if np.any(~np.isnan(iou)) else float("nan")


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Return the values as (n,) uint8; values outside 0..255 become 255."""
    values = np.asarray(values)
    if values.dtype != np.uint8:
        values = np.where((values < 0) | (values > IGNORE), IGNORE, values).astype(np.uint8)
    return np.ascontiguousarray(values).reshape(-1)


def percent(value: float) -> str:
    """Format a fraction as percent with two decimals."""
    return f"{100 * value:.2f}"


def padded_names(class_names: Sequence[str], num_classes: int) -> list[str]:
    """Extend a dataset's class names to ``num_classes``: the others are called "class N"."""
    more = range(len(class_names), num_classes)
    return [*class_names, *(f"class {number}" for number in more)]

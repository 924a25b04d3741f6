"""Intersection over union from one confusion matrix (SPEC section 9)."""

from collections.abc import Collection

import numpy as np

IGNORE = 255
"""Label of pixels that count nowhere."""


class ConfusionMatrix:
    """Counts pixels by (label, prediction).

    ``counts`` is (C, C + 1) int64; the last column holds labelled pixels whose prediction is no
    class (255, say): they are missed by their class and charged to no other, as in the official
    Cityscapes evaluation.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count integer arrays of equal shape; labels outside 0..C-1 are left out."""
        classes = self.num_classes
        counted = label < classes
        rows = label[counted].astype(np.int64)
        columns = np.minimum(prediction[counted], classes)
        counts = np.bincount(rows * (classes + 1) + columns, minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)

    def iou(self) -> np.ndarray:
        """(C,) float64 intersection over union, NaN for a class in neither label nor prediction."""
        hits = self.counts.diagonal()
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def mean_iou(self, without: Collection[int] = ()) -> float:
        """Mean IoU over the classes that occur, ``without`` left out; NaN when there is none."""
        iou = self.iou()[[c for c in range(self.num_classes) if c not in without]]
        return float(iou[~np.isnan(iou)].mean()) if np.any(~np.isnan(iou)) else float("nan")


def percent(value: float) -> str:
    """A share as percent with two decimals."""
    return f"{100 * value:.2f}"

"""Superpixels: SLIC (Achanta et al. 2012), solved on a small copy of the image.

A street scene is cut into some 40 regions, each tens of thousands of pixels large, so their borders
are found just as well on a copy of 60,000 pixels; the labels are then brought back to the image's
size.
"""

import cv2
import numpy as np
from skimage.segmentation import watershed

WORK_PIXELS = 60_000
BLUR = 1.0
MAX_SEGMENTS = 255


def slic(
    image: np.ndarray, num_segments: int = 40, compactness: float = 10.0, iterations: int = 10
) -> np.ndarray:
    """Cut an image into connected regions of similar colour.

    K-means over (L, a, b, y, x), where a centre competes for pixels within twice the grid interval
    S, and distances in the image count compactness / S.

    Args:
        image: (H, W, 3) uint8 RGB.
        num_segments: regions wanted, 1 to 255; fewer only where the image has too few pixels.
        compactness: how much position counts against colour (CIELAB, L in 0..100).
        iterations: k-means steps.

    Returns:
        (H, W) uint8 ids 0..K-1, each 4-connected and present.
    """
    if not 1 <= num_segments <= MAX_SEGMENTS:
        raise ValueError(f"num_segments must be 1 to {MAX_SEGMENTS}, not {num_segments}")
    height, width = image.shape[:2]
    shrink = max(1.0, np.sqrt(height * width / WORK_PIXELS))
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    labels = _k_means(cv2.GaussianBlur(lab, (0, 0), BLUR), num_segments, compactness, iterations)
    labels = _connect(labels)
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)


def _grid(height: int, width: int, count: int) -> np.ndarray:
    """(count, 2) evenly spread (y, x) centres: rows of equally many, or one more or less."""
    rows = int(np.clip(round(np.sqrt(count * height / width)), 1, count))
    columns = [len(part) for part in np.array_split(np.arange(count), rows)]
    return np.array(
        [
            ((row + 0.5) * height / rows, (column + 0.5) * width / n)
            for row, n in enumerate(columns)
            for column in range(n)
        ]
    )


def _k_means(lab: np.ndarray, count: int, compactness: float, iterations: int) -> np.ndarray:
    """(h, w) uint8 index of each pixel's centre. ``lab`` is (h, w, 3) float32."""
    height, width = lab.shape[:2]
    interval = np.sqrt(height * width / count)
    weight = (compactness / interval) ** 2
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    planes = np.ascontiguousarray(lab.transpose(2, 0, 1))
    places = _grid(height, width, count).astype(int)
    colors = lab[tuple(places.T)]
    labels = np.zeros((height, width), np.uint8)
    for _ in range(iterations):
        nearest = np.full((height, width), np.inf, np.float32)
        for index, ((y, x), color) in enumerate(zip(places, colors, strict=True)):
            window = tuple(
                slice(max(0, int(p - 2 * interval)), int(p + 2 * interval) + 1) for p in (y, x)
            )
            down = (weight * (rows[window[0]] - y) ** 2).astype(np.float32)
            across = (weight * (columns[window[1]] - x) ** 2).astype(np.float32)
            distance = down[:, None] + across
            for plane, value in zip(planes, color, strict=True):
                difference = plane[window] - value
                difference *= difference
                distance += difference
            closer = distance < nearest[window]
            np.copyto(nearest[window], distance, where=closer)
            np.copyto(labels[window], index, where=closer)
        places, colors = _means(labels, planes, places, colors)
    return labels


def _means(
    labels: np.ndarray, planes: np.ndarray, places: np.ndarray, colors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (y, x) and colour of each centre's pixels; a centre without any stays."""
    count = len(places)
    flat = labels.ravel()
    members = np.bincount(flat, minlength=count)
    axes = [axis.ravel() for axis in np.indices(labels.shape, np.float32)]
    sums = [np.bincount(flat, v, count) for v in (*axes, *planes.reshape(3, -1))]
    means = np.stack(sums, 1) / np.maximum(members, 1)[:, None]
    means = np.where(members[:, None] > 0, means, np.hstack([places, colors]))
    return means[:, :2], means[:, 2:].astype(np.float32)


def _connect(labels: np.ndarray) -> np.ndarray:
    """Keep the largest piece of each region; the other pieces go to what grows into them."""
    pieces = np.zeros(labels.shape, np.int32)
    present = np.unique(labels)
    for new, old in enumerate(present, 1):
        _, parts, stats, _ = cv2.connectedComponentsWithStats(
            (labels == old).astype(np.uint8), connectivity=4
        )
        pieces[parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = new
    grown = watershed(np.zeros(labels.shape, np.uint8), pieces, connectivity=1)
    return (grown - 1).astype(np.uint8)


def achievable_segmentation_accuracy(
    superpixels: np.ndarray, labels: np.ndarray, ignore: int = 255
) -> tuple[int, int]:
    """How well regions can follow the labels: each given its most frequent one.

    Args:
        superpixels: (H, W) uint8 ids.
        labels: (H, W) uint8.
        ignore: the label left out.

    Returns:
        pixels that are then right, and pixels counted.
    """
    counted = labels != ignore
    pairs = superpixels[counted].astype(np.int64) * 256 + labels[counted]
    counts = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    return int(counts.max(1).sum()), int(counted.sum())

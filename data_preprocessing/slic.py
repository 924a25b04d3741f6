"""Superpixels: scikit-image's SLIC (Achanta et al. 2012) on a small copy of the image.

A street scene is cut into some 40 regions of tens of thousands of pixels each, so their borders are
found just as well on a copy of 60,000 pixels; nearest neighbour brings the regions back to the
image's size.
"""

import cv2
import numpy as np
from skimage import segmentation
from skimage.measure import label

from dataloader.images import fit_label

COPY_PIXELS = 60_000
SIGMA = 1.0  # of the Gaussian blur before the cut, in pixels of the copy
MIN_SIZE_FACTOR = 0.1  # smaller pieces, as a share of the mean region, join a neighbour
MAX_SEGMENTS = 255


def slic(image: np.ndarray, num_segments: int = 40, compactness: float = 10.0) -> np.ndarray:
    """Cut an image into connected regions of similar colour.

    SLIC itself gives some more or fewer regions than it is asked for. Here there are never more
    than ``num_segments``, because the smallest ones join a neighbour; and never fewer than two
    thirds of it in an image that has so many pixels, because one that is cut into fewer is cut
    again with twice as many cluster centres.

    Args:
        image: (H, W, 3) uint8 RGB, of any size.
        num_segments: regions wanted, 1 to 255.
        compactness: weight of position against colour (CIELAB of the image with its values
            stretched to 0..1).

    Returns:
        (H, W) uint8 ids 0..K-1. Every id occurs, and its pixels are 4-connected.

    Raises:
        ValueError: ``num_segments`` is out of range.
    """
    if not 1 <= num_segments <= MAX_SEGMENTS:
        raise ValueError(f"num_segments must be 1 to {MAX_SEGMENTS}, not {num_segments}")
    height, width = image.shape[:2]
    shrink = max(1.0, np.sqrt(height * width / COPY_PIXELS))
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    regions = _merge_smallest(_cut(copy, num_segments, compactness), num_segments)
    # No side of the copy is longer than the image's, so that every pixel of the copy becomes a
    # rectangle of at least one pixel: no region is lost, and all stay connected.
    return fit_label(regions.astype(np.uint8), (height, width))


def _cut(image: np.ndarray, num_segments: int, compactness: float) -> np.ndarray:
    """(H, W) int ids 0..K-1 of 4-connected regions, K two thirds of ``num_segments`` or more."""
    pixels = image.shape[0] * image.shape[1]
    centres = num_segments
    while True:
        clusters = segmentation.slic(
            image,
            n_segments=centres,
            compactness=compactness,
            sigma=SIGMA,
            min_size_factor=MIN_SIZE_FACTOR,
            start_label=1,
            channel_axis=-1,
        )
        # scikit-image promises neither contiguous numbers nor that every region is connected.
        regions, count = label(clusters, background=-1, return_num=True, connectivity=1)
        if 3 * count >= 2 * num_segments or centres >= pixels:
            return regions - 1
        centres *= 2


def _merge_smallest(regions: np.ndarray, most: int) -> np.ndarray:
    """Merge the smallest region with its neighbour of the longest common border, repeatedly.

    Args:
        regions: (H, W) int ids 0..K-1.
        most: regions to keep at most.

    Returns:
        (H, W) int ids 0..min(K, most)-1.
    """
    count = regions.max() + 1
    areas = np.bincount(regions.ravel()).astype(float)
    border = np.zeros((count, count), int)  # pairs of adjacent pixels
    np.add.at(border, (regions[1:], regions[:-1]), 1)
    np.add.at(border, (regions[:, 1:], regions[:, :-1]), 1)
    border += border.T
    np.fill_diagonal(border, 0)
    merged = np.arange(count)
    for _ in range(count - most):
        smallest = areas.argmin()
        neighbour = border[smallest].argmax()
        merged[merged == smallest] = neighbour
        areas[neighbour] += areas[smallest]
        areas[smallest] = np.inf
        border[neighbour] += border[smallest]
        border[:, neighbour] = border[neighbour]
        border[neighbour, neighbour] = 0
        border[smallest] = border[:, smallest] = 0
    return np.unique(merged, return_inverse=True)[1][regions]

"""Means over regions of bilinearly upsampled maps, without ever making the upsampled features.

A region's mean feature is linear in the feature map: summing the interpolation weights of its
pixels over the four cells around each gives one weight a cell, and the mean is a weighted sum of
cells. Class probabilities are not linear in the logits, so these are upsampled, a block of rows at
a time.
"""

import math

import numpy as np
import torch
from torch import Tensor

BLOCK_PIXELS = 1 << 15


def bilinear_neighbours(
    size: int, out_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Cells (low, high), int64, and the weight of ``high``, float32, each (out_size,).

    One dimension of bilinear interpolation with align_corners=False.
    """
    centre = (torch.arange(out_size, device=device) + 0.5) * (size / out_size) - 0.5
    centre = centre.clamp(min=0, max=size - 1)
    low = centre.floor().long()
    return low, (low + 1).clamp(max=size - 1), centre - low


def region_weights(superpixels: Tensor, num_regions: int, size: tuple[int, int]) -> Tensor:
    """(num_regions, h * w) float32: weights whose sum with an (h, w) map gives region means.

    Args:
        superpixels: (H, W) int64 ids below ``num_regions``.
        num_regions: rows of the result; a region without pixels gets a row of zeros.
        size: (h, w) of the maps that are to be pooled.
    """
    (h, w), (height, width), device = size, superpixels.shape, superpixels.device
    top, bottom, down = bilinear_neighbours(h, height, device)
    left, right, across = bilinear_neighbours(w, width, device)
    weights = torch.zeros(num_regions * h * w, device=device)
    base = superpixels * (h * w)
    for row, row_weight in ((top, 1 - down), (bottom, down)):
        row_base = base + (row * w)[:, None]
        for column, column_weight in ((left, 1 - across), (right, across)):
            share = row_weight[:, None] * column_weight
            weights.index_add_(0, (row_base + column).ravel(), share.ravel())
    weights = weights.view(num_regions, h * w)
    return weights.div_(weights.sum(1, keepdim=True).clamp_(min=1e-12))


def pool_features(features: Tensor, superpixels: Tensor, num_regions: int) -> Tensor:
    """(num_regions, C) means of features (C, h, w) upsampled to superpixels (H, W) int64."""
    channels, *size = features.shape
    weights = region_weights(superpixels, num_regions, tuple(size))
    return weights @ features.reshape(channels, -1).float().T


def pool_predictions(
    logits: Tensor, superpixels: Tensor, num_regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Region means of class probabilities, of pixel uncertainties and of predicted classes.

    Args:
        logits: (C, h, w), before upsampling.
        superpixels: (H, W) int64 ids below ``num_regions``.
        num_regions: rows of the results.

    Returns:
        probabilities (num_regions, C); scores (num_regions, 3): entropy, confidence and margin as
        in :mod:`active_selection.uncertainty`, each larger for less certain pixels; and the share
        of pixels whose most probable class each one is (num_regions, C).
    """
    classes, h, w = logits.shape
    height, width = superpixels.shape
    device = logits.device
    top, bottom, down = bilinear_neighbours(h, height, device)
    left, right, across = bilinear_neighbours(w, width, device)
    sums = torch.zeros(num_regions, classes + 3, device=device)
    votes = torch.zeros(num_regions * classes, dtype=torch.int64, device=device)
    counts = torch.zeros(num_regions, dtype=torch.int64, device=device)
    step = max(1, BLOCK_PIXELS // width)
    starts = torch.arange(0, height, step, device=device)
    ends = (starts + step).clamp(max=height)
    blocks = torch.stack([starts, top[starts], bottom[ends - 1]], 1).tolist()
    for start, first, last in blocks:  # first and last: the rows of logits that a block needs
        rows = slice(start, start + step)
        cells = logits[:, first : last + 1].float()
        wide = torch.lerp(cells[:, :, left], cells[:, :, right], across)  # (C, some of h, W)
        above, below = wide[:, top[rows] - first], wide[:, bottom[rows] - first]
        block = torch.lerp(above, below, down[rows, None]).view(classes, -1)
        ids = superpixels[rows].reshape(-1)
        votes += torch.bincount(ids * classes + largest_plane(block), minlength=len(votes))
        block_sums, block_counts = sum_by_region(pixel_predictions(block), ids, num_regions)
        sums += block_sums
        counts += block_counts
    counts = counts.clamp_(min=1)[:, None]
    means = sums / counts
    return means[:, :classes], means[:, classes:], votes.view(num_regions, classes) / counts


def sum_by_region(values: Tensor, ids: Tensor, num_regions: int) -> tuple[Tensor, Tensor]:
    """Sums (num_regions, C) of pixel values (C, n) by integer ids (n,), and pixels (num_regions,).

    On a CPU runs of equal ids are summed first: pixels side by side are mostly of one region.
    """
    if values.device.type == "cpu":
        return add_up(*sum_runs(values, ids), num_regions)
    return add_up(values, torch.ones_like(ids, dtype=torch.int64), ids, num_regions)


def sum_runs(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (C, r) of values (C, n) over the runs of equal ids, their lengths and their ids (r,)."""
    keys = ids.numpy()
    starts = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    sums = np.add.reduceat(values.numpy(), starts, axis=1)
    lengths = np.diff(starts, append=len(keys))
    return torch.from_numpy(sums), torch.from_numpy(lengths), ids[starts]


def add_up(values: Tensor, counts: Tensor, ids: Tensor, num_regions: int) -> tuple[Tensor, Tensor]:
    """Columns (C, n) of values, and counts (n,), added up by ids (n,)."""
    ids = ids.long()
    sums = values.new_zeros(num_regions, len(values)).index_add_(0, ids, values.T)
    return sums, counts.new_zeros(num_regions).index_add_(0, ids, counts)


def pixel_predictions(logits: Tensor) -> Tensor:
    """Logits (C, n) -> (C + 3, n): class probabilities, entropy, confidence, margin.

    Entropy is the mean over classes of -p log2(p + 1e-12) (SPEC section 6; 1e-12 is nothing in
    float32, and log p is x - max x + log max p for a logit x); confidence is -max p; margin is
    -(p1 - p2), the two largest.
    """
    logits = logits - logits.amax(0)
    result = logits.new_empty(len(logits) + 3, logits.shape[1])
    probabilities = torch.softmax(logits, 0, out=result[:-3])
    first, second = two_largest(probabilities)
    nats = -first.log() - logits.mul_(probabilities).sum(0)
    result[-3] = nats / (math.log(2) * len(logits))
    result[-2] = -first
    result[-1] = second - first
    return result


def largest_plane(planes: Tensor) -> Tensor:
    """(n,) uint8: argmax over the planes of (C, n), C <= 256; many times faster than argmax."""
    largest, which = planes[0], torch.zeros_like(planes[0], dtype=torch.uint8)
    for number, plane in enumerate(planes[1:], 1):
        which.masked_fill_(plane > largest, number)
        largest = torch.maximum(largest, plane)
    return which


def two_largest(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and second largest of (C, n), C >= 2, each (n,); many times faster than topk."""
    first, second = torch.maximum(planes[0], planes[1]), torch.minimum(planes[0], planes[1])
    for plane in planes[2:]:
        second = torch.maximum(second, torch.minimum(first, plane))
        first = torch.maximum(first, plane)
    return first, second

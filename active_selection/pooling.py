"""Means over regions of bilinearly upsampled maps, without ever forming the upsampled features.

A region's mean feature is linear in the feature map: summing the interpolation weights that its
pixels give to their four surrounding cells yields one weight per cell, and the mean is a weighted
sum of cells. Class probabilities are not linear in the logits, so logits are upsampled: on a CPU a
block of rows at a time, which stays in a core's cache; on an accelerator, where each operation
costs some microseconds to launch, the whole image at once in a few dozen operations.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from active_selection.blocks import on_accelerator

BLOCK_PIXELS = 1 << 15
MEMBER_CELLS = 1 << 26
"""Pixels times regions of a block of :func:`region_sums`, 256 MB in float32."""


def bilinear_neighbours(
    size: int, out_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear interpolation with align_corners=False along one dimension.

    Returns:
        For each output pixel the cells (low, high) between which it lies, int64, and the weight of
        ``high``, float32, each (out_size,).
    """
    centre = (torch.arange(out_size, device=device) + 0.5) * (size / out_size) - 0.5
    centre = centre.clamp(min=0, max=size - 1)
    low = centre.floor().long()
    return low, (low + 1).clamp(max=size - 1), centre - low


def region_weights(superpixels: Tensor, num_regions: int, size: tuple[int, int]) -> Tensor:
    """Weights of the cells of an (h, w) map in the mean of each region of the upsampled map.

    Args:
        superpixels: (H, W) int64 ids below ``num_regions``.
        num_regions: rows of the result; a region without pixels gets a row of zeros.
        size: (h, w) of the maps to be pooled.

    Returns:
        (num_regions, h * w) float32; each row sums to 1.
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
    """Region means of features (C, h, w) upsampled to the size of superpixels (H, W) int64.

    Returns:
        (num_regions, C) float32; zeros for a region without pixels.
    """
    channels, *size = features.shape
    weights = region_weights(superpixels, num_regions, tuple(size))
    return weights @ features.reshape(channels, -1).float().T


def pool_predictions(
    logits: Tensor, superpixels: Tensor, num_regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Region means of class probabilities, pixel uncertainties and one-hot predictions.

    Args:
        logits: (C, h, w), before upsampling.
        superpixels: (H, W) int64 ids below ``num_regions``.
        num_regions: rows of the results.

    Returns:
        Three float32 tensors: probabilities (num_regions, C); uncertainties (num_regions, 3),
        entropy, confidence and margin as in :mod:`active_selection.uncertainty`, each larger for
        less certain pixels; and the share of pixels predicted as each class (num_regions, C).
    """
    pool = pool_at_once if on_accelerator(logits.device) else pool_in_blocks
    return pool(logits, superpixels, num_regions)


def pool_at_once(
    logits: Tensor, superpixels: Tensor, num_regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`pool_predictions` for accelerators: at most 100 operations, each on the whole image.

    Its temporaries take some 500 MB for 19 classes of 1024 x 2048 pixels. The means differ from
    those of :func:`pool_in_blocks` by rounding, less than 1e-5; where two classes of a pixel are
    equally probable to rounding, its one-hot prediction may differ.
    """
    size, classes = tuple(superpixels.shape), len(logits)
    whole = F.interpolate(logits[None].float(), size, mode="bilinear", align_corners=False)[0]
    values, winner = predictions_at_once(whole)
    del whole
    keys = (superpixels * classes + winner).ravel()
    votes = keys.new_zeros(num_regions * classes).index_add_(0, keys, torch.ones_like(keys))
    votes = votes.view(num_regions, classes)
    counts = votes.sum(1, keepdim=True).clamp_(min=1)
    means = region_sums(values, superpixels, num_regions) / counts
    return means[:, :classes], means[:, classes:], votes / counts


def predictions_at_once(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Values as :func:`pixel_predictions` has them, and the predicted class of each pixel.

    Args:
        logits: (C, H, W) float32, overwritten.

    Returns:
        (C + 3, H, W) float32 and (H, W) int64.
    """
    largest, winner = logits.max(0)
    logits -= largest
    logits.scatter_(0, winner[None], -torch.inf)
    second = logits.amax(0)
    logits.scatter_(0, winner[None], (largest - largest)[None])  # 0, or NaN for infinite logits
    values = logits.new_empty(len(logits) + 3, *logits.shape[1:])
    probabilities = torch.softmax(logits, 0, out=values[:-3])
    first = probabilities.amax(0)
    nats = -first.log() - logits.mul_(probabilities).sum(0)
    torch.div(nats, math.log(2) * len(logits), out=values[-3])
    torch.neg(first, out=values[-2])
    torch.sub(second.exp_() * first, first, out=values[-1])
    return values, winner


def region_sums(values: Tensor, superpixels: Tensor, num_regions: int) -> Tensor:
    """Sums over regions of values (V, H, W) for ids (H, W), (num_regions, V) float32.

    One matrix product for each row of pixels, with one-hot region ids: unlike atomic additions,
    these give the same sums in every run, and short sums lose nothing to rounding.
    """
    sums = values.new_zeros(len(values), num_regions)
    regions = torch.arange(num_regions, device=values.device)
    height, width = superpixels.shape
    step = max(1, MEMBER_CELLS // (width * num_regions))
    for start in range(0, height, step):
        rows = slice(start, start + step)
        members = superpixels[rows, :, None] == regions
        sums += torch.bmm(values[:, rows].transpose(0, 1), members.float()).sum(0)
    return sums.T


def pool_in_blocks(
    logits: Tensor, superpixels: Tensor, num_regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`pool_predictions` for a CPU, a block of rows at a time."""
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
    for start, first, last in blocks:  # rows first to last of the logits give this block
        rows = slice(start, start + step)
        cells = logits[:, first : last + 1].float()
        wide = torch.lerp(cells[:, :, left], cells[:, :, right], across)  # (C, last - first + 1, W)
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
    """Sum pixel values (C, n) of equal ids (n,), integers below ``num_regions``, on a CPU.

    Runs of equal ids are summed first, since neighbouring pixels mostly share a region.

    Returns:
        Sums (num_regions, C) and pixel counts (num_regions,) int64.
    """
    return add_up(*sum_runs(values, ids), num_regions)


def sum_runs(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum values (C, n) over the r runs of equal ids: sums (C, r), run lengths (r,), ids (r,)."""
    keys = ids.numpy()
    starts = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    sums = np.add.reduceat(values.numpy(), starts, axis=1)
    lengths = np.diff(starts, append=len(keys))
    return torch.from_numpy(sums), torch.from_numpy(lengths), ids[starts]


def add_up(values: Tensor, counts: Tensor, ids: Tensor, num_regions: int) -> tuple[Tensor, Tensor]:
    """Add up columns of values (C, n), and counts (n,), of equal ids (n,), see sum_by_region."""
    ids = ids.long()
    sums = values.new_zeros(num_regions, len(values)).index_add_(0, ids, values.T)
    return sums, counts.new_zeros(num_regions).index_add_(0, ids, counts)


def pixel_predictions(logits: Tensor) -> Tensor:
    """Class probabilities, entropy, confidence and margin of logits (C, n), stacked to (C + 3, n).

    Entropy is the mean over classes of -p log2(p + 1e-12) (Wu et al. 2022); in float32 the 1e-12 is
    negligible, and log p equals x - max x + log max p for a logit x. Confidence is -max p, margin
    is -(p1 - p2) with the two largest probabilities.
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
    """Argmax over the C <= 256 planes of (C, n), (n,) uint8; on a CPU much faster than argmax."""
    largest, index = planes[0], torch.zeros_like(planes[0], dtype=torch.uint8)
    for number, plane in enumerate(planes[1:], 1):
        index.masked_fill_(plane > largest, number)
        largest = torch.maximum(largest, plane)
    return index


def two_largest(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and second largest of (C, n), C >= 2, each (n,); faster than topk on a CPU."""
    first, second = torch.maximum(planes[0], planes[1]), torch.minimum(planes[0], planes[1])
    for plane in planes[2:]:
        second = torch.maximum(second, torch.minimum(first, plane))
        first = torch.maximum(first, plane)
    return first, second

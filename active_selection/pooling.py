"""Means over regions of bilinearly upsampled maps, without ever making the upsampled features.

A region's mean feature is linear in the feature map: summing the interpolation weights of its
pixels over the four cells around each gives one weight a cell, and the mean is a weighted sum of
cells. Class probabilities are not linear in the logits, so these are upsampled, a block of rows at
a time.
"""

import torch
from torch import Tensor

BLOCK_PIXELS = 1 << 17


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
        for column, column_weight in ((left, 1 - across), (right, across)):
            cells = base + (row * w)[:, None] + column
            share = row_weight[:, None] * column_weight
            weights += torch.bincount(cells.ravel(), share.ravel(), len(weights)).float()
    weights = weights.view(num_regions, h * w)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def pool_features(features: Tensor, superpixels: Tensor, num_regions: int) -> Tensor:
    """(num_regions, C) means of features (C, h, w) upsampled to superpixels (H, W) int64."""
    channels, *size = features.shape
    weights = region_weights(superpixels, num_regions, tuple(size))
    return weights @ features.reshape(channels, -1).float().T


def pool_predictions(
    logits: Tensor, superpixels: Tensor, num_regions: int
) -> tuple[Tensor, Tensor]:
    """Region means of class probabilities and of pixel uncertainties.

    Args:
        logits: (C, h, w), before upsampling.
        superpixels: (H, W) int64 ids below ``num_regions``.
        num_regions: rows of the results.

    Returns:
        probabilities (num_regions, C) and scores (num_regions, 3): entropy, confidence and margin
        as in :mod:`active_selection.uncertainty`, each larger for less certain pixels.
    """
    classes, h, w = logits.shape
    height, width = superpixels.shape
    device = logits.device
    top, bottom, down = bilinear_neighbours(h, height, device)
    left, right, across = bilinear_neighbours(w, width, device)
    cells = logits.float().permute(1, 2, 0).contiguous()
    wide = torch.lerp(cells[:, left], cells[:, right], across[:, None])  # (h, W, C)
    sums = torch.zeros(num_regions, classes + 3, device=device)
    step = max(1, BLOCK_PIXELS // width)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        block = torch.lerp(wide[top[rows]], wide[bottom[rows]], down[rows, None, None])
        probabilities = block.reshape(-1, classes).softmax(1)
        pixels = torch.cat([probabilities, pixel_uncertainty(probabilities)], dim=1)
        sums.index_add_(0, superpixels[rows].reshape(-1), pixels)
    counts = torch.bincount(superpixels.ravel(), minlength=num_regions).clamp(min=1)
    means = sums / counts[:, None]
    return means[:, :classes], means[:, classes:]


def pixel_uncertainty(probabilities: Tensor) -> Tensor:
    """(n, C) probabilities -> (n, 3): entropy, confidence, margin (SPEC section 6).

    Entropy is the mean over classes of -p log2(p + 1e-12); confidence is -max p; margin is
    -(p1 - p2), the two largest.
    """
    entropy = -(probabilities * torch.log2(probabilities + 1e-12)).mean(1)
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return torch.stack([entropy, -first, second - first], dim=1)

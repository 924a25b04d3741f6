"""Core-set selection (Sener and Savarese 2018): k-centre greedy."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from active_selection.blocks import BLOCK_ROWS, on_accelerator, row_blocks
from active_selection.ranking import Ranking, take_until_budget

BATCH_CELLS = 1 << 26
"""Distances in a block on an accelerator, 256 MB."""


def rank_by_coreset(
    feature: np.ndarray,
    source: np.ndarray,
    area: np.ndarray,
    pool: np.ndarray,
    budget: float,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Take the region farthest from all labelled and taken ones, until the budget is spent.

    The next region is argmax_i min_j ||z_i - z_j||, i over the pool and j over the labelled set,
    which each region taken joins. Memory holds one distance per region; labelled regions are read
    in blocks.

    Args:
        feature: (n, d) z, mean features of the target regions.
        source: (m, d) z of the source regions, all of which are labelled.
        area: (n,) pixels of each target region.
        pool: (n,) bool, True for unlabelled target regions.
        budget: pixels to select.
        device: device of the computation.

    Returns:
        The ranking; scores are the distances to the nearest labelled region when taken.
    """
    rows = np.flatnonzero(pool)
    points = torch.from_numpy(feature[rows]).float().to(device)
    origin = points.mean(0)  # centred, so that distances from dot products keep their precision
    points -= origin
    norms = vector_norm(points, dim=1).square()
    nearest = torch.full_like(norms, torch.inf)
    for block in _labelled(feature, pool, source):
        centres = torch.from_numpy(block).float().to(device) - origin
        _update_nearest(nearest, points, norms, centres)
    return take_until_budget(_farthest(nearest, points, norms), rows, area, budget)


def _farthest(nearest: Tensor, points: Tensor, norms: Tensor) -> Iterator[tuple[int, float]]:
    """Yield (index, distance) of the farthest point repeatedly; each joins the labelled set.

    Args:
        nearest: (n,) squared distance of each point to the nearest labelled one; updated in place.
        points: (n, d).
        norms: (n,) squared norms of the points.
    """
    for _ in range(len(points)):
        i = int(nearest.argmax())
        yield i, float(nearest[i].clamp(min=0).sqrt())
        _update_nearest(nearest, points, norms, points[i : i + 1])
        nearest[i] = -torch.inf


def _labelled(feature: np.ndarray, pool: np.ndarray, source: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks (k, d) of the features of labelled target regions and of the source."""
    rows = np.flatnonzero(~pool)
    yield from (feature[rows[block]] for block in row_blocks(len(rows)))
    yield from (np.array(source[block]) for block in row_blocks(len(source)))


def _update_nearest(nearest: Tensor, points: Tensor, norms: Tensor, centres: Tensor) -> None:
    """Update squared distances ``nearest`` (n,) for additional labelled ``centres`` (k, d)."""
    centre_norms = centres.square().sum(1)
    rows = BATCH_CELLS // len(centres) if on_accelerator(points.device) else BLOCK_ROWS
    for block in row_blocks(len(points), rows):
        offset = torch.addmm(centre_norms, points[block], centres.T, alpha=-2).amin(1)
        nearest[block] = torch.minimum(nearest[block], norms[block] + offset)

"""Core-set selection (Sener and Savarese 2018): k-centre greedy."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from active_selection.blocks import row_blocks
from active_selection.ranking import Ranking, take_until_budget


def rank_by_coreset(
    feature: np.ndarray,
    source: np.ndarray,
    area: np.ndarray,
    pool: np.ndarray,
    budget: float,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Take, until the budget is spent, the region farthest from all that are labelled or taken.

    The next is argmax_i min_j ||z_i - z_j||, i over the pool, j over what is labelled. Only one
    distance a region is kept, and labelled regions are read in blocks.

    Args:
        feature: (n, d) z of the target regions; those out of the pool are labelled.
        source: (m, d) z of the source regions, which are labelled, too.
        area: (n,) pixels of each region.
        pool: (n,) bool, the unlabelled regions.
        budget: pixels.
        device: of the arithmetic.
    """
    rows = np.flatnonzero(pool)
    points = torch.from_numpy(feature[rows]).float().to(device)
    origin = points.mean(0)  # distances are worked out from dot products: keep these small
    points -= origin
    norms = vector_norm(points, dim=1).square()
    nearest = torch.full_like(norms, torch.inf)
    for block in _labelled(feature, pool, source):
        centres = torch.from_numpy(block).float().to(device) - origin
        _approach(nearest, points, norms, centres)
    return take_until_budget(_farthest(nearest, points, norms), rows, area, budget)


def _farthest(nearest: Tensor, points: Tensor, norms: Tensor) -> Iterator[tuple[int, float]]:
    """Index and distance of the farthest point, again and again, each taken counting as labelled.

    Args:
        nearest: (n,) squared distances to what is labelled; altered.
        points: (n, d).
        norms: (n,) squared lengths of the points.
    """
    for _ in points:
        i = int(nearest.argmax())
        yield i, float(nearest[i].clamp(min=0).sqrt())
        _approach(nearest, points, norms, points[i : i + 1])
        nearest[i] = -torch.inf


def _labelled(feature: np.ndarray, pool: np.ndarray, source: np.ndarray) -> Iterator[np.ndarray]:
    """Features of everything labelled, in blocks."""
    rows = np.flatnonzero(~pool)
    yield from (feature[rows[block]] for block in row_blocks(len(rows)))
    yield from (np.array(source[block]) for block in row_blocks(len(source)))


def _approach(nearest: Tensor, points: Tensor, norms: Tensor, centres: Tensor) -> None:
    """Lower each point's squared distance (n,) to that of the nearest of more centres (k, d)."""
    centre_norms = centres.square().sum(1)
    for some in row_blocks(len(points)):
        offset = torch.addmm(centre_norms, points[some], centres.T, alpha=-2).amin(1)
        nearest[some] = torch.minimum(nearest[some], norms[some] + offset)

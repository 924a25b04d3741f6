"""BADGE (Ash et al. 2020): regions with large and diverse gradients of the last layer."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from active_selection.ranking import Ranking, take_until_budget


def rank_by_badge(
    feature: np.ndarray,
    prob: np.ndarray,
    area: np.ndarray,
    pool: np.ndarray,
    budget: float,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Select by k-means++ seeding on gradient embeddings g = (p - onehot(argmax p)) x z.

    The first region is drawn uniformly, each further one with a probability proportional to its
    squared distance to the nearest region drawn so far (Arthur and Vassilvitskii 2007). The outer
    products g are never formed: with a = p - onehot, g_i . g_j = (a_i . a_j) (z_i . z_j).

    Args:
        feature: (n, d) float32 z, mean features.
        prob: (n, C) float32 p, mean class probabilities.
        area: (n,) pixels of each region.
        pool: (n,) bool, True for unlabelled regions.
        budget: pixels to select; drawing stops once it is spent.
        seed: seed of the draws.
        device: device of the computation; it must support float64.
    """
    rows = np.flatnonzero(pool)
    z = torch.from_numpy(feature[rows]).to(device)
    a = torch.from_numpy(prob[rows]).to(device)
    a[torch.arange(len(rows), device=a.device), a.argmax(1)] -= 1
    draws = _k_means_plus_plus(a, z, np.random.default_rng(seed))
    return take_until_budget(draws, rows, area, budget)


def _k_means_plus_plus(
    a: Tensor, z: Tensor, rng: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """Yield (index, unnormalised probability) of one row after another, by k-means++ seeding.

    Args:
        a, z: (n, C) and (n, d), factors of the embeddings: row i is the outer product of a_i, z_i.
        rng: source of random numbers.
    """
    norms = (vector_norm(a, dim=1).double() * vector_norm(z, dim=1).double()).square()
    remaining = torch.ones_like(norms)  # 0 for rows that were drawn
    distance = torch.full_like(norms, torch.inf)
    weights = remaining
    for _ in range(len(a)):
        i = _sample_index(weights, remaining, rng.random())
        yield i, float(weights[i])
        products = (a @ a[i]).double() * (z @ z[i]).double()
        distance = torch.minimum(distance, norms + norms[i] - 2 * products).clamp_(min=0)
        remaining[i] = 0
        weights = distance * remaining


def _sample_index(weights: Tensor, remaining: Tensor, number: float) -> int:
    """Sample an index in proportion to ``weights`` (n,) >= 0, given a random number in [0, 1).

    If all weights are zero, draw uniformly from the rows where ``remaining`` (n,) is 1.
    """
    cumulative = weights.cumsum(0)
    if cumulative[-1] <= 0:
        cumulative = remaining.cumsum(0)
    last = torch.searchsorted(cumulative, cumulative[-1])  # rounding must not lead past it
    index = torch.searchsorted(cumulative, number * cumulative[-1], right=True)
    return int(index.minimum(last))

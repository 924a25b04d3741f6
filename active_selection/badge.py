"""BADGE (Ash et al. 2020): regions whose labels would change the last layer, and differently."""

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
    """Draw by k-means++ seeding among gradient embeddings g = (p - onehot(argmax p)) x z.

    The first is drawn uniformly, each next one with a chance in proportion to its squared distance
    to the nearest drawn (Arthur and Vassilvitskii 2007). The outer products g are never made: with
    a = p - onehot, g_i . g_j = (a_i . a_j) (z_i . z_j).

    Args:
        feature: (n, d) z.
        prob: (n, C) p.
        area: (n,) pixels of each region.
        pool: (n,) bool, the unlabelled regions.
        budget: pixels; drawing ends when it is spent.
        seed: of the draws.
        device: of the arithmetic; it must know float64.
    """
    rows = np.flatnonzero(pool)
    z = torch.from_numpy(feature[rows]).to(device)
    a = torch.from_numpy(prob[rows]).to(device)
    a[torch.arange(len(rows)), a.argmax(1)] -= 1
    return take_until_budget(_seeds(a, z, np.random.default_rng(seed)), rows, area, budget)


def _seeds(a: Tensor, z: Tensor, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Index, and chance before it is made a share, of one row after another, by k-means++ seeding.

    Args:
        a, z: (n, C) and (n, d), whose rows' outer products are what is drawn.
        rng: draws.
    """
    norms = (vector_norm(a, dim=1).double() * vector_norm(z, dim=1).double()).square()
    left = torch.ones_like(norms)  # 0 for what is drawn
    distance = torch.full_like(norms, torch.inf)
    chance = left
    for _ in a:
        i = _draw(chance, left, rng.random())
        yield i, float(chance[i])
        products = (a @ a[i]).double() * (z @ z[i]).double()
        distance = torch.minimum(distance, norms + norms[i] - 2 * products).clamp_(min=0)
        left[i] = 0
        chance = distance * left


def _draw(chance: Tensor, left: Tensor, number: float) -> int:
    """An index with a chance in proportion to ``chance`` (n,), by a random number in [0, 1).

    Where nothing has any, all that are ``left`` (n,) have the same.
    """
    ends = chance.cumsum(0)
    if ends[-1] <= 0:
        ends = left.cumsum(0)
    last = torch.searchsorted(ends, ends[-1])  # the last with any, should rounding go beyond
    return int(torch.searchsorted(ends, number * ends[-1], right=True).minimum(last))

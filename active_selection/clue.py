"""CLUE (Prabhu et al. 2021): one region of each cluster, clusters drawn to uncertain regions."""

import math

import numpy as np

from active_selection.blocks import row_blocks
from active_selection.clustering import k_means
from active_selection.ranking import Ranking, cumcount


def rank_by_clue(
    feature: np.ndarray,
    entropy: np.ndarray,
    area: np.ndarray,
    pool: np.ndarray,
    budget: float,
    seed: int = 0,
) -> Ranking:
    """Rank by nearness to the centres of an entropy-weighted k-means.

    The clusters minimise sum_i H_i ||z_i - mu_k(i)||^2, and are as many as the budget is worth
    regions of mean area. The region nearest its centre comes first, one of each cluster; then, for
    a budget that is not spent by these, the next nearest of each.

    Args:
        feature: (n, d) float32 z.
        entropy: (n,) H, mean prediction entropy.
        area: (n,) pixels of each region.
        pool: (n,) bool, the unlabelled regions.
        budget: pixels.
        seed: of the clustering.
    """
    rows = np.flatnonzero(pool)
    if not len(rows):
        return Ranking(rows, np.empty(0))
    count = max(1, math.ceil(budget / area[rows].mean()))
    weight = entropy[rows] + np.finfo(np.float32).tiny  # an image of no doubt at all has a centre
    points = feature[rows]
    cluster, centres = k_means(points, count, seed, weight)
    distance = np.empty(len(rows))
    for block in row_blocks(len(rows)):
        offset = points[block] - centres[cluster[block]]
        distance[block] = np.sqrt(np.einsum("nd,nd->n", offset, offset, dtype=np.float64))
    nearest = np.argsort(distance, kind="stable")
    order = nearest[np.lexsort((cluster[nearest], cumcount(cluster[nearest])))]
    return Ranking(rows[order], -distance[order])

"""CLUE (Prabhu et al. 2021): one region of each cluster, clustering weighted by uncertainty."""

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
    """Rank by distance to the centres of an entropy-weighted k-means.

    The clusters minimise sum_i H_i ||z_i - mu_k(i)||^2; their number is the budget divided by the
    mean area of the unlabelled regions. The region nearest to the centre of each cluster comes
    first. If these do not spend the budget, the second nearest of each cluster follow, and so on.

    Args:
        feature: (n, d) float32 z, mean features.
        entropy: (n,) H, mean prediction entropy.
        area: (n,) pixels of each region.
        pool: (n,) bool, True for unlabelled regions.
        budget: pixels to select.
        seed: seed of the k-means initialisation.

    Returns:
        The ranking; scores are negative distances to the cluster centres.
    """
    rows = np.flatnonzero(pool)
    if not len(rows):
        return Ranking(rows, np.empty(0))
    clusters = max(1, math.ceil(budget / area[rows].mean()))
    weight = entropy[rows] + np.finfo(np.float32).tiny  # a cluster of zero weight has no centre
    points = feature[rows]
    cluster, centres = k_means(points, clusters, seed, weight)
    distance = np.empty(len(rows))
    for block in row_blocks(len(rows)):
        offset = points[block] - centres[cluster[block]]
        distance[block] = np.sqrt(np.einsum("nd,nd->n", offset, offset, dtype=np.float64))
    nearest = np.argsort(distance, kind="stable")
    order = nearest[np.lexsort((cluster[nearest], cumcount(cluster[nearest])))]
    return Ranking(rows[order], -distance[order])

"""ReDAL (Wu et al. 2021): uncertain regions with many edge pixels, diversified by clusters."""

import numpy as np

from active_selection.clustering import k_means
from active_selection.ranking import Ranking, cumcount, largest_first

EDGE_WEIGHT = 0.05
CLUSTERS = 500
DECAY = 0.95


def rank_by_redal(
    feature: np.ndarray,
    entropy: np.ndarray,
    edge: np.ndarray,
    pool: np.ndarray,
    seed: int = 0,
    clusters: int = CLUSTERS,
) -> Ranking:
    """Rank by importance H + 0.05 E, decayed by 0.95 per region taken earlier from its cluster.

    Within a cluster regions are taken in order of importance, so the decay of a region is 0.95 to
    the power of its rank there.

    Args:
        feature: (n, d) float32 mean features; those of the unlabelled regions are clustered.
        entropy: (n,) H, mean prediction entropy in bits divided by the number of classes, as in
            :attr:`RegionTable.entropy` (at most 0.22 for 19 classes).
        edge: (n,) E, the share of edge pixels in each region.
        pool: (n,) bool, True for unlabelled regions.
        seed: seed of the k-means initialisation.
        clusters: number of clusters.
    """
    importance = entropy.astype(np.float64) + EDGE_WEIGHT * edge
    by_importance = largest_first(importance, pool).rows
    if len(by_importance):
        cluster, _ = k_means(feature[by_importance], clusters, seed)
        importance[by_importance] *= DECAY ** cumcount(cluster)
    return largest_first(importance, pool)

"""k-means of region features, by scikit-learn."""

import warnings

import numpy as np

BLOCK_ROWS = 4096


def k_means(
    points: np.ndarray, clusters: int, seed: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One k-means, from one k-means++ start, in the points' precision.

    Args:
        points: (n, d) float32 or float64; used as scratch.
        clusters: at most n are used.
        seed: of the start.
        weight: (n,) of each point, not negative; all alike without.

    Returns:
        (n,) int cluster of each point, and (n,) float64 distance to that cluster's centre.
    """
    from sklearn.cluster import KMeans  # takes a second, which most commands need not spend
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(min(clusters, len(points)), n_init=1, random_state=seed, copy_x=False)
    with warnings.catch_warnings():  # fewer distinct points than clusters: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(points, sample_weight=weight).labels_
    distance = np.empty(len(points))
    for start in range(0, len(points), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        offset = points[block] - model.cluster_centers_[labels[block]]
        distance[block] = np.sqrt(np.einsum("nd,nd->n", offset, offset, dtype=np.float64))
    return labels, distance

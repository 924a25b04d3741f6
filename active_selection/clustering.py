"""k-means clustering of region features by scikit-learn."""

import warnings

import numpy as np


def load() -> None:
    """Import what :func:`k_means` needs; to be called before starting threads that cluster.

    (:func:`utils.threads.map_in_threads` limits only libraries that are loaded already.)
    """
    import sklearn.cluster  # noqa: F401


def k_means(
    points: np.ndarray, clusters: int, seed: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster points by k-means with one k-means++ initialisation, in the points' precision.

    Args:
        points: (n, d) float32 or float64; centred in place and shifted back afterwards, which can
            change them by rounding.
        clusters: number of clusters; at most n are used.
        seed: seed of the initialisation.
        weight: (n,) non-negative sample weights; None for equal weights.

    Returns:
        (n,) int32 cluster of each point, and (clusters, d) cluster centres.
    """
    from sklearn.cluster import KMeans  # slow to import, and few commands need it
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(min(clusters, len(points)), n_init=1, random_state=seed, copy_x=False)
    with warnings.catch_warnings():  # fewer distinct points than clusters leave some empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weight)
    return model.labels_, model.cluster_centers_

"""k-means of region features, by scikit-learn."""

import warnings

import numpy as np


def load() -> None:
    """Import what :func:`k_means` needs, as is to be done before threads that call it begin."""
    import sklearn.cluster  # noqa: F401


def k_means(
    points: np.ndarray, clusters: int, seed: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One k-means, from one k-means++ start, in the points' precision.

    Args:
        points: (n, d) float32 or float64; shifted meanwhile, and back, so as before to rounding.
        clusters: at most n are used.
        seed: of the start.
        weight: (n,) of each point, not negative; all alike without.

    Returns:
        (n,) int cluster of each point, and (clusters, d) centres.
    """
    from sklearn.cluster import KMeans  # takes a second, which most commands need not spend
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(min(clusters, len(points)), n_init=1, random_state=seed, copy_x=False)
    with warnings.catch_warnings():  # fewer distinct points than clusters: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weight)
    return model.labels_, model.cluster_centers_

"""Gaussian mixtures of the regions' features."""

import numpy as np
from sklearn.mixture import GaussianMixture

from active_selection.mixture import Mixture, fit_mixture
from benchmarks.inputs import CLASSES, clustered_features
from benchmarks.stage import Work, stage
from utils.threads import map_in_threads

Fit = tuple[np.ndarray, Mixture | GaussianMixture]
"""(n, 256) float32 rows, and the mixture that is fitted to them."""


def reference_mixture(rows: np.ndarray, components: int) -> GaussianMixture:
    """scikit-learn's, in double precision."""
    model = GaussianMixture(components, max_iter=200, random_state=0)
    return model.fit(rows.astype(np.float64))


def same_densities(ours: list[Fit], reference: list[Fit]) -> str:
    """Check log densities of up to 2000 rows of each fit, up to 1e-6 of the reference's."""
    worst = 0.0
    for (rows, a), (_, b) in zip(ours, reference, strict=True):
        expected = b.score_samples(rows[:2000].astype(np.float64))
        error = np.abs(a.log_density(rows[:2000]) - expected) / np.abs(expected)
        worst = max(worst, float(error.max()))
    assert worst <= 1e-6, worst
    return f"log densities differ by {worst:.1e}, relatively"


def fit_all(sizes: list[tuple[int, int]]) -> tuple[Work, Work]:
    """Fit mixtures to made-up features, of so many (rows, components) each."""
    data = [(clustered_features(rows, seed), k) for seed, (rows, k) in enumerate(sizes)]

    def ours() -> list[Fit]:
        fits = map_in_threads(lambda task: fit_mixture(*task), data, lambda task: task[0].size)
        return [(rows, fit) for (rows, _), fit in zip(data, fits, strict=True)]

    return ours, lambda: [(rows, reference_mixture(rows, k)) for rows, k in data]


@stage(target_ratio=3, runs=3, check=same_densities)
def gmm_fit() -> tuple[Work, Work]:
    """The source mixture of one class."""
    return fit_all([(20_000, 10)])


@stage(target_ratio=3, runs=3, check=same_densities, cores=2)
def gmm_round() -> tuple[Work, Work]:
    """38 fits: 19 classes of the target, from 20 to 4,000 regions, and as many of the source."""
    target = np.geomspace(20, 4000, CLASSES).astype(int)
    source = np.geomspace(30, 8000, CLASSES).astype(int)
    components = np.clip(target // 100, 1, 10).tolist()
    return fit_all(
        [
            (n, k)
            for counts in (target, source)
            for n, k in zip(counts.tolist(), components, strict=True)
        ]
    )

"""Density-aware selection: regions frequent in the target and rare in the source (SPEC section 6).

For each pseudo-class c, Gaussian mixtures p_S(z|c) and p_T(z|c) are fitted to the features of the
source's and target's regions of that class, and target regions are ranked by
d(z) = log p_T(z|c) - log p_S(z|c). Classes share the budget by weighted round-robin, a class whose
domains lie further apart getting longer turns.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from active_selection import clustering
from active_selection.mixture import (
    IllConditioned,
    Mixture,
    expectation_maximisation,
    k_means_labels,
)
from active_selection.ranking import Ranking
from active_selection.region_table import RegionTable
from active_selection.schedule import turn_order
from utils.files import write_npz
from utils.threads import map_in_threads

log = logging.getLogger(__name__)

MAX_COMPONENTS = 10
REGIONS_PER_COMPONENT = 100
BEST_PER_CLASS = 200
FIRST_REGULARISER, LAST_REGULARISER = 1e-6, 1e6


@dataclass(frozen=True)
class DensityOptions:
    """What density selection may be told.

    Attributes:
        components: of every class's mixtures; None leaves them to :func:`components_of`.
        max_source_regions: of a class, drawn by chance, that p_S is fitted to at most; None fits it
            to all. (p_T is always fitted to all: a mixture favours what it was fitted to.)
        class_balance: classes take turns; without, all regions are ranked in one list by d(z).
        skip_classes: pseudo-classes that the source does not have at all.
        mixtures_file: an ``.npz`` to keep the mixtures' parameters in.
    """

    components: int | None = None
    max_source_regions: int | None = None
    class_balance: bool = True
    skip_classes: Collection[int] = ()
    mixtures_file: Path | None = None


def fit_mixture(
    features: np.ndarray, components: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Mixture:
    """Fit a full-covariance mixture in double precision: k-means start, one start, <= 200 steps.

    The covariances' regulariser rises tenfold while they are ill-conditioned.

    Args:
        features: (n, d), n >= 2, finite.
        components: at most n are used.
        seed: of the k-means start.
        device: of the arithmetic.
    """
    components = min(components, len(features))
    labels = k_means_labels(features, components, seed)
    regulariser = FIRST_REGULARISER
    while True:
        try:
            return expectation_maximisation(features, labels, components, regulariser, device)
        except IllConditioned:
            if regulariser >= LAST_REGULARISER:
                raise
            regulariser *= 10
            log.info("mixture is ill-conditioned; covariance regulariser raised to %g", regulariser)


def fit_density(
    features: np.ndarray, components: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Mixture | None:
    """:func:`fit_mixture`, or None with fewer than two rows, from which there is no density."""
    return fit_mixture(features, components, seed, device) if len(features) >= 2 else None


def components_of(target_regions: int) -> int:
    """K = clip(m // 100, 1, 10) components for a class of m target regions, in both domains."""
    return min(max(target_regions // REGIONS_PER_COMPONENT, 1), MAX_COMPONENTS)


def log_ratio(
    target_mixture: Mixture, source_mixture: Mixture | None, rows: np.ndarray
) -> np.ndarray:
    """log p_T(z) - log p_S(z) of each row, (m,) float64; log p_T(z) without a source mixture."""
    ratio = target_mixture.log_density(rows)
    return ratio if source_mixture is None else ratio - source_mixture.log_density(rows)


def log_density_ratio(source: np.ndarray, target: np.ndarray, seed: int = 0) -> np.ndarray:
    """log p_T(z) - log p_S(z) of each target row, under mixtures fitted to both.

    Args:
        source: (n, d) features of the source's regions of a class; with n < 2, log p_T is returned.
        target: (m, d) features of the target's regions of that class, m >= 2.
        seed: of the mixtures' start.

    Returns:
        (m,) float64.
    """
    components = components_of(len(target))
    target_mixture = fit_mixture(target, components, seed)
    return log_ratio(target_mixture, fit_density(source, components, seed), target)


def class_weight(log_ratio: np.ndarray) -> int:
    """Length of a class's turn: max(1, int(log10 |mean of d over the class|))."""
    mean = abs(float(np.mean(log_ratio)))
    return max(1, int(math.log10(mean))) if 1 <= mean < math.inf else 1


def rank_by_density(
    source: RegionTable,
    target: RegionTable,
    pool: np.ndarray,
    options: DensityOptions = DensityOptions(),
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Rank the unlabelled target regions by density, classes taking turns.

    The best 200 of each class come first; after them the rest in the same manner, then the regions
    of classes that cannot be ranked (skipped, or with a single target region), which come last
    without turns, too.

    Args:
        source: every source region.
        target: every target region, labelled or not: all of them make up the densities.
        pool: (m,) bool, the unlabelled ones, which alone are ranked.
        options: all else that there is to choose.
        seed: of the mixtures' start.
        device: that mixtures are fitted on; it must know float64.
    """
    classes = target.pseudo_class
    rows_of = {int(c): np.flatnonzero(classes == c) for c in np.unique(classes)}
    rankable = {
        c: rows for c, rows in rows_of.items() if len(rows) >= 2 and c not in options.skip_classes
    }
    mixtures = fit_classes(source, target, rankable, options, seed, device)
    if options.mixtures_file is not None:
        write_npz(options.mixtures_file, **_parameters(mixtures))
    ratios = map_in_threads(
        lambda c: log_ratio(*mixtures[c], target.feature[rankable[c]]),
        list(rankable),
        lambda c: len(rankable[c]),
    )
    score = np.zeros(len(target))
    lists, weights = [], []
    for (c, rows), ratio in zip(rankable.items(), ratios, strict=True):
        score[rows] = ratio
        candidates = rows[pool[rows]]
        lists.append(candidates[np.argsort(-score[candidates], kind="stable")])
        weights.append(class_weight(ratio))
        log.info(
            "class %2d: %6d unlabelled regions, mean d %.4g, weight %d",
            c,
            len(candidates),
            ratio.mean(),
            weights[-1],
        )
    if options.class_balance:
        best = take_turns([rows[:BEST_PER_CLASS] for rows in lists], weights)
        rest = take_turns([rows[BEST_PER_CLASS:] for rows in lists], weights)
        merged = [best, rest]
    else:
        rows = np.sort(np.concatenate([np.empty(0, np.int64), *lists]))
        merged = [rows[np.argsort(-score[rows], kind="stable")]]
    others = [rows[pool[rows]] for c, rows in rows_of.items() if c not in rankable]
    order = np.concatenate([*merged, *others]).astype(np.int64)
    return Ranking(order, score[order])


def fit_classes(
    source: RegionTable,
    target: RegionTable,
    target_rows: Mapping[int, np.ndarray],
    options: DensityOptions,
    seed: int,
    device: torch.device | str,
) -> dict[int, tuple[Mixture, Mixture | None]]:
    """The mixtures of target and source of each class, fitted on all cores.

    Args:
        source: every source region.
        target: every target region.
        target_rows: class -> rows of ``target``, two or more.
        options: how many components, and how many source regions.
        seed: of the start, and of the regions drawn.
        device: that the arithmetic runs on.
    """
    source_class = source.pseudo_class
    source_rows = {
        c: draw_rows(np.flatnonzero(source_class == c), options.max_source_regions, seed)
        for c in target_rows
    }
    count_of = {
        c: options.components or components_of(len(rows)) for c, rows in target_rows.items()
    }
    for c, rows in target_rows.items():
        log.info(
            "class %2d: %6d target and %6d source regions, %d components",
            c,
            len(rows),
            len(source_rows[c]),
            count_of[c],
        )
    tasks = [
        (table, rows[c], count_of[c])
        for table, rows in ((target, target_rows), (source, source_rows))
        for c in target_rows
    ]
    clustering.load()
    fitted = map_in_threads(
        lambda task: fit_density(task[0].feature[task[1]], task[2], seed, device),
        tasks,
        lambda task: len(task[1]) * task[2],
    )
    pairs = zip(fitted[: len(target_rows)], fitted[len(target_rows) :], strict=True)
    return dict(zip(target_rows, pairs, strict=True))


def draw_rows(rows: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """``count`` of the rows, drawn by chance, in their order; all if there are no more, or None."""
    if count is None or len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def take_turns(lists: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """Rows of all classes in one list, by weighted round-robin."""
    rows = np.concatenate([np.empty(0, np.int64), *lists])
    return rows[turn_order(list(map(len, lists)), weights)]


def _parameters(
    mixtures: Mapping[int, tuple[Mixture, Mixture | None]],
) -> dict[str, np.ndarray]:
    """Weights, means and covariances under names such as ``target_13_means``."""
    return {
        f"{domain}_{c}_{name}": getattr(mixture, name).cpu().numpy()
        for c, pair in mixtures.items()
        for domain, mixture in zip(("target", "source"), pair, strict=True)
        if mixture is not None
        for name in ("weights", "means", "covariances")
    }

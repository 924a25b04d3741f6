"""Density-aware selection (Wu et al. 2022): regions frequent in the target and rare in the source.

For each pseudo-class c, Gaussian mixtures p_S(z|c) and p_T(z|c) are fitted to the features of the
source and the target regions of that class, and target regions are ranked by
d(z) = log p_T(z|c) - log p_S(z|c). Classes share the budget by weighted round-robin: the further
apart the two domains of a class are, the longer its turns.
"""

import logging
import math
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from active_selection.fitting import Fit, fit_all
from active_selection.mixture import Mixture
from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import RegionTable
from active_selection.schedule import turn_order
from dataloader.dataset_info import DatasetInfo
from utils.distributed import SINGLE, World
from utils.files import write_npz
from utils.threads import map_in_threads

log = logging.getLogger(__name__)

MAX_COMPONENTS = 10
REGIONS_PER_COMPONENT = 100
BEST_PER_CLASS = 200
MAX_SOURCE_REGIONS = 20_000


@dataclass(frozen=True)
class DensityOptions:
    """Options of density selection.

    Attributes:
        components: mixture components per class and domain; None derives them from the number of
            target regions (:func:`components_of`).
        max_source_regions: p_S(z|c) is fitted to a random sample of at most this many source
            regions of class c; None fits it to all of them. (p_T is always fitted to all target
            regions: a mixture favours what it was fitted to.)
        class_balance: whether classes take turns; if not, all regions are ranked in one list by
            d(z).
        skip_classes: pseudo-classes that are ranked last, because the source does not have them.
        class_names: by which the log calls the classes; numbers where there are none.
        covariance: how the mixtures' covariances are estimated, of :data:`COVARIANCES`.
        mixtures_file: ``.npz`` file to which the mixtures' parameters are written; None for none.
    """

    components: int | None = None
    max_source_regions: int | None = MAX_SOURCE_REGIONS
    class_balance: bool = True
    skip_classes: Collection[int] = ()
    class_names: Sequence[str] = ()
    covariance: str = "full"
    mixtures_file: Path | None = None

    @classmethod
    def from_args(
        cls, args: Namespace, source: DatasetInfo, mixtures_file: Path | None = None
    ) -> "DensityOptions":
        """Return the options that the flags of ``train_ADA.py`` give for a source."""
        return cls(
            components=args.components,
            max_source_regions=args.max_source_regions,
            class_balance=args.class_balance,
            covariance=args.covariance,
            skip_classes=source.missing_classes,
            class_names=source.class_names,
            mixtures_file=mixtures_file,
        )

    def name(self, train_id: int) -> str:
        """What the log calls a class."""
        names = self.class_names
        return names[train_id] if train_id < len(names) else f"class {train_id}"


def components_of(target_regions: int) -> int:
    """K = clip(m // 100, 1, 10) components for a class of m target regions, in both domains."""
    return min(max(target_regions // REGIONS_PER_COMPONENT, 1), MAX_COMPONENTS)


def log_ratio(
    target_mixture: Mixture, source_mixture: Mixture | None, features: np.ndarray
) -> np.ndarray:
    """d(z) = log p_T(z) - log p_S(z) of features (m, d), (m,) float64.

    Without a source mixture, d(z) = log p_T(z).
    """
    ratio = target_mixture.log_density(features)
    return ratio if source_mixture is None else ratio - source_mixture.log_density(features)


def log_density_ratio(source: np.ndarray, target: np.ndarray, seed: int = 0) -> np.ndarray:
    """Fit a mixture to each domain and return log p_T(z) - log p_S(z) of each target region.

    Args:
        source: (n, d) features of the source regions of one class; with n < 2, log p_T is returned.
        target: (m, d) features of the target regions of that class, m >= 2.
        seed: seed of the k-means initialisation.

    Returns:
        (m,) float64.
    """
    rows = np.arange(len(source)), np.arange(len(target))
    fits = fits_of_class(source, target, *rows, DensityOptions(), seed)
    mixtures = {domain: fit.run("cpu") for domain, fit in fits.items()}
    return log_ratio(mixtures["target"], mixtures.get("source"), target)


def class_weight(ratio: np.ndarray) -> int:
    """Length of a class's turn: max(1, int(log10 |mean d|)) for the d (m,) of its regions.

    The mean of d over regions of the target estimates the Kullback-Leibler divergence of p_T(z|c)
    from p_S(z|c): the gap between the domains, of which the logarithm keeps one class from taking
    all turns.
    """
    mean = abs(float(np.mean(ratio)))
    return max(1, int(math.log10(mean))) if 1 <= mean < math.inf else 1


def rank_by_density(
    source: RegionTable,
    target: RegionTable,
    pool: np.ndarray,
    options: DensityOptions = DensityOptions(),
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = SINGLE,
) -> Ranking:
    """Rank the unlabelled target regions by d(z), classes taking turns.

    The best 200 regions of each class come first, then the rest of each class; without
    ``class_balance``, all of them in one list by d(z). At the end, without turns and with a score
    of 0, come classes that have no mixtures: skipped ones and those with a single target region.

    Args:
        source: all source regions.
        target: all target regions; p_T is fitted to labelled and unlabelled ones.
        pool: (m,) bool, True for the unlabelled target regions; only these are ranked.
        options: see :class:`DensityOptions`.
        seed: seed of the k-means initialisation and of the sample of source regions.
        device: device on which mixtures are fitted; it must support float64.
        world: the ranks, of which rank 0 calls this and the others
            :func:`active_selection.fitting.help_to_fit`.
    """
    classes = target.pseudo_class
    sizes = np.bincount(classes)
    rankable = [c for c in np.flatnonzero(sizes >= 2).tolist() if c not in options.skip_classes]
    mixtures = fit_mixtures(source, target, rankable, options, seed, device, world)
    if options.mixtures_file is not None:
        write_npz(options.mixtures_file, **_parameters(mixtures))
    ratios = map_in_threads(
        lambda c: log_ratio(
            mixtures["target", c], mixtures.get(("source", c)), target.feature[classes == c]
        ),
        rankable,
        lambda c: sizes[c],
    )
    score = np.zeros(len(target))
    weights = [class_weight(ratio) for ratio in ratios]
    for c, ratio, weight in zip(rankable, ratios, weights, strict=True):
        score[classes == c] = ratio
        log.info("%s: mean d %.4g, weight %d", options.name(c), ratio.mean(), weight)
    if options.class_balance:
        queues = [largest_first(score, pool & (classes == c)).rows for c in rankable]
        best = take_turns([queue[:BEST_PER_CLASS] for queue in queues], weights)
        rest = take_turns([queue[BEST_PER_CLASS:] for queue in queues], weights)
        ranked = [best, rest]
    else:
        ranked = [largest_first(score, pool & np.isin(classes, rankable)).rows]
    others = [c for c in np.flatnonzero(sizes) if c not in rankable]
    rows = np.concatenate([*ranked, *(np.flatnonzero(pool & (classes == c)) for c in others)])
    return Ranking(rows, score[rows])


def fit_mixtures(
    source: RegionTable,
    target: RegionTable,
    classes: Sequence[int],
    options: DensityOptions,
    seed: int,
    device: torch.device | str,
    world: World = SINGLE,
) -> dict[tuple[str, int], Mixture]:
    """Fit p_T(z|c) and p_S(z|c) of each class, in parallel on all cores of all ranks.

    Args:
        source: all source regions.
        target: all target regions.
        classes: pseudo-classes with at least two target regions.
        options: see :class:`DensityOptions`.
        seed: seed of the k-means initialisation and of the sample of source regions.
        device: device of the computation; it must support float64.
        world: see :func:`rank_by_density`.

    Returns:
        ("target", c) and ("source", c) -> mixture; no ("source", c) for a class with fewer than two
        source regions.
    """
    target_class, source_class = target.pseudo_class, source.pseudo_class
    fits = {}
    for c in classes:
        in_target, in_source = (np.flatnonzero(of == c) for of in (target_class, source_class))
        in_source = draw_rows(in_source, options.max_source_regions, seed)
        of_class = fits_of_class(
            source.feature, target.feature, in_source, in_target, options, seed
        )
        fits |= {(domain, c): fit for domain, fit in of_class.items()}
        log.info(
            "%s: %d target and %d source regions, %d components",
            *(options.name(c), len(in_target), len(in_source), of_class["target"].components),
        )
    return dict(zip(fits, fit_all(list(fits.values()), device, world), strict=True))


def fits_of_class(
    source: np.ndarray,
    target: np.ndarray,
    source_rows: np.ndarray,
    target_rows: np.ndarray,
    options: DensityOptions,
    seed: int,
) -> dict[str, Fit]:
    """The fits of p_T(z|c) and p_S(z|c), with as many components, by "target" and "source".

    Args:
        source: (N, d) features of source regions.
        target: (M, d) features of target regions.
        source_rows: (n,) the rows of class c; there is no fit of the source for n < 2.
        target_rows: (m,) the rows of class c, m >= 2.
        options: see :class:`DensityOptions`.
        seed: seed of the k-means initialisation.
    """
    how = options.components or components_of(len(target_rows)), seed, options.covariance
    fits = {"target": Fit(target, target_rows, *how)}
    if len(source_rows) >= 2:
        fits["source"] = Fit(source, source_rows, *how)
    return fits


def draw_rows(rows: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """A random sample of ``count`` rows in their order; all rows if there are no more, or None."""
    if count is None or len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def take_turns(queues: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """Merge arrays of row numbers by weighted round-robin, see :func:`weighted_round_robin`."""
    rows = np.concatenate([np.empty(0, np.int64), *queues])
    return rows[turn_order(list(map(len, queues)), weights)]


def _parameters(mixtures: Mapping[tuple[str, int], Mixture]) -> dict[str, np.ndarray]:
    """Weights, means and covariances under names such as ``target_13_means``."""
    return {
        f"{domain}_{c}_{name}": getattr(mixture, name).cpu().numpy()
        for (domain, c), mixture in mixtures.items()
        for name in ("weights", "means", "covariances")
    }

"""The strategies by their command-line names, and a round's division into phases."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from active_selection.aada import rank_by_aada
from active_selection.badge import rank_by_badge
from active_selection.clue import rank_by_clue
from active_selection.coreset import rank_by_coreset
from active_selection.density import DensityOptions, rank_by_density
from active_selection.random_selection import rank_randomly
from active_selection.ranking import Ranking
from active_selection.redal import rank_by_redal
from active_selection.region_table import SCORES, RegionTable
from active_selection.ripu import rank_by_ripu
from active_selection.schedule import budgets
from active_selection.uncertainty import rank_by_uncertainty


@dataclass
class Candidates:
    """What a strategy may look at.

    Attributes:
        target: every target region.
        source: every source region; None for strategies that need none (:data:`NEED_SOURCE`).
        seed: of whatever is drawn at random.
        density: what density selection leaves to choose.
        edge: (n,) share of each target region's pixels that are edges; None for strategies that
            need none (:data:`NEED_EDGES`).
        device: of the arithmetic; it must know float64.
        pool: (n,) bool, which target regions are unlabelled; set anew before each phase.
        budget: pixels that the phase may spend; set anew before each.
    """

    target: RegionTable
    source: RegionTable | None
    seed: int
    density: DensityOptions = field(default_factory=DensityOptions)
    edge: np.ndarray | None = None
    device: torch.device | str = "cpu"
    pool: np.ndarray | None = None
    budget: float = 0

    def per_image(self, pool: np.ndarray) -> "Candidates":
        """The evidence of whole images (scan mode), whose regions in ``pool`` are unlabelled."""
        return replace(
            self,
            target=self.target.per_image(pool),
            source=self.source and self.source.per_image(),
            edge=None if self.edge is None else self.target.image_means(self.edge),
        )


Strategy = Callable[[Candidates], Ranking]


def _random(e: Candidates) -> Ranking:
    return rank_randomly(e.pool, e.seed)


def _density(e: Candidates) -> Ranking:
    return rank_by_density(e.source, e.target, e.pool, e.density, e.seed, e.device)


def _uncertainty(e: Candidates, name: str) -> Ranking:
    return rank_by_uncertainty(e.target, e.pool, name)


def _aada(e: Candidates) -> Ranking:
    return rank_by_aada(e.target.domain, e.target.entropy, e.pool)


def _clue(e: Candidates) -> Ranking:
    t = e.target
    return rank_by_clue(t.feature, t.entropy, t.area, e.pool, e.budget, e.seed)


def _badge(e: Candidates) -> Ranking:
    t = e.target
    return rank_by_badge(t.feature, t.prob, t.area, e.pool, e.budget, e.seed, e.device)


def _redal(e: Candidates) -> Ranking:
    return rank_by_redal(e.target.feature, e.target.entropy, e.edge, e.pool, e.seed)


def _coreset(e: Candidates) -> Ranking:
    t = e.target
    return rank_by_coreset(t.feature, e.source.feature, t.area, e.pool, e.budget, e.device)


def _ripu(e: Candidates) -> Ranking:
    return rank_by_ripu(e.target.predicted, e.target.entropy, e.pool)


STRATEGIES: dict[str, Strategy] = {
    "random": _random,
    "density": _density,
    **{name: partial(_uncertainty, name=name) for name in SCORES},
    "AADA": _aada,
    "CLUE": _clue,
    "BADGE": _badge,
    "ReDAL": _redal,
    "coreset": _coreset,
    "RIPU": _ripu,
}
METHODS = ("d2ada", *STRATEGIES)
NEED_NO_NETWORK = ("random",)
NEED_SOURCE = ("d2ada", "density", "coreset")
NEED_EDGES = ("ReDAL",)
NEED_DISCRIMINATOR = ("AADA",)


def phases(
    method: str, uncertainty: str, round_index: int, budget: int, alpha: float, beta: float
) -> list[tuple[str, int]]:
    """(strategy, pixels) of a round: two for d2ada, by dynamic scheduling, one for all others."""
    if method != "d2ada":
        return [(method, budget)]
    by_density, by_uncertainty = budgets(round_index, budget, alpha, beta)
    return [("density", by_density), (uncertainty, by_uncertainty)]

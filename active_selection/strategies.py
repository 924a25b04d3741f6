"""The strategies by their command-line names: the ranking function of each, and what it needs.

To add a strategy, write a ranking function on plain arrays in a new file, and add a row to
:data:`STRATEGIES`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from active_selection.aada import rank_by_aada
from active_selection.badge import rank_by_badge
from active_selection.clue import rank_by_clue
from active_selection.coreset import rank_by_coreset
from active_selection.density import DensityOptions, rank_by_density
from active_selection.fitting import help_to_fit
from active_selection.random_selection import rank_randomly
from active_selection.ranking import Ranking
from active_selection.redal import rank_by_redal
from active_selection.region_table import UNCERTAINTIES, RegionTable
from active_selection.ripu import rank_by_ripu
from active_selection.uncertainty import rank_by_uncertainty
from utils.distributed import SINGLE, World


@dataclass(frozen=True)
class Candidates:
    """The regions that a strategy selects from, and everything else that it may read.

    Attributes:
        target: every target region, labelled or not.
        source: every source region; None unless the strategy needs "source".
        seed: seed of all random draws.
        density: options of density selection.
        edge: (n,) share of edge pixels in each target region; None unless the strategy needs
            "edges".
        device: device of the arithmetic; it must support float64.
        world: the ranks, of which rank 0 selects.
    """

    target: RegionTable
    source: RegionTable | None = None
    seed: int = 0
    density: DensityOptions = field(default_factory=DensityOptions)
    edge: np.ndarray | None = None
    device: torch.device | str = "cpu"
    world: World = SINGLE

    def per_image(self, pool: np.ndarray) -> "Candidates":
        """Return whole images (scan mode) as candidates; ``pool`` (n,) bool: unlabelled regions."""
        return replace(
            self,
            target=self.target.per_image(pool),
            source=self.source and self.source.per_image(),
            edge=None if self.edge is None else self.target.image_means(self.edge),
        )


class Strategy(NamedTuple):
    """One value of ``--active_method``.

    Attributes:
        rank: (candidates, pool (n,) bool of the unlabelled target regions, budget in pixels) ->
            these regions in labelling order, at least as many as the budget pays for.
        needs: any of "network" (a pass over the target), "source" (another one over the source),
            "edges" (edge maps) and "discriminator" (from an adversarial warm-up).
        help: (device, world); what the ranks other than 0 do while rank 0 calls ``rank``.
    """

    rank: Callable[[Candidates, np.ndarray, float], Ranking]
    needs: frozenset[str] = frozenset({"network"})
    help: Callable[[torch.device | str, World], None] = lambda device, world: None


NETWORK = frozenset({"network"})


def _uncertainty(name: str) -> Strategy:
    return Strategy(lambda c, pool, budget: rank_by_uncertainty(c.target, pool, name))


def _density(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    return rank_by_density(c.source, c.target, pool, c.density, c.seed, c.device, c.world)


def _aada(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    return rank_by_aada(c.target.target_prob, c.target.entropy, pool)


def _clue(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    t = c.target
    return rank_by_clue(t.feature, t.entropy, t.area, pool, budget, c.seed)


def _badge(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    t = c.target
    return rank_by_badge(t.feature, t.prob, t.area, pool, budget, c.seed, c.device)


def _redal(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    return rank_by_redal(c.target.feature, c.target.entropy, c.edge, pool, c.seed)


def _coreset(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    t = c.target
    return rank_by_coreset(t.feature, c.source.feature, t.area, pool, budget, c.device)


def _ripu(c: Candidates, pool: np.ndarray, budget: float) -> Ranking:
    return rank_by_ripu(c.target.predicted_share, c.target.entropy, pool)


STRATEGIES: dict[str, Strategy] = {
    "random": Strategy(lambda c, pool, budget: rank_randomly(pool, c.seed), frozenset()),
    "density": Strategy(_density, NETWORK | {"source"}, help_to_fit),
    **{name: _uncertainty(name) for name in UNCERTAINTIES},
    "AADA": Strategy(_aada, NETWORK | {"discriminator"}),
    "CLUE": Strategy(_clue),
    "BADGE": Strategy(_badge),
    "ReDAL": Strategy(_redal, NETWORK | {"edges"}),
    "coreset": Strategy(_coreset, NETWORK | {"source"}),
    "RIPU": Strategy(_ripu),
}


def method_names() -> list[str]:
    """Return the values of ``--active_method``: d2ada (two combined) and all strategies."""
    return ["d2ada", *STRATEGIES]


def needs_of(names: Iterable[str]) -> frozenset[str]:
    """Return everything that any of these strategies needs."""
    return frozenset().union(*(STRATEGIES[name].needs for name in names))

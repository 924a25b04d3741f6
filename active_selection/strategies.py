"""The strategies by their command-line names, and a round's division into phases."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from active_selection.density import rank_by_density
from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import SCORES, RegionTable
from active_selection.schedule import budgets
from active_selection.uncertainty import rank_by_uncertainty


@dataclass
class Evidence:
    """What a strategy may look at.

    Attributes:
        target: every target region.
        source: every source region; None for strategies that need none (:data:`NEED_SOURCE`).
        seed: of whatever is drawn at random.
        skip_classes: train ids that the source dataset does not have.
        mixtures_file: where density keeps its mixtures, if anywhere.
        device: that mixtures are fitted on.
        pool: (m,) bool, which target regions are unlabelled; set anew before each phase.
    """

    target: RegionTable
    source: RegionTable | None
    seed: int
    skip_classes: Collection[int] = ()
    mixtures_file: Path | None = None
    device: torch.device | str = "cpu"
    pool: np.ndarray | None = None


Strategy = Callable[[Evidence], Ranking]


def _random(evidence: Evidence) -> Ranking:
    rng = np.random.default_rng(evidence.seed)
    return largest_first(rng.random(len(evidence.target)), evidence.pool)


def _density(e: Evidence) -> Ranking:
    return rank_by_density(
        *(e.source, e.target, e.pool, e.seed, e.skip_classes, e.mixtures_file, e.device)
    )


def _uncertainty(evidence: Evidence, name: str) -> Ranking:
    return rank_by_uncertainty(evidence.target, evidence.pool, name)


STRATEGIES: dict[str, Strategy] = {
    "random": _random,
    "density": _density,
    **{name: partial(_uncertainty, name=name) for name in SCORES},
}
METHODS = ("d2ada", *STRATEGIES)
NEED_SOURCE = ("d2ada", "density")


def phases(
    method: str, uncertainty: str, round_index: int, budget: int, alpha: float, beta: float
) -> list[tuple[str, int]]:
    """(strategy, pixels) of a round: two for d2ada, by dynamic scheduling, one for all others."""
    if method != "d2ada":
        return [(method, budget)]
    by_density, by_uncertainty = budgets(round_index, budget, alpha, beta)
    return [("density", by_density), (uncertainty, by_uncertainty)]

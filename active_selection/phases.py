"""The phases of a round's selection: plan them, rank, spend the budget, label what was chosen."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from active_selection.region_table import RegionTable
from active_selection.schedule import budgets, cut_at_budget
from active_selection.strategies import STRATEGIES, Candidates
from dataloader.active_set import ActiveSet, is_region_id
from dataloader.domain import Domain
from utils.errors import UserError
from utils.safe_pickle import load_pickle, save_pickle
from utils.stopping import STOP

log = logging.getLogger(__name__)


class Phase(NamedTuple):
    """A strategy, and the pixels that it may spend."""

    strategy: str
    budget: int


@dataclass(frozen=True)
class PhaseResult:
    """What a phase took: its strategy and budget, the pixels and regions chosen."""

    strategy: str
    budget: int
    pixels: int
    regions: int


def plan_phases(
    method: str, uncertainty: str, n: int, budget: int, alpha: float, beta: float
) -> list[Phase]:
    """The phases of selection ``n`` (1, 2, ...): two for d2ada, by dynamic scheduling, else one.

    Args:
        method: one of :func:`active_selection.strategies.method_names`.
        uncertainty: the strategy that d2ada goes over to.
        n: selection number, counted from 1.
        budget: pixels of all phases together.
        alpha, beta: see :func:`active_selection.schedule.budgets`.
    """
    if method != "d2ada":
        return [Phase(method, budget)]
    by_density, by_uncertainty = budgets(n, budget, alpha, beta)
    return [Phase("density", by_density), Phase(uncertainty, by_uncertainty)]


def selection_path(folder: Path, strategy: str, round_index: int) -> Path:
    """Where the regions that a strategy chose in a round are written."""
    return folder / f"{strategy}_selection_{round_index:02d}.pkl"


def run_phases(
    plan: Sequence[Phase],
    candidates: Candidates | None,
    active_set: ActiveSet,
    domain: Domain,
    folder: Path,
    round_index: int,
) -> list[PhaseResult]:
    """Run phases in order, each on the regions that those before it have left.

    Chosen regions are labelled in ``active_set``, and written in labelling order to
    ``<strategy>_selection_<round>.pkl`` as (score, "image,label,superpixel", region id). A phase
    whose file is there already, from a run that was stopped, is taken from it; where all are
    there, no candidates are needed.

    Args:
        plan: of :func:`plan_phases`.
        candidates: what strategies choose from.
        active_set: what is labelled; altered.
        domain: the target, with its regions.
        folder: of the selection files.
        round_index: of the round.
    """
    results = []
    for strategy, budget in plan:
        path = selection_path(folder, strategy, round_index)
        if not path.is_file():
            save_pickle(path, choose(strategy, budget, candidates, active_set))
        regions = read_selection(path, active_set)
        active_set.label(regions)
        pixels = sum(domain.regions[superpixel][region] for superpixel, region in regions)
        results.append(PhaseResult(strategy, budget, pixels, len(regions)))
        log.info("selection %02d: %s", round_index, asdict(results[-1]))
        STOP.check()
    return results


def choose(
    strategy: str, budget: int, candidates: Candidates, active_set: ActiveSet
) -> list[tuple[float, str, int]]:
    """Regions worth ``budget`` pixels by a strategy, in labelling order, as they are written."""
    if budget <= 0:
        return []
    target = candidates.target
    ranking = STRATEGIES[strategy].rank(candidates, unlabelled_rows(target, active_set), budget)
    rows = cut_at_budget(ranking.rows, target.area, budget)
    chosen = []
    for row, score in zip(rows.tolist(), ranking.scores.tolist(), strict=False):
        item, region = target.items[target.image[row]], int(target.region[row])
        ids = [region] if region >= 0 else active_set.pool[item.superpixel]
        chosen += [(score, ",".join(item), i) for i in ids]
    return chosen


def unlabelled_rows(table: RegionTable, active_set: ActiveSet) -> np.ndarray:
    """(n,) bool: the rows that are (or, for whole images, have) unlabelled regions."""
    pools = [set(active_set.pool[item.superpixel]) for item in table.items]
    rows = zip(table.image.tolist(), table.region.tolist(), strict=True)
    unlabelled = (region in pools[i] if region >= 0 else bool(pools[i]) for i, region in rows)
    return np.fromiter(unlabelled, bool, len(table))


def read_selection(path: Path, active_set: ActiveSet) -> list[tuple[str, int]]:
    """The regions (superpixel path, region id) of a selection file, in labelling order.

    Raises:
        UserError: they are not all in the pool, each once.
    """
    superpixel_of = {",".join(item): item.superpixel for item in active_set.target}
    pool = {(path, region) for path, ids in active_set.pool.items() for region in ids}
    try:
        entries = [(paths, region) for _, paths, region in load_pickle(path)]
        fits = all(type(paths) is str and is_region_id(region) for paths, region in entries)
        chosen = [(superpixel_of[paths], region) for paths, region in entries] if fits else []
        fits = fits and pool.issuperset(chosen) and len(set(chosen)) == len(chosen)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"{path}: not a selection from this pool; remove it to select anew")
    return chosen

"""The phases of a round's selection: rank regions, cut them at the budget, and label them."""

import logging
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from active_selection.ranking import cumcount
from active_selection.region_table import RegionTable
from active_selection.schedule import budgets, cut_at_budget
from active_selection.strategies import STRATEGIES, Candidates
from dataloader.active_set import ActiveSet, is_region_id
from dataloader.class_counts import majority
from dataloader.domain import Domain
from dataloader.oracle import GroundTruth
from utils.errors import UserError
from utils.files import write_json
from utils.safe_pickle import load_pickle, save_pickle
from utils.stopping import STOP

log = logging.getLogger(__name__)


class Phase(NamedTuple):
    """A strategy and its budget in pixels."""

    strategy: str
    budget: int


@dataclass(frozen=True)
class PhaseResult:
    """Result of a phase: strategy, budget in pixels, and numbers of pixels and regions selected.

    Attributes:
        void: number of these regions in which the label files give no pixel a class.
    """

    strategy: str
    budget: int
    pixels: int
    regions: int
    void: int = 0


class Reason(NamedTuple):
    """Why a region was selected, beside its score: its place among those predicted as its class.

    Attributes:
        pseudo_class: train id of its predicted class; None for a selection without the network.
        rank: place in the order of labelling among the regions of this class, from 1.
        among: regions of this class that were still unlabelled.
    """

    pseudo_class: int | None = None
    rank: int | None = None
    among: int | None = None


def plan_phases(
    method: str, uncertainty: str, n: int, budget: int, alpha: float, beta: float
) -> list[Phase]:
    """Return the phases of a selection: two for d2ada (dynamic scheduling), otherwise one.

    Args:
        method: one of :func:`active_selection.strategies.method_names`.
        uncertainty: the strategy of d2ada's second phase.
        n: selection number, counted from 1.
        budget: pixels of all phases together.
        alpha, beta: see :func:`active_selection.schedule.budgets`.
    """
    if method != "d2ada":
        return [Phase(method, budget)]
    by_density, by_uncertainty = budgets(n, budget, alpha, beta)
    return [Phase("density", by_density), Phase(uncertainty, by_uncertainty)]


def phases_of(args: Namespace, n: int, budget: int) -> list[Phase]:
    """Return the phases of selection ``n``, counted from 1, by the flags of ``train_ADA.py``."""
    return plan_phases(args.active_method, args.uncertainty, n, budget, args.alpha, args.beta)


def selection_path(folder: Path, strategy: str, round_index: int) -> Path:
    """Return the path of the regions that a strategy selected in a round."""
    return folder / f"{strategy}_selection_{round_index:02d}.pkl"


def reasons_path(folder: Path, strategy: str, round_index: int) -> Path:
    """Return the path of the :class:`Reason` of each region in a selection file, in its order."""
    return folder / "AL_record" / f"{strategy}_selection_{round_index:02d}.json"


def run_phases(
    plan: Sequence[Phase],
    candidates: Candidates | None,
    active_set: ActiveSet,
    domain: Domain,
    folder: Path,
    round_index: int,
    ask: bool = False,
    oracle: GroundTruth | None = None,
) -> list[PhaseResult]:
    """Run phases in order, each on the regions that are still unlabelled.

    Selected regions are labelled in ``active_set``, or asked for, and written in labelling order to
    ``<strategy>_selection_<round>.pkl`` as (score, "image,label,superpixel", region id). If a
    stopped run has already written the file of a phase, its regions are read from it. Why each
    region was selected is written before it, see :func:`reasons_path`.

    Args:
        plan: phases from :func:`plan_phases`.
        candidates: what strategies select from; None if the files of all phases exist.
        active_set: pool and labelled set; changed in place.
        domain: the target, with its regions.
        folder: folder of the selection files.
        round_index: number of the round.
        ask: whether people are asked for the labels, instead of label files.
        oracle: the label files; if given, selected regions without any class are counted.
    """
    results = []
    for strategy, budget in plan:
        path = selection_path(folder, strategy, round_index)
        if not path.is_file():
            entries, reasons = choose(strategy, budget, candidates, active_set)
            write_json(reasons_path(folder, strategy, round_index), reasons)
            save_pickle(path, entries)
        regions = read_selection(path, active_set)
        (active_set.ask if ask else active_set.label)(regions)
        pixels = sum(domain.regions[superpixel][region] for superpixel, region in regions)
        counted = oracle.pixels_by_class(regions).values() if oracle else ()
        void = sum(majority(counts) is None for counts in counted)
        results.append(PhaseResult(strategy, budget, pixels, len(regions), void))
        log.info(
            "selection %02d: %s takes %d regions, %d px of a budget of %d px%s",
            *(round_index, strategy, len(regions), pixels, budget),
            f"; {void} regions are void throughout" if oracle else "",
        )
        STOP.check()
    return results


def choose(
    strategy: str, budget: int, candidates: Candidates, active_set: ActiveSet
) -> tuple[list[tuple[float, str, int]], list[Reason]]:
    """Return a strategy's regions for a budget in pixels, as entries of a selection file.

    Beside them, why each of them was selected.
    """
    if budget <= 0:
        return [], []
    target, pool = candidates.target, unlabelled_rows(candidates.target, active_set)
    ranking = STRATEGIES[strategy].rank(candidates, pool, budget)
    rows = cut_at_budget(ranking.rows, target.area, budget)
    entries, reasons = [], []
    for row, score, reason in zip(
        rows.tolist(), ranking.scores.tolist(), reasons_of(target, pool, rows), strict=False
    ):
        item, region = target.items[target.image[row]], int(target.region[row])
        ids = [region] if region >= 0 else active_set.pool[item.superpixel]
        entries += [(score, ",".join(item), i) for i in ids]
        reasons += [reason] * len(ids)
    return entries, reasons


def reasons_of(table: RegionTable, pool: np.ndarray, rows: np.ndarray) -> list[Reason]:
    """Return the :class:`Reason` of each of the selected ``rows`` (k,), in labelling order.

    Args:
        table: all target regions, or images.
        pool: (n,) bool, the rows that were selected from.
        rows: (k,) rows of the table.
    """
    if not table.prob.shape[1]:  # without a pass of the network
        return [Reason()] * len(rows)
    classes = table.pseudo_class
    sizes = np.bincount(classes[pool], minlength=table.prob.shape[1])
    chosen = classes[rows]
    ranks = cumcount(chosen) + 1
    return list(map(Reason, chosen.tolist(), ranks.tolist(), sizes[chosen].tolist()))


def unlabelled_rows(table: RegionTable, active_set: ActiveSet) -> np.ndarray:
    """Return (n,) bool: rows of unlabelled regions or, in scan mode, of images that have any."""
    pools = [set(active_set.pool[item.superpixel]) for item in table.items]
    rows = zip(table.image.tolist(), table.region.tolist(), strict=True)
    unlabelled = (region in pools[i] if region >= 0 else bool(pools[i]) for i, region in rows)
    return np.fromiter(unlabelled, bool, len(table))


def read_selection(path: Path, active_set: ActiveSet) -> list[tuple[str, int]]:
    """Return the regions (superpixel path, region id) of a selection file, in labelling order.

    Raises:
        UserError: a region is not in the pool, or occurs twice.
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
        raise UserError(f"{path}: not a selection from this pool; remove it to select again")
    return chosen

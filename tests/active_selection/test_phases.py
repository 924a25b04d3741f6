"""Phases of a selection on made-up regions: planned, ranked, labelled, and taken from files."""

import numpy as np
import pytest

from active_selection.phases import (
    Phase,
    PhaseResult,
    plan_phases,
    run_phases,
    selection_path,
    unlabelled_rows,
)
from active_selection.ranking import largest_first
from active_selection.region_table import areas_only
from active_selection.strategies import STRATEGIES, Candidates, Strategy, method_names, needs_of
from dataloader.active_set import ActiveSet
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item
from utils.errors import UserError
from utils.safe_pickle import load_pickle, save_pickle
from utils.stopping import STOP, Stopped

AREAS = {"/d/s0": {0: 10, 2: 30}, "/d/s1": {1: 20, 5: 40}}


@pytest.fixture()
def domain():
    """Two images of two regions each."""
    items = [Item(f"/d/i{n}", f"/d/l{n}", f"/d/s{n}") for n in range(2)]
    return Domain(load_dataset("cityscapes"), "/d", items, AREAS)


@pytest.fixture()
def active_set(domain):
    return ActiveSet([], domain.items, domain.regions)


@pytest.fixture()
def largest(monkeypatch):
    """A strategy of its own: the largest regions first."""
    rank = Strategy(lambda c, pool, budget: largest_first(c.target.area, pool), frozenset())
    monkeypatch.setitem(STRATEGIES, "largest", rank)
    return "largest"


@pytest.fixture()
def run(domain, active_set, tmp_path):
    """A function that runs phases in a folder of their own."""

    def run(*plan: Phase, candidates: Candidates | None = None) -> list[PhaseResult]:
        return run_phases(plan, candidates, active_set, domain, tmp_path, 7)

    run.candidates = Candidates(areas_only(domain))
    run.path = lambda strategy: selection_path(tmp_path, strategy, 7)
    return run


def test_d2ada_has_two_phases_and_others_one():
    assert plan_phases("RIPU", "softmax_margin", 3, 80, 1, 1) == [("RIPU", 80)]
    assert plan_phases("d2ada", "softmax_margin", 1, 80, 1, 1) == [
        ("density", 80),
        ("softmax_margin", 0),
    ]
    assert plan_phases("d2ada", "softmax_entropy", 3, 80, 1, 1) == [
        ("density", 20),
        ("softmax_entropy", 60),
    ]


def test_a_strategy_is_one_row_of_the_registry(largest, run, active_set):
    assert largest in method_names()
    assert needs_of([largest]) == frozenset()
    (result,) = run(Phase(largest, 60), candidates=run.candidates)
    assert result == PhaseResult(largest, 60, pixels=70, regions=2)
    assert active_set.labelled == {"/d/s1": [5], "/d/s0": [2]}
    assert load_pickle(run.path(largest)) == [
        (40.0, "/d/i1,/d/l1,/d/s1", 5),
        (30.0, "/d/i0,/d/l0,/d/s0", 2),
    ]


def test_a_phase_takes_from_what_those_before_it_have_left(largest, run, active_set):
    results = run(Phase(largest, 40), Phase("random", 1000), candidates=run.candidates)
    assert [(result.pixels, result.regions) for result in results] == [(40, 1), (60, 3)]
    assert not active_set.pool_items


def test_a_phase_without_budget_takes_nothing_and_says_so(largest, run, active_set):
    (result,) = run(Phase(largest, 0))
    assert (result.pixels, result.regions) == (0, 0)
    assert load_pickle(run.path(largest)) == []
    assert not active_set.labelled


def test_whole_images_are_labelled_as_far_as_they_are_not(largest, run, active_set):
    active_set.label([("/d/s1", 5)])
    pool = unlabelled_rows(run.candidates.target, active_set)
    assert pool.tolist() == [True, True, True, False]
    (result,) = run(Phase(largest, 30), candidates=run.candidates.per_image(pool))
    assert (result.pixels, result.regions) == (40, 2)
    (result,) = run(Phase("random", 1), candidates=run.candidates.per_image(pool))
    assert active_set.pool == {"/d/s0": [], "/d/s1": []}
    assert (result.pixels, result.regions) == (20, 1)


def test_a_phase_whose_file_is_there_needs_no_candidates(largest, run, active_set):
    save_pickle(run.path(largest), [(0.5, "/d/i0,/d/l0,/d/s0", 2)])
    (result,) = run(Phase(largest, 9))
    assert result == PhaseResult(largest, 9, pixels=30, regions=1)
    assert active_set.labelled == {"/d/s0": [2]}


@pytest.mark.parametrize(
    "content",
    [
        [(0.5, "/d/i0,/d/l0,/d/s9", 2)],  # of another image
        [(0.5, "/d/i0,/d/l0,/d/s0", 1)],  # a region that the image lacks
        [(0.5, "/d/i0,/d/l0,/d/s0", 0)],  # labelled by now
        [(0.5, "/d/i0,/d/l0,/d/s0", 2)] * 2,
        [("/d/i0,/d/l0,/d/s0", 2)],
        {"/d/s0": [2]},
        7,
    ],
)
def test_a_file_of_another_pool_is_refused(largest, run, active_set, content):
    active_set.label([("/d/s0", 0)])
    save_pickle(run.path(largest), content)
    with pytest.raises(UserError, match=r"largest_selection_07\.pkl: not a selection from this"):
        run(Phase(largest, 9))
    assert active_set.labelled == {"/d/s0": [0]}


def test_asked_to_stop_it_ends_after_a_phase_that_a_continuation_finds(
    largest, run, active_set, monkeypatch
):
    monkeypatch.setattr(STOP, "signum", 15)
    with pytest.raises(Stopped):
        run(Phase(largest, 40), Phase("random", 20), candidates=run.candidates)
    assert run.path(largest).is_file()
    assert not run.path("random").exists()
    monkeypatch.setattr(STOP, "signum", None)
    active_set.pool["/d/s1"], active_set.labelled = [1, 5], {}  # as the datalist before has it
    first, second = run(Phase(largest, 40), Phase("random", 20), candidates=run.candidates)
    assert (first.pixels, np.sign(second.pixels)) == (40, 1)

"""Dynamic scheduling, cutting at a budget, and weighted round-robin."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_selection.schedule import (
    budget_pixels,
    budgets,
    cut_at_budget,
    weighted_round_robin,
)
from active_selection.selector import Selector


@pytest.mark.parametrize(("n", "share"), [(1, 1), (2, 1 / 2), (3, 1 / 4), (4, 1 / 8), (5, 1 / 16)])
def test_density_share_halves_each_round(n, share):
    assert budgets(n, 1600, alpha=1.0, beta=1.0) == (1600 * share, 1600 * (1 - share))


@given(
    st.integers(1, 20),
    st.integers(0, 10**9),
    st.floats(0, 10, allow_subnormal=False),
    st.floats(0, 10, allow_subnormal=False),
)
def test_budgets_always_add_up_and_are_never_negative(n, total, alpha, beta):
    by_density, by_uncertainty = budgets(n, total, alpha, beta)
    assert by_density + by_uncertainty == total
    assert by_density >= 0
    assert by_uncertainty >= 0


def test_alpha_and_beta_follow_the_formula():
    assert budgets(1, 1000, alpha=0.5, beta=1.0) == (500, 500)
    assert budgets(3, 1000, alpha=2.0, beta=0.5) == (1000, 0)  # 2 * 2^-1 = 1
    assert budgets(4, 1000, alpha=2.0, beta=1.0) == (250, 750)
    assert budgets(5, 1000, alpha=1.0, beta=0.0) == (1000, 0)


def test_a_ranking_is_cut_where_it_reaches_the_budget():
    area = np.array([10, 20, 30, 40])
    rows = np.array([2, 0, 3, 1])
    assert cut_at_budget(rows, area, 0).tolist() == []
    assert cut_at_budget(rows, area, -5).tolist() == []
    assert cut_at_budget(rows, area, 1).tolist() == [2]
    assert cut_at_budget(rows, area, 30).tolist() == [2]
    assert cut_at_budget(rows, area, 31).tolist() == [2, 0]
    assert cut_at_budget(rows, area, 1000).tolist() == [2, 0, 3, 1]


def brute_force_merge(lists, weights):
    lists = [list(entries) for entries in lists]
    merged = []
    while any(lists):
        for entries, weight in zip(lists, weights, strict=True):
            for _ in range(max(1, int(weight))):
                if entries:
                    merged.append(entries.pop(0))
    return merged


@given(
    st.lists(
        st.tuples(st.lists(st.integers(), max_size=12), st.floats(-5, 5, allow_subnormal=False)),
        max_size=6,
    )
)
def test_round_robin_equals_popping_from_the_front(pairs):
    lists, weights = [p[0] for p in pairs], [p[1] for p in pairs]
    assert weighted_round_robin(lists, weights) == brute_force_merge(lists, weights)


def test_round_robin_ends_with_weights_of_zero_and_below():
    merged = weighted_round_robin([["a", "b", "c"], [1, 2], []], [0, -3, 5])
    assert merged == ["a", 1, "b", 2, "c"]


def test_round_robin_gives_longer_turns_to_heavier_lists():
    assert weighted_round_robin([[1, 2, 3, 4], ["a", "b"]], [3, 1]) == [1, 2, 3, "a", 4, "b"]


def test_budgets_in_images_and_in_per_cent(caplog):
    assert budget_pixels(2.0, pixels=8000, images=40) == 400
    assert budget_pixels("5%", pixels=8000, images=40) == 400
    assert budget_pixels("0.125%", pixels=8000, images=40) == 10
    assert budget_pixels("10%", pixels=8000, images=40) == 800
    assert budget_pixels(0.0, pixels=8000, images=40) == 0
    assert not caplog.text


@pytest.mark.parametrize(
    ("size", "share"),
    [
        (4.1, "10.2"),
        ("11%", "11"),
        (29.0, "72.5"),
        (400.0, "100"),
        (0.01, "0.025"),
        ("0.05%", "0.05"),
    ],
)
def test_a_budget_of_more_than_a_tenth_or_of_hardly_anything_is_warned_of(caplog, size, share):
    """The default, 29 images' worth of pixels, is 1 % of 2975 images only."""
    target = SimpleNamespace(pixels=8000, items=[None] * 40)
    args = SimpleNamespace(active_selection_size=size, init_iteration=2, active_method="random")
    args.uncertainty, args.alpha, args.beta = "", 1.0, 1.0
    selector = SimpleNamespace(args=args, target=target, folder=MagicMock())
    for n in (2, 3):  # once a run
        Selector.plan(selector, n)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"--active_selection_size {size}: a round takes {share} %" in record.getMessage()
    assert "--active_selection_size 1%" in record.getMessage()

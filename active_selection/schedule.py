"""Dynamic scheduling of budgets, cutting of rankings at a budget, weighted round-robin."""

import logging
from collections.abc import Sequence
from itertools import chain

import numpy as np

log = logging.getLogger(__name__)

LARGE_SHARE = 0.1
"""Share of the target's pixels beyond which a round's budget is probably a mistake."""
SMALL_SHARE = 0.001
"""The same for one that is smaller."""


def budget_pixels(size: float | str, pixels: int, images: int, tell: bool = True) -> int:
    """The budget of ``--active_selection_size`` in pixels, with a warning where it is unusual.

    Args:
        size: images' worth of pixels, or a percentage of the target's pixels such as "1%".
        pixels: of all target regions.
        images: of the target.
        tell: whether to warn.
    """
    if isinstance(size, str):
        budget = float(size.removesuffix("%")) / 100 * pixels
    else:
        budget = size * pixels / images
    if tell and (budget > LARGE_SHARE * pixels or 0 < budget < SMALL_SHARE * pixels):
        log.warning(
            "--active_selection_size %s: a round takes %.3g %% of the %d target images; the paper "
            "takes 1 %%, which is --active_selection_size 1%%",
            *(size, min(100.0, 100 * budget / pixels), images),
        )
    return round(budget)


def budgets(n: int, total: int, alpha: float, beta: float) -> tuple[int, int]:
    """Split the budget of a selection between density and uncertainty (dynamic scheduling).

    lambda_n = clip(alpha * 2^(-beta (n - 1)), 0, 1); B_d = lambda_n B and B_u = B - B_d.

    Args:
        n: number of the selection, counted from 1.
        total: B, in pixels.
        alpha: share of density in the first selection.
        beta: decay rate of that share; with 1 it halves from one selection to the next.

    Returns:
        (B_d, B_u) in pixels, which add up to ``total``.
    """
    exponent = min(-beta * (n - 1), 1000.0)  # keeps 2^exponent finite
    share = min(max(alpha * 2.0**exponent, 0.0), 1.0)
    by_density = round(share * total)
    return by_density, total - by_density


def cut_at_budget(rows: np.ndarray, area: np.ndarray, budget: float) -> np.ndarray:
    """Cut a ranking at the first row where the areas taken reach the budget.

    All rows are returned if their areas do not reach it, and none for a budget of 0.

    Args:
        rows: (k,) row numbers in labelling order.
        area: (n,) pixels of every row of the table.
        budget: pixels to select.
    """
    if budget <= 0:
        return rows[:0]
    spent = np.cumsum(area[rows])
    return rows[: int(np.searchsorted(spent, budget)) + 1]


def weighted_round_robin(lists: Sequence[Sequence], weights: Sequence[float]) -> list:
    """Merge lists in turns: ``weights[0]`` entries of the first, ``weights[1]`` of the next, etc.

    Turns repeat until every list is used up; lists that are used up are passed over. Weights are
    rounded down, but count as at least 1.
    """
    entries = list(chain.from_iterable(lists))
    return [entries[i] for i in turn_order(list(map(len, lists)), weights).tolist()]


def turn_order(lengths: Sequence[int], weights: Sequence[float]) -> np.ndarray:
    """The order of :func:`weighted_round_robin`, as (n,) int64 indices into the joined lists.

    An entry's turn is its position in its list divided by the list's weight, so that a stable sort
    of all entries by turn merges them.
    """
    turns = [np.arange(n) // max(1, int(w)) for n, w in zip(lengths, weights, strict=True)]
    turns = np.concatenate([np.empty(0, int), *turns])
    small = np.min_scalar_type(turns.max(initial=0))  # radix sort, O(n), up to 16 bits
    return np.argsort(turns.astype(small), kind="stable")

"""What every strategy returns."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Ranking(NamedTuple):
    """Unlabelled regions in labelling order.

    Attributes:
        rows: (k,) int64 row numbers of the target table.
        scores: (k,) float64, what each was ranked by.
    """

    rows: np.ndarray
    scores: np.ndarray


def largest_first(score: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank the rows in ``pool`` (n,) bool by ``score`` (n,); ties in table order."""
    rows = np.flatnonzero(pool)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return Ranking(rows, score[rows].astype(np.float64))


def cumcount(groups: np.ndarray) -> np.ndarray:
    """(n,) int64: how many entries before each one are of its own group, for groups (n,) int."""
    order = np.argsort(groups, kind="stable")
    in_order = groups[order]
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.searchsorted(in_order, in_order)
    return places


def take_until_budget(
    picks: Iterator[tuple[int, float]], rows: np.ndarray, area: np.ndarray, budget: float
) -> Ranking:
    """Pick one region after another, while there are any, until their areas reach the budget.

    Args:
        picks: (index into ``rows``, score); no more are asked for than are needed.
        rows: (m,) row numbers of the unlabelled regions.
        area: (n,) pixels of every row.
        budget: pixels.
    """
    taken, scores, spent = [], [], 0.0
    while spent < budget and (pick := next(picks, None)):
        taken.append(rows[pick[0]])
        scores.append(pick[1])
        spent += area[taken[-1]]
    return Ranking(np.array(taken, np.int64), np.array(scores))

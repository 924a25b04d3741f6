"""Rankings, which all strategies return, and helpers that make them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Ranking(NamedTuple):
    """Unlabelled regions in labelling order.

    Attributes:
        rows: (k,) int64 row numbers of the target table.
        scores: (k,) float64, the values by which they are ranked.
    """

    rows: np.ndarray
    scores: np.ndarray


def largest_first(score: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank the rows of ``pool`` (n,) bool by descending ``score`` (n,), ties in table order."""
    rows = np.flatnonzero(pool)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return Ranking(rows, score[rows].astype(np.float64))


def cumcount(groups: np.ndarray) -> np.ndarray:
    """Position of each entry within its group, from 0, (n,) int64, for groups (n,) int."""
    order = np.argsort(groups, kind="stable")
    in_order = groups[order]
    position = np.empty(len(groups), np.int64)
    position[order] = np.arange(len(groups)) - np.searchsorted(in_order, in_order)
    return position


def take_until_budget(
    picks: Iterator[tuple[int, float]], rows: np.ndarray, area: np.ndarray, budget: float
) -> Ranking:
    """Take regions one at a time until their areas reach the budget or none is left.

    Args:
        picks: yields (index into ``rows``, score) of the next region; advanced only while budget is
            left.
        rows: (m,) row numbers of the unlabelled regions.
        area: (n,) pixels of every row of the table.
        budget: pixels to select.
    """
    taken, scores, spent = [], [], 0.0
    while spent < budget and (pick := next(picks, None)):
        taken.append(rows[pick[0]])
        scores.append(pick[1])
        spent += area[taken[-1]]
    return Ranking(np.array(taken, np.int64), np.array(scores))

"""What every strategy returns."""

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

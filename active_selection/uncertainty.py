"""Uncertainty selection: regions whose predictions are least certain.

With p_c the probabilities of a pixel's C classes and p1 >= p2 the two largest, the uncertainty of a
region is the mean over its pixels of

- softmax_entropy: -sum_c p_c log2 p_c / C,
- softmax_confidence: -p1,
- softmax_margin: -(p1 - p2),

computed by :func:`active_selection.pooling.pixel_predictions` when the region table is filled.
"""

import numpy as np

from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import UNCERTAINTIES, RegionTable


def rank_by_uncertainty(target: RegionTable, pool: np.ndarray, name: str) -> Ranking:
    """Rank the unlabelled target regions by an uncertainty, most uncertain first.

    Args:
        target: all target regions.
        pool: (n,) bool, True for unlabelled regions.
        name: one of :data:`UNCERTAINTIES`.
    """
    return largest_first(target.uncertainty[:, UNCERTAINTIES.index(name)], pool)

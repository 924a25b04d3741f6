"""Uncertainty selection: regions that the network is least sure of.

With p_c the probabilities of a pixel's C classes and p1, p2 the largest two, a region's score is
the mean over its pixels of

- softmax_entropy: -sum_c p_c log2 p_c / C,
- softmax_confidence: -p1,
- softmax_margin: -(p1 - p2),

measured by :func:`active_selection.pooling.pixel_predictions` as the region table is filled.
"""

import numpy as np

from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import UNCERTAINTIES, RegionTable


def rank_by_uncertainty(target: RegionTable, pool: np.ndarray, name: str) -> Ranking:
    """Rank the unlabelled target regions by one of :data:`UNCERTAINTIES`, largest first."""
    return largest_first(target.uncertainty[:, UNCERTAINTIES.index(name)], pool)

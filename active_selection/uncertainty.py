"""Uncertainty selection: regions that the network is least sure of.

With p the class probabilities of a pixel, p1 and p2 the largest two, a region's score is the mean over
its pixels of

- softmax_entropy: -sum_c p_c ln p_c / ln 19 (see :func:`pooling.pixel_predictions`),
- softmax_confidence: 1 - p1,
- softmax_margin: 1 - (p1 - p2),

measured as the table is filled, so that a selector is a column of it.
"""

import numpy as np

from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import SCORES, RegionTable


def rank_by_uncertainty(target: RegionTable, pool: np.ndarray, name: str) -> Ranking:
    """Rank the unlabelled target regions by ``name``, one of :data:`SCORES`, largest first."""
    return largest_first(target.score[:, SCORES.index(name)], pool)

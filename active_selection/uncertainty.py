"""Uncertainty selection: regions that the network is least sure of (SPEC section 6).

Scores are region means of pixel scores, so a selector is a column of the region table.
"""

import numpy as np

from active_selection.ranking import Ranking, largest_first
from active_selection.region_table import SCORES, RegionTable


def rank_by_uncertainty(target: RegionTable, pool: np.ndarray, name: str) -> Ranking:
    """Rank the unlabelled target regions by ``name``, one of :data:`SCORES`, largest first."""
    return largest_first(target.score[:, SCORES.index(name)], pool)

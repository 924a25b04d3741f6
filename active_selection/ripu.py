"""RIPU (Xie et al. 2022), on superpixels: regions of many predicted classes and much doubt."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_by_ripu(predicted: np.ndarray, entropy: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank by region impurity times prediction uncertainty, -sum_c q_c log q_c * H.

    Args:
        predicted: (n, C) q, the share of a region's pixels whose most probable class is c.
        entropy: (n,) H, mean prediction entropy of a region's pixels, in any unit.
        pool: (n,) bool, the unlabelled regions.
    """
    logs = np.log(predicted, out=np.zeros(predicted.shape), where=predicted > 0)
    impurity = -(predicted * logs).sum(1)
    return largest_first(impurity * entropy, pool)

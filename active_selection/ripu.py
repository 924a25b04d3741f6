"""RIPU (Xie et al. 2022) on superpixels: region impurity times prediction uncertainty."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_by_ripu(predicted_share: np.ndarray, entropy: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank by impurity times uncertainty, (-sum_c q_c log q_c) * H.

    Args:
        predicted_share: (n, C) q, share of a region's pixels for which class c is predicted.
        entropy: (n,) H, mean prediction entropy of a region's pixels, in any unit.
        pool: (n,) bool, True for unlabelled regions.
    """
    q = predicted_share
    logs = np.log(q, out=np.zeros(q.shape), where=q > 0)  # 0 log 0 = 0
    impurity = -(q * logs).sum(1)
    return largest_first(impurity * entropy, pool)

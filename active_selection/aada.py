"""AADA (Su et al. 2020): regions that look like the target domain and have uncertain labels."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_by_aada(target_prob: np.ndarray, entropy: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank by importance weight times entropy, D(z) / (1 - D(z)) * H(p).

    Args:
        target_prob: (n,) D, the discriminator's probability that a region is of the target.
        entropy: (n,) H, mean prediction entropy.
        pool: (n,) bool, True for unlabelled regions.
    """
    eps = np.finfo(np.float64).eps  # keeps the weight finite where D = 1
    target_prob = target_prob.astype(np.float64)
    weight = target_prob / np.maximum(1 - target_prob, eps)
    return largest_first(weight * entropy, pool)

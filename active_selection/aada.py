"""AADA (Su et al. 2020): regions that look like the target domain and have uncertain labels."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_by_aada(domain: np.ndarray, entropy: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank by importance weight times entropy, D(z) / (1 - D(z)) * H(p).

    Args:
        domain: (n,) D, the discriminator's probability that a region is from the target domain.
        entropy: (n,) H, mean prediction entropy.
        pool: (n,) bool, True for unlabelled regions.
    """
    eps = np.finfo(np.float64).eps  # keeps the weight finite where D = 1
    domain = domain.astype(np.float64)
    return largest_first(domain / np.maximum(1 - domain, eps) * entropy, pool)

"""AADA (Su et al. 2020): regions that look like the target and that the network is unsure of."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_by_aada(domain: np.ndarray, entropy: np.ndarray, pool: np.ndarray) -> Ranking:
    """Rank by importance weight times entropy, D(z) / (1 - D(z)) * H(p).

    Args:
        domain: (n,) D, the discriminator's probability of *target*.
        entropy: (n,) H, mean prediction entropy.
        pool: (n,) bool, the unlabelled regions.
    """
    certain = np.finfo(np.float64).eps  # D of exactly 1 is still worth a finite number
    domain = domain.astype(np.float64)
    return largest_first(domain / np.maximum(1 - domain, certain) * entropy, pool)

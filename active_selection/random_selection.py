"""Random selection, which every strategy has to beat."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_randomly(pool: np.ndarray, seed: int = 0) -> Ranking:
    """Rank by numbers u_i drawn from U(0, 1): every order is as likely as any other.

    Args:
        pool: (n,) bool, the unlabelled regions; labelled ones draw a number as well, so that a
            region's does not change with the others' fate.
        seed: of the draw.
    """
    return largest_first(np.random.default_rng(seed).random(len(pool)), pool)

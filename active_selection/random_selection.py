"""Random selection, the baseline that every strategy has to beat."""

import numpy as np

from active_selection.ranking import Ranking, largest_first


def rank_randomly(pool: np.ndarray, seed: int = 0) -> Ranking:
    """Rank by independent numbers u_i ~ U(0, 1), which makes every order equally likely.

    Args:
        pool: (n,) bool, True for unlabelled regions. Labelled regions draw a number as well, so
            that a region's number does not depend on which others are labelled.
        seed: seed of the numbers.
    """
    return largest_first(np.random.default_rng(seed).random(len(pool)), pool)

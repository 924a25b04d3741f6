"""Maps whose values were mixed at borders: resized or turned as photos are, or once a JPEG file.

Between a road of 7 and a car of 26, interpolation makes 12 and 19, which are other classes.
"""

from collections.abc import Iterable

import numpy as np

SHARE = 0.15  # of all steps from pixel to pixel; honest labels have 0.04 at most, even small ones
ONE_SIDED = 0.38  # of single pixels between two values; noise has a third, as any order is alike
FEWEST = 20  # different triples of values; a border class of one pixel's width gives few


def has_mixed_values(maps: Iterable[np.ndarray]) -> bool:
    """Whether many borders of some maps have a pixel of a value between those on both sides.

    Args:
        maps: (H, W) of an unsigned type.
    """
    steps = single = between = 0
    triples: set[tuple[int, ...]] = set()
    for values in maps:
        for rows in (values, values.T):
            left, middle, right = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
            up, down = left < middle, left > middle
            step = up | down
            ramp = (up & (middle < right)) | (down & (middle > right))
            steps += np.count_nonzero(step)
            single += np.count_nonzero(step & (middle != right) & (left != right))
            between += np.count_nonzero(ramp)
            if len(triples) < FEWEST:
                found = np.stack([side[ramp] for side in (left, middle, right)], 1)
                triples.update(map(tuple, np.unique(found, axis=0)[:FEWEST].tolist()))
    return between > SHARE * steps and between > ONE_SIDED * single and len(triples) >= FEWEST

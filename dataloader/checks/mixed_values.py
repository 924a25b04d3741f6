"""Maps whose values were mixed at borders: resized or turned as photos are, or once a JPEG file.

Between a road of 7 and a car of 26, interpolation makes 12 and 19, which are other classes.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from dataloader.checks.files import spread
from dataloader.images import stride

LOOKED_AT = 8  # maps
SHARE = 0.15  # of all steps from pixel to pixel; CamVid's labels have 0.04, shrunk ones 0.07
ONE_SIDED = 0.38  # of single pixels between two values; noise has a third, as any order is alike
FEWEST = 20  # different triples of values
FEWEST_SINGLE = 5  # different values between; a border class of one pixel's width is one


def has_mixed_values(
    paths: Sequence[str | Path],
    read: Callable[[str | Path], np.ndarray],
    known: Collection[int],
    one_sided: float = ONE_SIDED,
) -> bool:
    """Whether many borders of some maps have a single pixel of a value that borders do not have.

    That is one between the values on both sides, or one that means nothing.

    Args:
        paths: of the maps, of which a few are looked at.
        read: returns a map, (H, W) uint8 or uint16.
        known: values that mean something.
        one_sided: share of such pixels among those that differ from both sides, beyond chance.
    """
    is_known = np.isin(np.arange(1 << 16), list(known))
    steps = single = mixed = 0
    triples: set[tuple[int, ...]] = set()
    middles: set[int] = set()
    for values in map(read, spread(paths, LOOKED_AT)):
        apart = stride(values)
        for rows in (values[::apart], values.T[::apart]):
            left, middle, right = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
            up, down = left < middle, left > middle
            step = up | down
            alone = step & (middle != right) & (left != right)
            odd = (up & (middle < right)) | (down & (middle > right))
            odd[alone] |= ~is_known[middle[alone]]
            steps += np.count_nonzero(step)
            single += np.count_nonzero(alone)
            mixed += np.count_nonzero(odd)
            if len(triples) < FEWEST or len(middles) < FEWEST_SINGLE:
                middles.update(np.unique(middle[odd])[:FEWEST_SINGLE].tolist())
                found = np.stack([side[odd] for side in (left, middle, right)], 1)
                triples.update(map(tuple, np.unique(found, axis=0)[:FEWEST].tolist()))
    various = len(triples) >= FEWEST and len(middles) >= FEWEST_SINGLE
    return bool(various and mixed > max(SHARE * steps, one_sided * single))

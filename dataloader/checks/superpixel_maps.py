"""Superpixel maps of other programs that cannot be regions, though they can be read.

Pictures of boundaries divide each image into lines and the rest; interpolation between region 5 and
region 13 makes pixels of region 9, which lies elsewhere.
"""

import logging

import cv2
import numpy as np

from dataloader.checks.files import spread
from dataloader.checks.mixed_values import has_mixed_values
from dataloader.images import count_values, read_superpixels
from dataloader.provenance import is_made_here
from dataloader.regions import Regions
from utils.errors import shown

log = logging.getLogger(__name__)

LOOKED_AT = 8  # maps
WIDTH = 5  # pixels; drawn boundaries are narrower
LEFT = 0.05  # of the pixels of lines, at most, are in squares of that width
ONE_SIDED = 0.6  # of single pixels between two ids; sound maps have 0.52 at most, mixed ones 0.69


def warn_of_other_maps(regions: Regions) -> None:
    """Warn of maps that were not made here, and are of one region, boundaries or interpolated.

    Args:
        regions: of all maps of a domain.
    """
    looked_at = [path for path in spread(list(regions), LOOKED_AT) if not is_made_here(path)]
    if not looked_at:
        return
    remedy = "remove them and run superpixel_gen.py"
    lines = [path for path in looked_at if len(regions[path]) <= 2 and _are_lines(path)]
    if all(len(areas) == 1 for areas in regions.values()):  # as an 8-bit reader makes of others
        log.warning(
            "%s and %d other superpixel maps have one region each: whole images are chosen; "
            "%s if they should be divided",
            *(shown(looked_at[0]), len(regions) - 1, remedy),
        )
    elif 2 * len(lines) > len(looked_at):
        log.warning(
            "%s: has two values, one of them on narrow lines, as boundaries are drawn (%d of %d "
            "superpixel maps looked at are such); save the ids of the regions, or %s",
            *(shown(lines[0]), len(lines), len(looked_at), remedy),
        )
    elif has_mixed_values(looked_at, read_superpixels, range(256), ONE_SIDED):
        log.warning(
            "%s and %d other superpixel maps: at many borders lies a pixel of an id between those "
            "of both sides, as where maps were resized or turned with interpolation, and so of a "
            "region elsewhere; make them anew by nearest neighbour, or %s",
            *(shown(looked_at[0]), len(looked_at) - 1, remedy),
        )


def _are_lines(path: str) -> bool:
    """Whether a map has two values, the rarer one on narrow lines through the whole image."""
    ids = read_superpixels(path)
    areas = count_values(ids, 256)
    if np.count_nonzero(areas) != 2:
        return False
    rarer = ids == np.where(areas, areas, ids.size).argmin()
    for axis in (0, 1):
        places = np.flatnonzero(rarer.any(axis))
        if 2 * (places[-1] - places[0]) < rarer.shape[1 - axis]:
            return False
    inside = cv2.erode(rarer.astype(np.uint8), np.ones((WIDTH, WIDTH), np.uint8))
    return np.count_nonzero(inside) < LEFT * np.count_nonzero(rarer)

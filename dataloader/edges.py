"""Edge maps: where they are stored, and the share of edge pixels in each region."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataloader.ignore_mask import Masks, mask_of, read_regions
from dataloader.images import READ_ERRORS, read_edges, read_head, reason
from dataloader.item import Item
from dataloader.provenance import check_provenance
from dataloader.regions import Regions, region_areas
from utils.errors import UserError
from utils.files import map_files

log = logging.getLogger(__name__)

MANY = 0.5  # of all pixels; Canny's are a few in a hundred


def edge_path(item: Item, root: str | Path) -> Path:
    """Return the path of an edge map: that of the superpixels, with ``edge`` for ``superpixel``."""
    root = os.path.abspath(root)
    relative = Path(os.path.relpath(item.superpixel, root))
    folders = [part for part in relative.parts[:-1] if part not in ("superpixel", os.pardir)]
    name = relative.name.replace("superpixel", "edge")
    return Path(root, "edge").joinpath(*folders, name)


def check_edges(items: Sequence[Item], root: str | Path) -> None:
    """Check that all edge maps exist, are as large as their superpixel maps, and are up to date.

    Raises:
        UserError: an edge map fails the check; the message names the first.
    """

    def check(item: Item) -> None:
        path = edge_path(item, root)
        try:
            same = read_head(path, "map") == read_head(item.superpixel, "map")
            problem = "" if same else "not of its image's size"
        except READ_ERRORS as error:
            problem = reason(error)
        if problem:
            raise UserError(f"{path}: edge map for ReDAL: {problem}; run edge_detection.py")
        check_provenance(path, item.image, script="edge_detection.py")

    map_files(check, items)


def region_edges(
    items: Sequence[Item], root: str | Path, regions: Regions, masks: Masks | None = None
) -> np.ndarray:
    """Return (n,) float32: share of edge pixels of every region, ordered by item and region id.

    The maps must have passed :func:`check_edges`; ``regions`` are those that ``masks`` leave. Maps
    that are edges for the most part, as soft or inverted ones of other programs, are warned of.

    Raises:
        UserError: an edge map cannot be read.
    """

    def edge_shares(item: Item) -> np.ndarray:
        edges = read_edges(edge_path(item, root))
        ids = read_regions(item.superpixel, mask_of(item, masks))
        counts, areas = region_areas(ids[edges > 0]), regions[item.superpixel]
        return np.array([counts.get(region, 0) / area for region, area in areas.items()])

    shares = np.concatenate(map_files(edge_shares, items))
    areas = [area for item in items for area in regions[item.superpixel].values()]
    if areas and (mean := np.average(shares, weights=areas)) > MANY:
        log.warning(
            "%s: %d %% of the pixels are edges, as every value but 0 counts; are the maps soft or "
            "inverted? make them black where there is no edge, or remove them and run "
            "edge_detection.py",
            *(Path(root, "edge"), round(100 * mean)),
        )
    return shares.astype(np.float32)

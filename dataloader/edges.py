"""Edge maps: where they lie, and the share of each region's pixels that are edges."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dataloader.datalist import Item
from dataloader.images import read_edges, read_superpixels
from dataloader.regions import Regions
from utils.errors import UserError


def edge_path(item: Item, root: str | Path) -> Path:
    """An image's edge map: where its superpixel map is, with ``edge`` for ``superpixel``."""
    relative = Path(os.path.relpath(item.superpixel, os.path.abspath(root)))
    folders = [part for part in relative.parts[:-1] if part not in ("superpixel", os.pardir)]
    return (
        Path(root)
        .absolute()
        .joinpath("edge", *folders, relative.name.replace("superpixel", "edge"))
    )


def check_edges(items: Sequence[Item], root: str | Path) -> None:
    """Make sure that all edge maps are there.

    Raises:
        UserError: names the first that is not.
    """
    for path in (edge_path(item, root) for item in items):
        if not path.is_file():
            raise UserError(f"{path}: no such edge map, which ReDAL needs; run edge_detection.py")


def region_edges(items: Sequence[Item], root: str | Path, regions: Regions) -> np.ndarray:
    """(n,) float32: share of edge pixels of every region, in the items' and their ids' order.

    Raises:
        UserError: an edge map is missing, or is of another size than the superpixel map.
    """

    def measure(item: Item) -> np.ndarray:
        path = edge_path(item, root)
        edges, superpixels = read_edges(path), read_superpixels(item.superpixel)
        if edges.shape != superpixels.shape:
            raise UserError(f"{path}: not of its image's size; run edge_detection.py again")
        counts = np.bincount(superpixels[edges > 0], minlength=256)
        areas = regions[item.superpixel]
        return counts[list(areas)] / list(areas.values())

    with ThreadPoolExecutor(8) as pool:
        return np.concatenate(list(pool.map(measure, items))).astype(np.float32)

"""The region dictionary: the region ids that each superpixel map contains, and their areas.

``superpixel/<split>.dict`` is JSON in the published format: superpixel path (relative to the data
root) -> list of region ids. ``superpixel/<split>.areas`` maps the same paths to the areas, in
pixels of the superpixel map, in the order of those ids.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.datalist import Item
from dataloader.ignore_mask import NO_REGION, Masks, mask_of, read_regions
from dataloader.item import shown
from dataloader.provenance import check_provenance
from utils.errors import UserError
from utils.files import read_json, write_json

MAX_AREA = 2**40  # pixels; sums of such areas stay within int64

Regions = dict[str, dict[int, int]]
"""Absolute superpixel path -> {region id: area in pixels}."""


def regions_of_maps(paths: Iterable[str | Path]) -> Regions:
    """Read superpixel maps, and return their region ids and areas."""
    paths = [str(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(paths, pool.map(_regions_of_map, paths), strict=True))


def _regions_of_map(path: str, mask: str | None = None) -> dict[int, int]:
    areas = region_areas(read_regions(path, mask))
    if len(areas) == 256:
        raise UserError(f"{path}: 256 regions; at most 255 are allowed, run superpixel_gen.py")
    return areas


def region_areas(superpixels: np.ndarray) -> dict[int, int]:
    """Return {region id: area in pixels} of a map (H, W), in ascending order of ids.

    The map is one of :func:`dataloader.ignore_mask.read_regions`.
    """
    ids = superpixels.ravel()
    if superpixels.dtype != np.uint8:
        ids = ids[ids != NO_REGION]
    areas = np.bincount(ids, minlength=256)
    return {int(region): int(areas[region]) for region in np.flatnonzero(areas)}


def check_areas(path: str, found: dict[int, int], known: dict[int, int]) -> None:
    """Raise a :class:`UserError` if a map's regions differ from those of the dictionary."""
    if found != known:
        raise UserError(
            f"{path}: its regions are not those of the region dictionary; "
            "run superpixel_gen.py again"
        )


def check_maps(items: Sequence[Item], regions: Regions, masks: Masks | None = None) -> None:
    """Check every superpixel map and its image, for a selection without a pass over the images.

    Args:
        items: the images.
        regions: what :func:`load_regions` returned of them.
        masks: of pixels that are never asked for.

    Raises:
        UserError: a map differs from ``regions``, or its image has been replaced.
    """

    def check(item: Item) -> None:
        check_provenance(item.superpixel, item.image)
        found = _regions_of_map(item.superpixel, mask_of(item, masks))
        check_areas(item.superpixel, found, regions[item.superpixel])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, items))


def dictionary_path(root: str | Path, split: str) -> Path:
    """Return the path of a split's region dictionary below the data root."""
    return Path(root) / "superpixel" / f"{split}.dict"


def save_regions(root: str | Path, split: str, regions: Regions) -> None:
    """Write ``superpixel/<split>.dict`` and ``.areas`` with paths relative to ``root``.

    Entries that the files already hold for other images are kept.
    """
    root = Path(root).absolute()
    with suppress(UserError):  # a damaged dictionary is replaced
        regions = _read_dictionary(root, split) | regions
    relative = {os.path.relpath(path, root): ids for path, ids in regions.items()}
    path = dictionary_path(root, split)
    write_json(path.with_suffix(".areas"), {k: list(v.values()) for k, v in relative.items()})
    write_json(path, {k: list(v) for k, v in relative.items()})


def load_regions(
    items: Sequence[Item], root: str | Path, split: str, masks: Masks | None = None
) -> Regions:
    """Return region ids and areas of every item's superpixel map, in the items' order.

    They come from the region dictionary or, for maps that it lacks, from the maps themselves; with
    ``masks``, which the dictionary does not know of, always from the maps.
    """
    paths = [item.superpixel for item in items]
    if masks:
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(_regions_of_map, paths, [masks[item.image] for item in items])
            return dict(zip(paths, found, strict=True))
    known = _read_dictionary(Path(root).absolute(), split)
    missing = regions_of_maps(path for path in paths if path not in known)
    return {path: known[path] if path in known else missing[path] for path in paths}


def _read_dictionary(root: Path, split: str) -> Regions:
    path = dictionary_path(root, split)
    areas_path = path.with_suffix(".areas")
    if not (path.is_file() and areas_path.is_file()):
        return {}
    remedy = "run superpixel_gen.py again"
    ids, areas = read_json(path, remedy), read_json(areas_path, remedy)
    for file, value in ((path, ids), (areas_path, areas)):
        if not isinstance(value, dict):
            raise UserError(f"{file}: does not map superpixel maps to lists; {remedy}")
    regions = {}
    for name, listed in ids.items():
        if not _are_numbers(listed, 0, 255) or len(set(listed)) < len(listed) or not listed:
            raise UserError(
                f"{path}: the regions of {shown(name)} are no different ids of 0 to 255; {remedy}"
            )
        if not _are_numbers(areas.get(name), 1, MAX_AREA) or len(areas[name]) != len(listed):
            raise UserError(
                f"{areas_path}: the areas of {shown(name)} are no {len(listed)} whole numbers of 1 "
                f"and more, as {path.name} has regions; {remedy}"
            )
        regions[os.path.abspath(root / name)] = dict(zip(listed, areas[name], strict=True))
    if len(regions) < len(ids):
        raise UserError(f"{path}: names a superpixel map in two ways; {remedy}")
    return regions


def _are_numbers(value: Any, low: int, high: int) -> bool:
    """Whether a value of a JSON file is a list of whole numbers of that range."""
    return isinstance(value, list) and all(type(v) is int and low <= v <= high for v in value)

"""The region dictionary: the region ids that each superpixel map contains, and their areas.

``superpixel/<split>.dict`` is JSON in the published format: superpixel path (relative to the data
root) -> list of region ids. ``superpixel/<split>.areas`` maps the same paths to the areas, in
pixels of the superpixel map, in the order of those ids.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.ignore_mask import Masks, mask_of, read_regions
from dataloader.images import count_values
from dataloader.item import Item
from dataloader.provenance import check_provenance
from utils.errors import UserError, shown
from utils.files import locked_file, map_files, read_json, remove_temporaries, write_json

log = logging.getLogger(__name__)

MAX_AREA = 2**40  # pixels; sums of such areas stay within int64

Regions = dict[str, dict[int, int]]
"""Absolute superpixel path -> {region id: area in pixels}."""


def regions_of_maps(paths: Iterable[str | Path]) -> Regions:
    """Read superpixel maps, and return their region ids and areas."""
    paths = [str(path) for path in paths]
    return dict(zip(paths, map_files(_regions_of_map, paths), strict=True))


def _regions_of_map(path: str, mask: str | None = None) -> dict[int, int]:
    areas = region_areas(read_regions(path, mask))
    if len(areas) == 256:
        raise UserError(f"{path}: 256 regions; at most 255 are allowed, run superpixel_gen.py")
    return areas


def region_areas(superpixels: np.ndarray) -> dict[int, int]:
    """Return {region id: area in pixels} of a map (H, W), in ascending order of ids.

    The map is one of :func:`dataloader.ignore_mask.read_regions`.
    """
    if superpixels.dtype != np.uint8:
        superpixels = superpixels.view(np.uint16)  # NO_REGION, which is -1, is the last value then
    areas = count_values(superpixels, np.iinfo(superpixels.dtype).max + 1)[:256]
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

    map_files(check, items)


def dictionary_path(root: str | Path, split: str) -> Path:
    """Return the path of a split's region dictionary below the data root."""
    return Path(root) / "superpixel" / f"{split}.dict"


def save_regions(root: str | Path, split: str, regions: Regions, needed: Iterable[str] = ()) -> int:
    """Write ``superpixel/<split>.dict`` and ``.areas`` with paths relative to ``root``.

    Entries that the files already hold for other images are kept. Runs that end at the same moment
    do so one after another, where the file system can lock.

    Args:
        root: root folder of the dataset.
        split: of the dataset.
        regions: the entries.
        needed: superpixel maps without which nothing is written.

    Returns:
        How many of ``needed`` have no entry; none if the files have been written.

    Raises:
        UserError: a file cannot be written.
    """
    root = Path(root).absolute()
    path = dictionary_path(root, split)
    with locked_file(path.with_name(f".{path.stem}.lock")) as is_locked:
        if not is_locked:
            log.warning(
                "%s: this file system cannot lock; let runs with other lists end one after another",
                path.parent,
            )
        regions = _read_dictionary(root, split, keep_sound=True) | regions
        lacking = sum(name not in regions for name in needed)
        if not lacking:
            remove_temporaries(path.parent, [path.name, path.with_suffix(".areas").name])
            ids, areas = _as_json(root, regions)
            write_json(path.with_suffix(".areas"), areas)
            write_json(path, ids)
    return lacking


def write_regions_file(path: Path, root: str | Path, regions: Regions) -> None:
    """Write entries of the dictionary to a file of their own, ids and areas."""
    ids, areas = _as_json(Path(root).absolute(), regions)
    write_json(path, {"ids": ids, "areas": areas})


def read_regions_file(path: Path, root: str | Path, remedy: str) -> Regions:
    """Read what :func:`write_regions_file` wrote; ``remedy`` ends the line of an error.

    Raises:
        UserError: the file cannot be read, or is no such file.
    """
    value = read_json(path, remedy)
    if not isinstance(value, dict) or set(value) != {"ids", "areas"}:
        raise UserError(f"{path}: does not hold ids and areas of regions; {remedy}")
    return _from_json(Path(root).absolute(), (path, value["ids"]), (path, value["areas"]), remedy)


def load_regions(
    items: Sequence[Item], root: str | Path, split: str, masks: Masks | None = None
) -> Regions:
    """Return region ids and areas of every item's superpixel map, in the items' order.

    They come from the region dictionary or, for maps that it lacks, from the maps themselves; with
    ``masks``, which the dictionary does not know of, always from the maps.
    """
    paths = [item.superpixel for item in items]
    if masks:
        found = map_files(_regions_of_map, paths, [masks[item.image] for item in items])
        return dict(zip(paths, found, strict=True))
    known = _read_dictionary(Path(root).absolute(), split)
    missing = regions_of_maps(path for path in paths if path not in known)
    return {path: known[path] if path in known else missing[path] for path in paths}


def _as_json(root: Path, regions: Regions) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Ids and areas of the regions, by paths relative to ``root``."""
    relative = {os.path.relpath(path, root): ids for path, ids in regions.items()}
    return {k: list(v) for k, v in relative.items()}, {
        k: list(v.values()) for k, v in relative.items()
    }


def _read_dictionary(root: Path, split: str, keep_sound: bool = False) -> Regions:
    """Read the dictionary; of a damaged one ``keep_sound`` returns what can be read of it."""
    path = dictionary_path(root, split)
    areas_path = path.with_suffix(".areas")
    if not (path.is_file() and areas_path.is_file()):
        return {}
    remedy = "run superpixel_gen.py again"
    try:
        ids, areas = ((file, read_json(file, remedy)) for file in (path, areas_path))
        return _from_json(root, ids, areas, remedy, keep_sound)
    except UserError:
        if keep_sound:
            return {}
        raise


def _from_json(
    root: Path,
    ids: tuple[Path, Any],
    areas: tuple[Path, Any],
    remedy: str,
    keep_sound: bool = False,
) -> Regions:
    """Regions from their ids and areas, each with its file, as :func:`_as_json` gives them."""
    for file, value in (ids, areas):
        if not isinstance(value, dict):
            raise UserError(f"{file}: does not map superpixel maps to lists; {remedy}")
    regions = {}
    for name, listed in ids[1].items():
        problem = _problem(name, ids[0], listed, areas[0], areas[1].get(name))
        if not problem:
            regions[os.path.abspath(root / name)] = dict(zip(listed, areas[1][name], strict=True))
        elif not keep_sound:
            raise UserError(f"{problem}; {remedy}")
    if len(regions) < len(ids[1]) and not keep_sound:
        raise UserError(f"{ids[0]}: names a superpixel map in two ways; {remedy}")
    return regions


def _problem(name: str, path: Path, ids: Any, areas_path: Path, areas: Any) -> str:
    """What is wrong with an entry; empty if nothing is."""
    if not _are_numbers(ids, 0, 255) or len(set(ids)) < len(ids) or not ids:
        return f"{path}: the regions of {shown(name)} are no different ids of 0 to 255"
    if not _are_numbers(areas, 1, MAX_AREA) or len(areas) != len(ids):
        return (
            f"{areas_path}: the areas of {shown(name)} are no {len(ids)} whole numbers of 1 and "
            f"more, as {path.name} has regions"
        )
    return ""


def _are_numbers(value: Any, low: int, high: int) -> bool:
    """Whether a value of a JSON file is a list of whole numbers of that range."""
    return isinstance(value, list) and all(type(v) is int and low <= v <= high for v in value)

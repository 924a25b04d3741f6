"""What is done with the ranked regions."""

import itertools
import os
from pathlib import Path

import numpy as np
from PIL import Image

from active_selection.density import take_turns
from benchmarks.inputs import CITY, CLASSES, street
from benchmarks.stage import Work, stage
from dataloader.active_set import ActiveSet
from dataloader.item import Item
from dataloader.regions import Regions, load_regions


def reference_round_robin(lists: list[list[int]], weights: list[int]) -> list[int]:
    """Take turns by popping from the front of each list."""
    lists, merged = [list(entries) for entries in lists], []
    while any(lists):
        for entries, weight in zip(lists, weights, strict=True):
            for _ in range(min(weight, len(entries))):
                merged.append(entries.pop(0))
    return merged


def same_order(ours: np.ndarray, reference: list[int]) -> str:
    """Check that an array and a list hold the same, in the same order."""
    assert ours.tolist() == reference
    return "equal"


@stage(target_ratio=20, check=same_order)
def round_robin() -> tuple[Work, Work]:
    """Merge the ranked regions of 19 classes, 10,000 each, by weighted round robin."""
    rng = np.random.default_rng(0)
    arrays = [rng.permutation(10_000) for _ in range(CLASSES)]
    lists = [array.tolist() for array in arrays]
    weights = rng.integers(1, 6, CLASSES).tolist()
    return lambda: take_turns(arrays, weights), lambda: reference_round_robin(lists, weights)


def reference_labelling(
    pool: dict[str, list[int]], items: list[Item], chosen: list[tuple[str, int]]
) -> tuple[dict[str, list[int]], int]:
    """Find each region's image, count its pixels in the superpixel map, and label it.

    Returns:
        The labelled regions, which are removed from ``pool``; and their pixels.
    """
    labelled: dict[str, list[int]] = {}
    pixels = 0
    for path, region in chosen:
        item = next(item for item in items if item.superpixel == path)
        pixels += int((np.asarray(Image.open(item.superpixel)) == region).sum())
        pool[path].remove(region)
        labelled.setdefault(path, []).append(region)
    return labelled, pixels


def many_images(count: int, folder: Path) -> tuple[list[Item], Regions]:
    """So many images, whose superpixel maps are links to those of the drawn scenes."""
    (drawn, root), paths = street(), [folder / f"{number:04d}.png" for number in range(count)]
    folder.mkdir(exist_ok=True)
    known, regions = load_regions(drawn, root, "train"), {}
    for path, item in zip(paths, itertools.cycle(drawn)):
        if not path.exists():
            os.link(item.superpixel, path)
        regions[str(path)] = known[item.superpixel]
    return [Item(f"{path}.image", f"{path}.label", str(path)) for path in paths], regions


@stage(target_ratio=100, runs=3)
def expand_labelled_set() -> tuple[Work, Work]:
    """Label 1160 chosen regions of 2975 images."""
    items, areas = many_images(2975, CITY / "many")
    rng = np.random.default_rng(0)
    every = [(path, region) for path, regions in areas.items() for region in regions]
    chosen = [every[i] for i in rng.choice(len(every), 1160, replace=False)]

    def ours() -> tuple[dict, int]:
        active = ActiveSet([], items, areas)
        active.label(chosen)
        return active.labelled, sum(areas[path][region] for path, region in chosen)

    def reference() -> tuple[dict, int]:
        pool = {path: list(regions) for path, regions in areas.items()}
        return reference_labelling(pool, items, chosen)

    return ours, reference

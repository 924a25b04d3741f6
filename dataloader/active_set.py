"""The active set: the only place that knows which regions are labelled and which are in the pool.

A datalist pickle (``datalist_XX.pkl``) is its serialised form, readable with plain ``pickle``.
While people are asked for regions, it has a sixth key, ``trg_asked_suppix``; readers that do not
know it find these regions neither in the pool nor labelled.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dataloader.datalist import check_listed_once
from dataloader.item import ABSENT, Item
from dataloader.relocation import Locator, Moves, moves_of
from utils.errors import UserError, shown
from utils.safe_pickle import load_pickle, save_pickle

log = logging.getLogger(__name__)

LIST_KEYS = ("src_label_im_idx", "trg_label_im_idx", "trg_pool_im_idx")
REGION_KEYS = ("trg_label_suppix", "trg_pool_suppix")
ASKED_KEY = "trg_asked_suppix"


class ActiveSet:
    """Source images, target images, and each target region: in the pool, asked for or labelled.

    Regions that people refused to label are in none of these.

    Args:
        source: labelled source images.
        target: all target images, in datalist order.
        pool: superpixel path -> unlabelled region ids, ascending.
        labelled: superpixel path -> labelled region ids, in labelling order.
        asked: superpixel path -> ids of regions that people were asked for and have not answered.
    """

    def __init__(
        self,
        source: Sequence[Item],
        target: Sequence[Item],
        pool: Mapping[str, Sequence[int]],
        labelled: Mapping[str, Sequence[int]] | None = None,
        asked: Mapping[str, Sequence[int]] | None = None,
    ):
        labelled = labelled or {}
        self.asked = {path: list(ids) for path, ids in (asked or {}).items() if ids}
        self.source = list(source)
        self.target = list(target)
        self.pool = {item.superpixel: list(pool.get(item.superpixel, ())) for item in target}
        self.labelled = {
            item.superpixel: list(labelled[item.superpixel])
            for item in target
            if labelled.get(item.superpixel)
        }

    def drop_unknown(self, regions: Mapping[str, Collection[int]]) -> int:
        """Remove regions that the superpixel maps do not have, and return their number.

        Published region lists name ids that their maps lack.

        Args:
            regions: superpixel path -> the ids in its map.
        """
        dropped = 0
        for listed in (self.pool, self.labelled, self.asked):
            for path, ids in listed.items():
                known = [region for region in ids if region in regions[path]]
                dropped += len(ids) - len(known)
                listed[path] = known
        self.labelled = {path: ids for path, ids in self.labelled.items() if ids}
        return dropped

    def unlisted(self, regions: Mapping[str, Collection[int]]) -> list[tuple[str, int]]:
        """Those regions (superpixel path, region id) that are in none of the sets.

        Args:
            regions: superpixel path -> the ids in its map.
        """
        sets = (self.pool, self.labelled, self.asked)
        return [
            (path, region)
            for path, ids in regions.items()
            for region in sorted(set(ids).difference(*(listed.get(path, ()) for listed in sets)))
        ]

    def label(self, regions: Iterable[tuple[str, int]]) -> None:
        """Move regions (superpixel path, region id) from the pool to the labelled set."""
        for superpixel, region in regions:
            self.pool[superpixel].remove(region)
            self.labelled.setdefault(superpixel, []).append(region)

    def ask(self, regions: Iterable[tuple[str, int]]) -> None:
        """Move regions (superpixel path, region id) from the pool to those asked for."""
        for superpixel, region in regions:
            self.pool[superpixel].remove(region)
            self.asked.setdefault(superpixel, []).append(region)

    def settle(self, fate_of: Callable[[str, int], str]) -> None:
        """Move every region asked for to where its answer puts it.

        Args:
            fate_of: (superpixel path, region id) -> "labelled", "pool" or "dropped" (for good).
        """
        for path, ids in self.asked.items():
            for region in ids:
                fate = fate_of(path, region)
                if fate == "labelled":
                    self.labelled.setdefault(path, []).append(region)
                elif fate == "pool":
                    self.pool[path] = sorted([*self.pool[path], region])
        self.asked = {}

    @property
    def labelled_regions(self) -> set[tuple[str, int]]:
        """(superpixel path, region id) of all labelled regions."""
        return {(path, region) for path, ids in self.labelled.items() for region in ids}

    @property
    def labelled_items(self) -> list[Item]:
        """Target images with at least one labelled region, in datalist order."""
        return [item for item in self.target if item.superpixel in self.labelled]

    @property
    def pool_items(self) -> list[Item]:
        """Target images with a region in the pool or asked for, in datalist order.

        Those without any labelled region are among them, so that an image of which every region
        was skipped, or is masked, is listed still.
        """
        return [
            item
            for item in self.target
            if self.pool[item.superpixel]
            or item.superpixel in self.asked
            or item.superpixel not in self.labelled
        ]

    def save(self, path: str | Path) -> None:
        """Write the datalist pickle.

        Images are written in datalist order, so that equal sets give equal files.
        ``trg_pool_suppix`` names every target image, with an empty list if all its regions are
        labelled.
        """
        save_pickle(
            path,
            {
                "src_label_im_idx": [item.stored() for item in self.source],
                "trg_label_im_idx": [item.stored() for item in self.labelled_items],
                "trg_pool_im_idx": [item.stored() for item in self.pool_items],
                "trg_label_suppix": {
                    item.superpixel: self.labelled[item.superpixel] for item in self.labelled_items
                },
                "trg_pool_suppix": self.pool,
                **({ASKED_KEY: self.asked} if self.asked else {}),
            },
        )

    @classmethod
    def load(
        cls, path: str | Path, src_root: str | Path, trg_root: str | Path, moves: Moves = ()
    ) -> "ActiveSet":
        """Read a datalist pickle of this project or a published one, also from another machine.

        Args:
            path: the file.
            src_root, trg_root: data roots for relative paths.
            moves: pairs given by ``--relocate``; see :class:`dataloader.relocation.Locator`.

        Raises:
            UserError: it is not a datalist, it lists no images or an image twice, or its pool and
                labelled set overlap.
        """
        data = read_datalist_pickle(path)
        source, in_labelled, in_pool = (list(data[key]) for key in LIST_KEYS)
        for domain, listed in (("source", source), ("target", in_pool + in_labelled)):
            if not listed:
                raise UserError(f"{path}: it holds no {domain} images")
        source = _located(source, Locator(src_root, moves_of(moves, "src"), path))
        locate = Locator(trg_root, moves_of(moves, "trg"), path)
        in_pool, in_labelled = (_located(listed, locate) for listed in (in_pool, in_labelled))
        if not all(item.superpixel for item in in_pool + in_labelled):
            raise UserError(f"{path}: a target image has no superpixel path; mend the datalist")
        target = {item.superpixel: item for item in in_pool + in_labelled}
        for items in (source, in_pool, in_labelled, target.values()):
            check_listed_once(path, items)
        pool = _read_regions(path, data, "trg_pool_suppix", locate)
        labelled = _read_regions(path, data, "trg_label_suppix", locate)
        asked = _read_regions(path, data, ASKED_KEY, locate) if ASKED_KEY in data else {}
        states = {"labelled": labelled, "asked for": asked, "in the pool": pool}
        for (one, ids_of), (other, others_of) in combinations(states.items(), 2):
            for superpixel, regions in ids_of.items():
                if set(regions) & set(others_of.get(superpixel, ())):
                    raise UserError(f"{path}: {superpixel} has regions that are {one} and {other}")
        _warn_of_lost_regions(path, {**asked, **labelled}, target)
        order = [name for name in pool if name in target]
        order += [name for name in target if name not in pool]
        return cls(source, [target[name] for name in order], pool, labelled, asked)


def is_region_id(value: Any) -> bool:
    """Return True if a value is a region id, an integer from 0 to 255 (not a bool or float)."""
    return type(value) is int and 0 <= value < 256


def _located(entries: Iterable[Sequence[str]], locate: Callable[[str], str]) -> list[Item]:
    """Return entries of a datalist as items with paths on this machine."""
    return [Item(*("" if name == ABSENT else locate(name) for name in entry)) for entry in entries]


def _read_regions(
    path: str | Path, data: Mapping[str, Any], key: str, locate: Callable[[str], str]
) -> dict[str, list[int]]:
    """Return superpixel path on this machine -> region ids; refuse maps or regions listed twice."""
    regions = {locate(name): list(ids) for name, ids in data[key].items()}
    for name, ids in regions.items():
        if len(set(ids)) < len(ids):
            raise UserError(f"{path}: {key} lists a region of {name} twice")
    if len(regions) < len(data[key]):
        raise UserError(f"{path}: {key} names a superpixel map in two ways")
    return regions


def _warn_of_lost_regions(
    path: str | Path, regions: Mapping[str, Sequence[int]], target: Collection[str]
) -> None:
    """Warn of labelled regions whose superpixel map is that of no listed image."""
    lost = [name for name, ids in regions.items() if ids and name not in target]
    if lost:
        log.warning(
            "%s: labelled regions of %d superpixel maps are left out, as the maps are of no image "
            "in its lists, the first %s; mend the datalist if they are to count",
            *(path, len(lost), shown(lost[0])),
        )


def read_datalist_pickle(path: str | Path) -> dict[str, Any]:
    """What a datalist pickle holds, with its own paths.

    Raises:
        UserError: it is none, or its five published keys do not hold paths and region ids.
    """
    data = load_pickle(path)
    keys = LIST_KEYS + REGION_KEYS
    if not isinstance(data, dict) or not all(key in data for key in keys):
        raise UserError(f"{path}: not a datalist; it must hold {', '.join(keys)}")
    for key in LIST_KEYS:
        entries = data[key]
        if not isinstance(entries, (list, tuple)) or not all(
            isinstance(e, (list, tuple)) and len(e) == 3 and all(isinstance(p, str) for p in e)
            for e in entries
        ):
            raise UserError(f"{path}: {key} is not a list of [image, label, superpixel] paths")
    for key in (*REGION_KEYS, ASKED_KEY):
        regions = data.get(key, {})
        if not isinstance(regions, dict) or not all(
            isinstance(name, str) and isinstance(ids, (list, tuple, set))
            for name, ids in regions.items()
        ):
            raise UserError(f"{path}: {key} does not map superpixel paths to lists of region ids")
        for name, ids in regions.items():
            if wrong := [one for one in ids if not is_region_id(one)]:
                raise UserError(
                    f"{path}: {key}: {shown(repr(wrong[0])[:40])} of {shown(name)} is no region "
                    "id; these are whole numbers (int) from 0 to 255"
                )
    return data

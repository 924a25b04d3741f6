"""Shards: a dataset divided over several runs, whose entries meet in one region dictionary.

Shard I of N takes every N-th image of the list, from the I-th on. When its maps are made it writes
its entries to a file of its own, ``superpixel/<split>.shards/<list>_I_of_N.json``, and reads those
of the others. Only when all images of the list are known, from these files and the dictionary, are
they entered there, and the files removed. A shard lists the others' files after its own is in
place, so that the last one finds them all, also where a file system cannot lock; when two find
them all, both write the same bytes.
"""

import hashlib
import json
import os
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from dataloader.item import Item
from dataloader.regions import (
    Regions,
    dictionary_path,
    read_regions_file,
    save_regions,
    write_regions_file,
)
from utils.errors import UserError
from utils.files import remove_temporaries
from utils.parser import Parser

Entry = TypeVar("Entry")
PATTERN = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


class Shard(NamedTuple):
    """Shard ``index`` of ``count``; the first is 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def images(self) -> slice:
        """Which images of the whole list it takes."""
        return slice(self.index - 1, None, self.count)

    def of(self, items: Sequence[Entry]) -> Sequence[Entry]:
        """Return its share of the items."""
        return items[self.images]


WHOLE = Shard(1, 1)


def shard(text: str) -> Shard:
    """Parse ``I/N`` (an argparse type)."""
    found = PATTERN.fullmatch(text)
    result = Shard(*map(int, found.groups())) if found else Shard(0, 0)
    if not 1 <= result.index <= result.count:
        raise ArgumentTypeError(
            f"{text!r} is not I/N with I from 1 to N, such as 1/4 for the first of four shards"
        )
    return result


def add_shard_argument(parser: Parser) -> None:
    """Add the flag that makes a run one of several."""
    parser.add_argument(
        "--shard",
        type=shard,
        default=WHOLE,
        metavar="I/N",
        help="process shard I of N alone, I from 1 to N, so that N machines share the images",
    )


class Parts:
    """The files of the shards of one list of images, made with the same settings.

    Args:
        root: root folder of the dataset.
        split: of the dataset.
        items: the whole list, absolute paths.
        settings: of the maps; shards with other settings do not meet.
    """

    def __init__(self, root: Path, split: str, items: Sequence[Item], settings: str):
        self.root, self.split = root, split
        self.maps = [item.superpixel for item in items]
        self.folder = dictionary_path(root, split).with_suffix(".shards")
        start = os.path.abspath(root)
        names = [[os.path.relpath(path, start) for path in (i.image, i.superpixel)] for i in items]
        text = json.dumps([settings, names]).encode()
        self.list = hashlib.blake2b(text, digest_size=8).hexdigest()

    def join(self, shard: Shard, regions: Regions) -> int:
        """Enter the regions of a shard's images into the dictionary, if no others are lacking.

        Args:
            shard: whose maps have been made.
            regions: of all its images.

        Returns:
            How many images of the list still lack an entry; none once it is written.

        Raises:
            UserError: a file cannot be read or written.
        """
        if shard != WHOLE:
            path = self.folder / f"{self.list}_{shard.index}_of_{shard.count}.json"
            write_regions_file(path, self.root, regions)
        found = {path: self._read(path) for path in self.folder.glob(f"{self.list}_*.json")}
        known = {name: areas for part in found.values() for name, areas in part.items()} | regions
        listed = {name: known[name] for name in self.maps if name in known}
        lacking = save_regions(self.root, self.split, listed, self.maps)
        if not lacking:
            self._remove(found)
        return lacking

    def others(self) -> int:
        """How many files there are of shards of another list, or with other settings."""
        return sum(not path.name.startswith(self.list) for path in self.folder.glob("*_of_*.json"))

    def _read(self, path: Path) -> Regions:
        try:
            return read_regions_file(path, self.root, "remove it, and run its shard again")
        except UserError as error:
            # A shard that found all entries removes the files after it has written the dictionary.
            if isinstance(error.__cause__, FileNotFoundError):
                return {}
            raise

    def _remove(self, paths: Sequence[Path]) -> None:
        remove_temporaries(self.folder, [path.name for path in paths])
        for path in paths:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # others are at work, or there never were shards
            self.folder.rmdir()

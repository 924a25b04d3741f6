"""One entry of a datalist: the paths of an image, its label and its superpixel map."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError, shown

ABSENT = "-"
"""Written in files in place of a path that an item lacks."""
CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Control characters, which no file name in a datalist may contain."""


class Item(NamedTuple):
    """Paths of one image, its label and its superpixel map; empty for a file that it lacks."""

    image: str
    label: str
    superpixel: str

    def below(self, root: str | Path) -> "Item":
        """Return the item with relative paths made absolute below ``root``."""
        return Item(*(path and os.path.abspath(os.path.join(root, path)) for path in self))

    def stored(self) -> list[str]:
        """Return the paths as they are written in files."""
        return [path or ABSENT for path in self]


def image_key(item: Item, root: str | Path) -> str:
    """Path of an item's image relative to the data root, with "/"."""
    return Path(os.path.relpath(item.image, root)).as_posix()


def check_name(name: str) -> None:
    """Refuse a file name with a line break, tab or another control character.

    Raises:
        UserError: shows the name with the character escaped.
    """
    if CONTROL.search(name):
        raise UserError(f"{shown(name)}: control character in a file name; rename the file")

"""One entry of a list: the paths of an image and of the two maps that belong to it."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError

ABSENT = "-"
"""What stands in files for a label that there is not."""
CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Characters that no file name in a list may hold."""


class Item(NamedTuple):
    """Paths of one image, its label and its superpixel map; empty where it has no such file."""

    image: str
    label: str
    superpixel: str

    def below(self, root: str | Path) -> "Item":
        """The same item with its relative paths put below ``root``, absolute."""
        return Item(*(path and os.path.abspath(os.path.join(root, path)) for path in self))

    def stored(self) -> list[str]:
        """The paths as files hold them."""
        return [path or ABSENT for path in self]


def shown(name: str | Path) -> str:
    """A file name as messages show it: on one line, what cannot be printed escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def check_name(name: str) -> None:
    """Refuse a file name with a line break, tab or another control character.

    Raises:
        UserError: shows the name with the character escaped.
    """
    if CONTROL.search(name):
        raise UserError(f"{shown(name)}: control character in a file name; rename the file")

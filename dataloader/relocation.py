"""Where the files of a datalist are, whose paths may be relative, or those of another machine."""

import logging
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataloader.item import CONTROL, shown
from utils.errors import UserError

log = logging.getLogger(__name__)

Moves = Sequence[tuple[str, str]]
"""Pairs (OLD, NEW): what lies below OLD in a datalist lies below NEW here."""

SAME = "/"
MAX_SEARCHES = 100
"""Files of one folder that are looked for before it is taken to be nowhere."""


class _Rule(NamedTuple):
    """How paths of a datalist are read: what lies below ``old`` lies below ``new`` here.

    ``old`` is empty for relative paths, and both are "/" for absolute ones that stay as they are;
    ``windows`` says that folders are separated by backslashes.
    """

    old: str
    new: str
    windows: bool = False

    def apply(self, path: str) -> str | None:
        """The path here; None if it does not lie below ``old``."""
        return _moved(_with_slashes(path) if self.windows else path, self.old, self.new)


class Locator:
    """Makes the paths of one datalist absolute paths of this machine.

    An absolute path that is here stays. A relative path lies below the data root or, as in files
    of the published release, below the working directory, wherever it is found first. A file that
    is in none of these places, while the end of its path (a folder at least, and the file's name)
    is below the data root, is that one: the longest end counts, and what was before it is taken as
    another machine's root. A path with backslashes that is nowhere is read as one of Windows.

    The first file of a folder that is found decides for its folder. For files that are nowhere
    (superpixel maps that are still to be made) the other folders decide; where they do not, a
    relative path lies below the data root.

    Args:
        root: the data root.
        moves: as ``--relocate`` gives them; they go first.
        source: the datalist, for the log.
    """

    def __init__(self, root: str | Path, moves: Moves, source: str | Path):
        self.root = os.path.abspath(root)
        self.moves = list(moves)
        self.source = source
        self.rules: dict[tuple[str, bool], _Rule] = {}
        self.searches: Counter[tuple[str, bool]] = Counter()

    def __call__(self, path: str) -> str:
        """The absolute path; empty for an empty one.

        Raises:
            UserError: it holds a control character.
        """
        if path != path.strip() and not _exists(os.path.join(self.root, path)):
            path = path.strip()  # blanks that somebody's editor or script left
        if not path:
            return ""
        if CONTROL.search(path):
            raise UserError(
                f"{self.source}: {shown(path)} holds a control character; rename the file"
            )
        if moved := self._moved_by_user(path):
            return moved
        folder = posixpath.dirname(_with_slashes(path)), "\\" in path
        if folder not in self.rules and self.searches[folder] < MAX_SEARCHES:
            self.searches[folder] += 1
            self._learn(folder, path)
        known = [self.rules[folder]] if folder in self.rules else self._by_preference(path)
        located = next(filter(None, (rule.apply(path) for rule in known)), path)
        return os.path.abspath(os.path.join(self.root, located))

    def _moved_by_user(self, path: str) -> str | None:
        """The path after the first of the user's moves that it lies below."""
        for old, new in self.moves:
            literal = _moved(path, old, new)
            slashes = _moved(_with_slashes(path), _with_slashes(old), new)
            if literal or slashes:
                found = literal if literal and (_exists(literal) or not slashes) else slashes
                return os.path.abspath(found)
        return None

    def _learn(self, folder: tuple[str, bool], path: str) -> None:
        """Enter the rule of a folder, if a file of it is found."""
        if rule := self._find(path):
            if rule not in self.rules.values():
                self._tell(rule)
            self.rules[folder] = rule

    def _find(self, path: str) -> _Rule | None:
        """The rule by which a file is found; None if it is nowhere."""
        for windows in (False, True)[: 1 + ("\\" in path)]:
            form = _with_slashes(path) if windows else path
            for old, new in ((SAME, SAME), ("", self.root), ("", str(Path.cwd()))):
                rule = _Rule(old, new, windows)
                if (located := rule.apply(path)) and _exists(located):
                    return rule
            if (old := _old_root(form, self.root)) is not None:
                return _Rule(old, self.root, windows)
        return None

    def _by_preference(self, path: str) -> list[_Rule]:
        """The rules of all folders so far, those that fit a path best first."""
        return sorted(
            dict.fromkeys(self.rules.values()),
            key=lambda rule: (rule.windows != ("\\" in path), -len(rule.old)),
        )

    def _tell(self, rule: _Rule) -> None:
        if rule.old not in ("", SAME):
            log.info("%s: nothing in %s; using %s instead", self.source, shown(rule.old), rule.new)
        elif rule.new not in (self.root, SAME):
            log.info("%s: its paths lie below the working directory", self.source)


def _with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def _moved(path: str, old: str, new: str) -> str | None:
    """``path`` with ``new`` in place of ``old``; None if it does not lie below ``old``."""
    if old == new or not old:
        return os.path.join(new, path) if os.path.isabs(path) == bool(old) else None  # noqa: PTH117
    path, old = posixpath.normpath(path), posixpath.normpath(old)
    below = old.rstrip("/") + "/"
    return os.path.join(new, path[len(below) :]) if path.startswith(below) else None


def _old_root(path: str, root: str) -> str | None:
    """The part of a path whose rest is below ``root``; None if there is no such part."""
    parts = Path(posixpath.normpath(path)).parts
    for start in range(1, len(parts) - 1):
        if parts[start] != ".." and _exists(os.path.join(root, *parts[start:])):
            return str(Path(*parts[:start]))
    return None


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists may raise

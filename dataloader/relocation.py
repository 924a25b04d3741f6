"""Find the files of a datalist, whose paths may be relative or come from another machine."""

import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataloader.item import CONTROL
from utils.errors import UserError, shown
from utils.resume_flags import MovedSince

log = logging.getLogger(__name__)

Moves = Sequence[tuple[str, str] | MovedSince]
"""Pairs (OLD, NEW): folder OLD in a datalist is folder NEW on this machine. What is found so may
have moved since."""

SAME = "/"
MAX_SEARCHES = 100
"""Number of a folder's files to search for before the whole folder counts as missing."""


class _Rule(NamedTuple):
    """A rule for paths of a datalist: folder ``old`` is folder ``new`` on this machine.

    ``old`` is empty for relative paths; both are "/" for absolute paths that stay unchanged.
    ``windows`` is True if backslashes separate folders.
    """

    old: str
    new: str
    windows: bool = False

    def apply(self, path: str) -> str | None:
        """Return the path on this machine; None if it is not below ``old``."""
        return _moved(_with_slashes(path) if self.windows else path, self.old, self.new)


class Locator:
    """Converts the paths of one datalist to absolute paths on this machine.

    An absolute path that exists stays unchanged. A relative path is searched for below the data
    root, then below the working directory (as in files of the published release). If a file is in
    none of these places, the end of its path (at least a folder and the file name) is searched for
    below the data root, the longest end first; the rest is then the root on the other machine.
    A path with backslashes that is not found is read as a Windows path.

    The first file that is found decides for all files of its folder. For files that do not exist
    (superpixel maps that are still to be made) the rules of other folders apply; without such a
    rule, a relative path is below the data root.

    Args:
        root: the data root.
        moves: pairs given by ``--relocate``, which are tried first.
        source: the datalist, for the log.
    """

    def __init__(self, root: str | Path, moves: Moves, source: str | Path):
        self.root = os.path.abspath(root)
        self.moves = [move for move in moves if not isinstance(move, MovedSince)]
        self.since = [(m.old, m.new) for m in moves if isinstance(m, MovedSince)]
        self.source = source
        self.rules: dict[tuple[str, bool], _Rule] = {}
        self.searches: Counter[tuple[str, bool]] = Counter()
        self.located: set[str] = set()  # a file is only one of image, label and superpixel map

    def __call__(self, path: str) -> str:
        """Return the absolute path; empty for an empty path.

        Raises:
            UserError: the path holds a control character.
        """
        if path != path.strip() and not _is_file(os.path.join(self.root, path)):
            path = path.strip()  # spaces that an editor or a script left
        if not path:
            return ""
        if CONTROL.search(path):
            raise UserError(
                f"{self.source}: {shown(path)} holds a control character; rename the file"
            )
        if named := self._moved_by_user(path):
            return renamed(named, self.since)
        folder = posixpath.dirname(_with_slashes(path)), "\\" in path
        if folder not in self.rules and self.searches[folder] < MAX_SEARCHES:
            self.searches[folder] += 1
            self._learn(folder, path)
        known = [self.rules[folder]] if folder in self.rules else self._by_preference(path)
        located = next(filter(None, (rule.apply(path) for rule in known)), path)
        located = renamed(os.path.abspath(os.path.join(self.root, located)), self.since)
        self.located.add(located)
        return located

    def _moved_by_user(self, path: str) -> str | None:
        """Return the path after the first of the user's moves that applies; None if none does."""
        for old, new in self.moves:
            literal = _moved(path, old, new)
            slashes = _moved(_with_slashes(path), _with_slashes(old), new)
            if literal or slashes:
                found = literal if literal and (_is_file(literal) or not slashes) else slashes
                return os.path.abspath(found)
        return None

    def _learn(self, folder: tuple[str, bool], path: str) -> None:
        """Store the rule of a folder, if this file of it is found."""
        if rule := self._find(path):
            if rule not in self.rules.values():
                self._tell(rule)
            self.rules[folder] = rule

    def _find(self, path: str) -> _Rule | None:
        """Return the rule by which a file is found; None if it is not found."""
        for windows in (False, True)[: 1 + ("\\" in path)]:
            form = _with_slashes(path) if windows else path
            for old, new in ((SAME, SAME), ("", self.root), ("", str(Path.cwd()))):
                rule = _Rule(old, new, windows)
                if (located := rule.apply(path)) and _is_file(located):
                    return rule
            if (old := _old_root(form, self.root, self.located)) is not None:
                return _Rule(old, self.root, windows)
        return None

    def _by_preference(self, path: str) -> list[_Rule]:
        """Return the rules of all folders so far, the best match for a path first."""
        return sorted(
            dict.fromkeys(self.rules.values()),
            key=lambda rule: (rule.windows != ("\\" in path), -len(rule.old)),
        )

    def _tell(self, rule: _Rule) -> None:
        if rule.old not in ("", SAME):
            log.info("%s: nothing in %s; using %s instead", self.source, shown(rule.old), rule.new)
        elif rule.new not in (self.root, SAME):
            log.info("%s: its paths lie below the working directory", self.source)


def moves_of(moves: Moves, prefix: str) -> Moves:
    """Return the moves that concern a domain: src, trg or val."""
    return [m for m in moves if not isinstance(m, MovedSince) or m.prefix == prefix]


def renamed(value: Any, moves: Sequence[tuple[str, str]]) -> Any:
    """Return the content of a file with all paths in OLD replaced by those in NEW.

    Paths that lie in NEW already stay.

    Args:
        value: of dicts, lists, tuples and strings, which hold absolute paths, separated by commas
            if they are several; anything else stays.
        moves: pairs (OLD, NEW) of folders.
    """
    if isinstance(value, dict):
        return {renamed(key, moves): renamed(entry, moves) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(renamed(entry, moves) for entry in value)
    return _renamed(value, moves) if moves and isinstance(value, str) else value


def _renamed(text: str, moves: Sequence[tuple[str, str]]) -> str:
    new_of = dict(moves)

    def put(found: re.Match[str]) -> str:
        new = new_of[found[2]]
        return found[0] if text.startswith(f"{new}/", found.start(2)) else f"{found[1]}{new}/"

    olds = "|".join(map(re.escape, sorted(new_of, key=len, reverse=True)))
    return re.sub(rf"(^|,)({olds})/", put, text)


def _with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def _moved(path: str, old: str, new: str) -> str | None:
    """Return ``path`` with ``new`` in place of ``old``; None if it is not below ``old``."""
    if old == new or not old:
        return os.path.join(new, path) if os.path.isabs(path) == bool(old) else None  # noqa: PTH117
    path, old = posixpath.normpath(path), posixpath.normpath(old)
    below = old.rstrip("/") + "/"
    return os.path.join(new, path[len(below) :]) if path.startswith(below) else None


def _old_root(path: str, root: str, taken: Collection[str]) -> str | None:
    """Return the part of a path whose rest exists below ``root``; None if no rest does.

    Files in ``taken`` do not count: where images lie in train and their superpixel maps in
    superpixel/train, the end of a map's path is that of its image.
    """
    parts = Path(posixpath.normpath(path)).parts
    for start in range(1, len(parts) - 1):
        rest = os.path.join(root, *parts[start:])
        if parts[start] != ".." and _is_file(rest) and rest not in taken:
            return str(Path(*parts[:start]))
    return None


def _is_file(path: str) -> bool:
    """Whether there is a file; a folder is not one: a file named "\\" is not the root folder."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file may raise

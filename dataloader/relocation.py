"""Paths of another machine: datalists may hold absolute paths, below a root that is not here."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

Moves = Sequence[tuple[str, str]]
"""Pairs (OLD, NEW): what lies below OLD in a datalist lies below NEW here."""


def locator(
    paths: Iterable[str], root: str | Path, moves: Moves, source: str | Path
) -> Callable[[str], str]:
    """How the paths of a datalist become absolute paths on this machine.

    Relative paths lie below ``root``, and absolute paths stay, but for those below the OLD of a
    move. If an absolute path is not here, but the end of it is below ``root`` (the longest end
    counts), then what was before that end is taken as another machine's root, and moved to this.

    Args:
        paths: examples, one of each kind (image, label, superpixel).
        root: the data root.
        moves: as ``--relocate`` gives them; they go first.
        source: the datalist, for the log.
    """
    moves = list(moves)
    for path in paths:
        if not Path(path).is_absolute() or Path(path).exists() or _moved(path, moves) != path:
            continue
        if old := _old_root(path, root):
            moves.append((old, os.path.abspath(root)))
            log.info("%s: nothing in %s; using %s instead", source, old, root)
    return lambda path: os.path.abspath(os.path.join(root, _moved(path, moves)))


def _moved(path: str, moves: Moves) -> str:
    for old, new in moves:
        if path.startswith(old.rstrip("/") + "/"):
            return os.path.join(new, path[len(old) :].lstrip("/"))
    return path


def _old_root(path: str, root: str | Path) -> str | None:
    """The part of an absolute path whose rest is below ``root``; None if there is no such part."""
    parts = Path(path).parts
    for start in range(1, len(parts)):
        if Path(root, *parts[start:]).exists():
            return str(Path(*parts[:start]))
    return None

"""Datalists: which images a split holds, each with its label and superpixel file.

On disk a datalist is text, one image a line: three paths relative to the data root (image, label,
superpixel), parted by white space. In memory it is a list of :class:`Item` with absolute paths.
"""

import os
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from dataloader.dataset_info import DatasetInfo
from dataloader.relocation import Moves, locator
from utils.errors import UserError
from utils.files import write_text


class Item(NamedTuple):
    """Paths of one image, its label and its superpixel map."""

    image: str
    label: str
    superpixel: str

    def below(self, root: str | Path) -> "Item":
        """The same item with its relative paths put below ``root``, absolute."""
        return Item(*(os.path.abspath(os.path.join(root, path)) for path in self))


def scan(info: DatasetInfo, root: str | Path, split: str, pattern: str = "*") -> list[Item]:
    """The images of ``split`` below ``root`` that have a label, sorted, with relative paths.

    ``pattern`` is a shell glob for the image's path (relative to the root) or file name.
    """
    if split not in info.splits:
        raise UserError(
            f"{info.name} has no {split} split, only {', '.join(info.splits)}; "
            "name another dataset or a datalist"
        )
    root = Path(root)
    head, tail = info.image.format(split=info.splits[split], stem="\0").split("\0")
    folder = root / head
    items = []
    for path in sorted(folder.rglob("*" + tail.rpartition("/")[2])):
        stem = path.relative_to(folder).as_posix().removesuffix(tail)
        item = item_of(info, split, stem)
        matches = fnmatch(item.image, pattern) or fnmatch(path.name, pattern)
        if matches and stem not in info.excluded_stems and (root / item.label).is_file():
            items.append(item)
    return items


def item_of(info: DatasetInfo, split: str, stem: str) -> Item:
    """The relative paths of the image ``stem`` of a split, by the dataset's templates."""
    names = {"split": info.splits[split], "stem": stem}
    return Item(*(t.format(**names) for t in (info.image, info.label, info.superpixel)))


def default_path(root: str | Path, split: str) -> Path:
    """Where the dataset's own list of a split lies."""
    return Path(root) / f"{split}.txt"


def write_datalist(path: str | Path, items: Iterable[Item]) -> None:
    """Write items (relative paths) as a datalist."""
    items = list(items)
    for item in items:
        for name in item:
            if len(name.split()) != 1:
                raise UserError(f"{name!r}: a datalist cannot hold white space; rename it")
    write_text(path, "".join(" ".join(item) + "\n" for item in items))


def read_datalist(path: str | Path, root: str | Path, moves: Moves = ()) -> list[Item]:
    """Read a datalist, perhaps from another machine (:func:`dataloader.relocation.locator`).

    Raises:
        UserError: the file is missing or empty, a line has not three columns, or an image is there
            twice.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: datalist cannot be read ({error})") from error
    items = []
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if columns and len(columns) != 3:
            raise UserError(
                f"{path}, line {number}: {len(columns)} columns; "
                "a line is the image, label and superpixel path, parted by white space"
            )
        if columns:
            items.append(Item(*columns))
    if not items:
        raise UserError(f"{path}: the datalist is empty; make one with make_datalist.py")
    locate = locator(items[0], root, moves, path)
    items = [Item(*map(locate, item)) for item in items]
    check_listed_once(path, items)
    return items


def check_listed_once(path: str | Path, items: Iterable[Item]) -> None:
    """Refuse a datalist in which two lines share an image or a superpixel map."""
    items = list(items)
    for column in (0, 2):
        paths = Counter(item[column] for item in items)
        for twice, count in paths.most_common(1):
            if count > 1:
                raise UserError(f"{path}: {twice} is listed {count} times; list each image once")


def find_or_make_datalist(
    info: DatasetInfo,
    root: str | Path,
    split: str,
    path: str | Path | None = None,
    moves: Moves = (),
) -> list[Item]:
    """The items of a split: from ``path`` when given, else from the dataset's own list.

    The own list is ``<root>/<split>.txt``; when it is missing, it is made from what is on disk, and
    kept there if the folder can be written.

    Raises:
        UserError: there is no data, or the given list is not valid.
    """
    if path is not None:
        return read_datalist(path, root, moves)
    if default_path(root, split).is_file():
        return read_datalist(default_path(root, split), root, moves)
    if not Path(root).is_dir():
        raise UserError(f"{root}: no such folder; name the root of the {info.name} data")
    items = scan(info, root, split)
    if not items:
        image, label, _ = item_of(info, split, "*")
        raise UserError(f"{root}: no {info.name} {split} images; expected {image} with {label}")
    if os.access(root, os.W_OK):
        write_datalist(default_path(root, split), items)
    return [item.below(root) for item in items]

"""Datalists: which images a split holds, each with its label and superpixel file.

On disk a datalist is text, one image a line: three paths relative to the data root (image, label,
superpixel). In published lists they are separated by white space; a line with a tab is separated by
tabs alone, so that names may hold blanks. ``-`` stands for a label that there is not. Lines that
begin with ``#`` are comments, and so is a first line with the names of the columns. In memory a
datalist is a list of :class:`Item` with absolute paths.
"""

import codecs
import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dataloader.checks.own_list import check_own_list, unlisted_label, warn_of_idle_exclusions
from dataloader.checks.pairing import check_columns
from dataloader.dataset_info import DatasetInfo
from dataloader.item import ABSENT, Item, check_name
from dataloader.relocation import Locator, Moves
from dataloader.scan import absent_folder, item_of, lossy_label, scan
from utils.errors import NoLabels, UserError, WrongColumns, shown
from utils.files import atomic_write, read_regular

log = logging.getLogger(__name__)

PLAIN = re.compile(r"[^\s,\"]+")
"""Names that white space can separate, whoever reads the list."""
HEADER = re.compile(
    r"((image|img|rgb|label|mask|gt|seg|segmentation|annot|annotation|superpixel|sp)s?[ _]?)?"
    r"(path|file|name|filename|map)?s?",
    re.IGNORECASE,
)
"""Names of columns, as the first line of a table has them."""
AMBIGUOUS = re.compile(r"#|\s|-$")
"""Names that would not be read as such: comments, blanks before a column, no label."""
NO_UTF8 = re.compile("[\udc80-\udcff]+")
"""Bytes of names that are no text in UTF-8, as :func:`os.fsdecode` stands for them."""
USUALLY_LEFT_OUT = {"of split 'test'"}


def default_path(root: str | Path, split: str) -> Path:
    """Where the dataset's own list of a split lies."""
    return Path(root) / f"{split}.txt"


def write_datalist(path: str | Path, items: Iterable[Item]) -> None:
    """Write items (relative paths) as a datalist: separated by tabs where a name holds blanks.

    Raises:
        UserError: a name holds a control character, or the file cannot be written.
    """
    lines = []
    for item in items:
        for name in item:
            check_name(name)
        item = Item(*(f"./{name}" if AMBIGUOUS.match(name) else name for name in item))
        separator = " " if all(map(PLAIN.fullmatch, item.stored())) else "\t"
        lines.append(separator.join(item.stored()))
    with atomic_write(path) as file:
        file.write(os.fsencode("".join(line + "\n" for line in lines)))


def read_datalist(
    path: str | Path, root: str | Path, moves: Moves = (), columns: int = 3
) -> list[Item]:
    """Read a datalist, perhaps from another machine (:class:`dataloader.relocation.Locator`).

    Args:
        path: the file; UTF-8 with or without a byte order mark, UTF-16 with one, or cp1252, as
            some programs on Windows write, if only that gives the names of files.
        root: the data root, that relative paths lie below.
        moves: as ``--relocate`` gives them.
        columns: how many of the three columns are needed; a list may have fewer than three if the
            rest is not.

    Raises:
        UserError: the file is missing or empty, a line has not the columns needed or one file in
            two, or an image is there twice.
    """
    items = []
    for number, line in enumerate(_read_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        names = _split(line, root, columns)
        if not items and all(map(HEADER.fullmatch, names)) and not Path(root, names[0]).is_file():
            continue
        if not columns <= len(names) <= 3:
            raise WrongColumns(
                f"{path}, line {number}: {len(names)} columns; a line is the image, label and "
                "superpixel path, separated by white space, or by tabs where a name holds blanks"
            )
        names = [name if i == 0 or name.strip() != ABSENT else "" for i, name in enumerate(names)]
        names += [""] * (3 - len(names))
        if not names[0].strip() or (columns == 3 and not names[2].strip()):
            raise UserError(f"{path}, line {number}: the image or superpixel path is missing")
        items.append(Item(*names))
    if not items:
        raise UserError(f"{path}: the datalist is empty; make one with make_datalist.py")
    locate = Locator(root, moves, path)
    items = _from_windows([Item(*map(locate, item)) for item in items])
    check_listed_once(path, items)
    for item in items if columns == 3 else ():
        if item.superpixel in (item.image, item.label):
            raise UserError(
                f"{path}: {shown(item.superpixel)} is the superpixel map of its line, and the "
                "image or label, too; mend the third column"
            )
    return items


def _read_lines(path: str | Path) -> list[str]:
    """The lines of a list. Names come out as the system gives them, whatever the locale."""
    try:
        data = read_regular(path)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            data = data.decode("utf-16").encode()
        text = os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such datalist; {_remedy(path)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: datalist cannot be read ({error})") from error
    lines = re.split("\r\n|\n|\r", text)
    for number, line in enumerate(lines, 1):
        try:
            check_name(line.replace("\t", ""))
        except UserError as error:
            raise UserError(
                f"{path}, line {number}: a control character; this is no list of paths"
            ) from error
    return lines


def _from_windows(items: list[Item]) -> list[Item]:
    """Items with names in cp1252 as text, if that is the name of a file and the bytes are not."""
    names = (name for item in items for name in item[:2])
    odd = next(filter(NO_UTF8.search, names), "")
    if not odd or Path(odd).is_file() or not Path(_as_cp1252(odd)).is_file():
        return items
    return [Item(*map(_as_cp1252, item)) for item in items]


def _as_cp1252(name: str) -> str:
    return NO_UTF8.sub(lambda found: os.fsencode(found[0]).decode("cp1252", "replace"), name)


def _remedy(path: str | Path) -> str:
    if Path(path).absolute().parent.parent.name == "init_data":
        return (
            "lists are not shipped but made from the files on disk: leave the flag out, and the "
            "list is found or made below the data root"
        )
    return "name a list, or leave the flag out to use the dataset's own"


def _split(line: str, root: str | Path, columns: int) -> list[str]:
    """The columns of a line: by tabs, by white space, or of comma-separated or quoted values."""
    if "\t" in line:
        return _split_by_tabs(line.rstrip("\t"), root, columns)
    line = line.strip(" ")
    names = re.split(" +", line)
    if columns == 1 and len(names) > 1 and Path(root, line).is_file():
        return [line]
    if '"' in line or len(names) != 3 or any(name.endswith(",") for name in names[:2]):
        for separator in (",", " "):
            try:
                row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
            except csv.Error:
                continue
            if len(row) == 3 and all(row):
                return [name.strip() for name in row]
    return names


def _split_by_tabs(line: str, root: str | Path, columns: int) -> list[str]:
    """The columns of a line with tabs: parted by those alone, or by any white space."""
    names, mixed = line.split("\t"), line.split()
    if len(names) > 3:  # tabs that align columns
        names = re.split("\t+", line)
    if len(mixed) != 3 or len(names) == 3:
        return names
    mixes = Path(root, mixed[0]).is_file() and not all(Path(root, n).is_file() for n in names)
    return mixed if columns == 3 or mixes else names


def check_listed_once(path: str | Path, items: Sequence[Item]) -> None:
    """Refuse a datalist in which two lines share an image or a superpixel map.

    Raises:
        UserError: they do, or the "image,label,superpixel" that stands for an image in the
            selection files would not tell two of them apart.
    """
    for column in (0, 2):
        paths = Counter(item[column] for item in items if item[column])
        for twice, count in paths.most_common(1):
            if count > 1:
                raise UserError(
                    f"{path}: {shown(twice)} is listed {count} times; list each image once"
                )
    joined = Counter(",".join(item) for item in items)
    for twice, count in joined.most_common(1):
        if count > 1:
            raise UserError(f"{path}: {shown(twice)} stands for two images; rename one of them")


def find_or_make_datalist(
    info: DatasetInfo,
    root: str | Path,
    split: str,
    path: str | Path | None = None,
    moves: Moves = (),
    columns: int = 3,
    need_label: bool = True,
) -> list[Item]:
    """The items of a split: from ``path`` when given, else from the dataset's own list.

    The own list is ``<root>/<split>.txt``; when it is missing, it is made from what is on disk, and
    kept there if the folder can be written. How many files were left out of it, and why, is logged,
    and later that it lacks images or names other files than ``info`` does.

    Args:
        info, root, split: as :func:`dataloader.scan.scan` takes them.
        path, moves, columns: as :func:`read_datalist` takes them.
        need_label: leave the images without a label out of the own list, which is logged; the
            given list is taken as it is.

    Raises:
        UserError: there is no data, or the given list is not valid.
    """

    def read(path: str | Path) -> list[Item]:
        items = read_datalist(path, root, moves, columns)
        check_columns(path, items, info, root)
        return items

    if path is not None:
        return read(path)
    own = default_path(root, split)
    if own.is_file():
        remedy = (
            f"if another program made {own}, or files were renamed since, move it away: a list is "
            "then made from the files that are there"
        )
        try:
            items = read(own)
        except WrongColumns as error:
            raise UserError(f"{error}; {remedy}") from error
        if not any(map(os.path.isfile, (name for item in items for name in item[:2]))):
            raise UserError(
                f"{own}: nothing of the {len(items)} images that it lists is there, the first is "
                f"{shown(items[0].image)}; {remedy}"
            )
        check_own_list(own, items, info, root, split, need_label and columns > 1)
    else:
        items = _make_datalist(info, root, split)
    return _with_labels(items, info, root, split) if need_label and columns > 1 else items


def _with_labels(
    items: Sequence[Item], info: DatasetInfo, root: str | Path, split: str
) -> list[Item]:
    """Those of a split's own list that have a label; how many have none is logged.

    Raises:
        UserError: none has one.
    """
    labelled = [item for item in items if item.label]
    if len(labelled) == len(items):
        return labelled
    first = next(item.image for item in items if not item.label)
    key = Path(os.path.relpath(first, root)).as_posix()
    own = default_path(root, split)
    expected, hint = "", f"; name labels in the second column of {own}"
    if split in info.splits:
        image, label, _ = item_of(info, split, "*")
        expected, hint = f"; expected {label} with {image}", lossy_label(info, root, split, key)
        if own.is_file() and (label := unlisted_label(items, info, root, split)):
            hint = f"; {shown(label)} is there now: remove {own} to list labels anew"
    if not labelled:
        raise NoLabels(
            f"{root}: none of {len(items)} {info.name} {split} images has a label{expected}"
            f"{f' (listed in {own})' if own.is_file() else ''}{hint}"
        )
    left_out = len(items) - len(labelled)
    log.warning(
        "%s: %d %s images; left out: %d without a label (%s%s)%s",
        *(root, len(labelled), split, left_out, shown(key), ", ..." if left_out > 1 else ""),
        hint,
    )
    return labelled


def _make_datalist(info: DatasetInfo, root: str | Path, split: str) -> list[Item]:
    """The items of a split on disk; they are kept as its own list, if that can be written."""
    if not Path(root).is_dir():
        raise UserError(f"{root}: no such folder; name the root of the {info.name} data")
    found = scan(info, root, split)
    if not found.items:
        image, label, _ = item_of(info, split, "*")
        raise UserError(
            f"{root}: no {info.name} {split} images; expected {image} with {label}"
            f"{absent_folder(info, root, split)}{found.summary}"
        )
    warn_of_idle_exclusions(info, root, found.stems)
    if found.left_out:
        level = logging.INFO if set(found.left_out) == USUALLY_LEFT_OUT else logging.WARNING
        log.log(level, "%s: %d %s images%s", root, len(found.items), split, found.summary)
    items = [item.below(root) for item in found.items]
    check_listed_once(root, items)
    if os.access(root, os.W_OK):
        write_datalist(default_path(root, split), found.items)
    return items

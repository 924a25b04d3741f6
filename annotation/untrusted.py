"""Reading answers that come from elsewhere: bounded, checked, and refused in one line.

Archives are never unpacked to disk, and nothing in a file decides how much memory is taken.
"""

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dataloader.image_files import ON_ITS_SIDE, orientation, stored_values, upright
from utils.errors import UserError
from utils.files import parse_json as parse_plain_json

MAX_BYTES = 256 * 2**20
"""The largest file that is read whole, in an archive or beside it."""
MAX_TOTAL = 8 * 2**30
MAX_ENTRIES = 100_000


class Entry(NamedTuple):
    """A file of a folder or archive.

    Attributes:
        name: its path there, with "/".
        read: returns its bytes.
        path: the absolute one, as if an archive were unpacked where it lies.
    """

    name: str
    read: Callable[[], bytes]
    path: str

    @property
    def suffix(self) -> str:
        """The suffix of the name, in lower case."""
        return PurePosixPath(self.name).suffix.lower()


@contextmanager
def open_entries(path: Path) -> Iterator[list[Entry]]:
    """The files of a folder, a ZIP archive, or the one file that ``path`` is, sorted by name.

    Hidden files, and what macOS adds to archives and GDAL to pictures, are left out.

    Raises:
        UserError: it cannot be read, or an archive holds what no labelling tool writes.
    """
    try:
        if path.is_dir():
            yield _of_folder(path)
        elif not path.is_file():
            raise UserError(f"{path}: no such file or folder")
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield _of_archive(path, archive)
        else:
            yield [Entry(path.name, lambda: _read(path), os.path.abspath(path))]
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise UserError(f"{path}: is no ZIP archive that can be read ({error})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _of_folder(path: Path) -> list[Entry]:
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    entries = [
        Entry(
            file.relative_to(path).as_posix(), lambda file=file: _read(file), os.path.abspath(file)
        )
        for file in files
    ]
    return [entry for entry in entries if not _is_hidden(entry.name)]


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: is larger than {MAX_BYTES // 2**20} MiB; export fewer images")
    return path.read_bytes()


def _of_archive(path: Path, archive: zipfile.ZipFile) -> list[Entry]:
    members = [m for m in archive.infolist() if not m.filename.endswith("/")]
    names = [member.filename.replace("\\", "/") for member in members]
    if len(members) > MAX_ENTRIES or sum(m.file_size for m in members) > MAX_TOTAL:
        raise UserError(f"{path}: unpacks to too much; export fewer images at a time")
    for member in members:
        _check_member(path, member)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: holds two files of one name; export it again")
    folder = os.path.abspath(path.parent)
    entries = [
        Entry(name, lambda m=m: _read_member(path, archive, m), f"{folder}/{name}")
        for name, m in sorted(zip(names, members, strict=True), key=lambda pair: pair[0])
    ]
    return [entry for entry in entries if not _is_hidden(entry.name)]


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or (len(name) > 1 and name[1] == ":"):
        problem = "would lie outside of the folder that it is unpacked to"
    elif stat.S_ISLNK(member.external_attr >> 16):
        problem = "is a link"
    elif member.flag_bits & 1:
        problem = "is encrypted"
    elif member.file_size > MAX_BYTES:
        problem = f"unpacks to more than {MAX_BYTES // 2**20} MiB"
    else:
        return
    raise UserError(f"{path}: {shorten(name)} in it {problem}; no labelling tool writes that")


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(MAX_BYTES + 1)  # the size that an archive tells may be a lie
    except Exception as error:  # zlib.error, RuntimeError and more, for damaged members
        raise UserError(f"{path}: {shorten(member.filename)} in it is damaged ({error})") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: {shorten(member.filename)} in it is too large")
    return data


def _is_hidden(name: str) -> bool:
    added = name.lower().endswith(".aux.xml")
    return added or any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def shorten(value: Any, length: int = 60) -> str:
    """A value of a file as error lines show it: on one line, in ASCII, and cut."""
    text = value if isinstance(value, str) else repr(value)[: 2 * length]
    text = ascii(text)[1:-1] if not text.isprintable() else text
    return text if len(text) <= length else text[: length - 3] + "..."


def parse_json(data: bytes, source: str) -> Any:
    """The JSON value in some bytes.

    Raises:
        UserError: it is not JSON in UTF-8, or nested too deeply; see :func:`parse_plain_json`.
    """
    try:
        return parse_plain_json(data)
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: is not text in UTF-8; save it in that encoding") from error
    except ValueError as error:
        raise UserError(f"{source}: is not valid JSON ({shorten(str(error), 120)})") from error
    except RecursionError as error:
        raise UserError(f"{source}: is nested too deeply; no labelling tool writes that") from error


def field(entry: Any, key: str, kind: type | tuple[type, ...], source: str) -> Any:
    """``entry[key]``, which must be of a kind; true and false are no numbers.

    Raises:
        UserError: it is missing or something else.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise UserError(f"{source}: {key} is {shorten(value)}, expected {names}; export it again")
    return value


def finite(values: Any, source: str) -> list[float]:
    """A list of numbers as floats.

    Raises:
        UserError: it holds something else, or NaN or infinity.
    """
    if isinstance(values, list) and all(type(v) in (int, float) for v in values):
        try:
            numbers = [float(v) for v in values]
        except OverflowError:
            numbers = [math.inf]
        if all(map(math.isfinite, numbers)):
            return numbers
    raise UserError(
        f"{source}: coordinates are {shorten(values)}, expected numbers; export it again"
    )


class Picture:
    """A PNG as viewers show it, which is turned by its EXIF orientation.

    Attributes:
        mode: in Pillow's words.
        values: (H, W) grey values or palette numbers as the file holds them, 255 where grey is
            transparent; None of colours.
    """

    def __init__(self, image: Image.Image):
        self.mode = image.mode
        self._image = image
        values = stored_values(image) if image.mode in ("L", "P") else None
        image.load()
        if image.mode == "LA":
            self.mode, values = "L", np.asarray(image)[..., 0]
        if values is not None and image.has_transparency_data:
            opacity = self._rgba()[..., 3]
            values = np.where(_painted(opacity, opacity.max()), values, np.uint8(255))
        self.values = None if values is None else upright(values, image)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        turned = orientation(self._image) in ON_ITS_SIDE
        return self._image.size if turned else self._image.size[::-1]

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 colours; black where the picture is transparent."""
        rgba = self._rgba()
        opacity, colored = rgba[..., 3], rgba[..., :3].any(-1)  # layers may lie on opaque black
        rgba[~_painted(opacity, opacity[colored].max(initial=0))] = 0
        return upright(rgba[..., :3], self._image)

    def _rgba(self) -> np.ndarray:
        return np.array(self._image.convert("RGBA"))


def _painted(opacity: np.ndarray, highest: int) -> np.ndarray:
    """(H, W) bool: pixels that are more than half as opaque as the most opaque ones.

    Borders of brush strokes may be smoothed, and whole layers be translucent.
    """
    return opacity > highest // 2


def read_png(data: bytes, size: tuple[int, int], source: str) -> Picture | tuple[int, int]:
    """A PNG of a size (height, width); the size that it has, if that is another.

    Raises:
        UserError: it is no PNG, or damaged.
    """
    try:
        image = Image.open(io.BytesIO(data))
        if image.format != "PNG":
            raise UserError(
                f"{source}: is {image.format}, whose colours are not exact; save labels as PNG"
            )
        if sorted(image.size) != sorted(size):  # not loaded, since it may be huge
            return image.size[::-1]
        picture = Picture(image)
    except UserError:
        raise
    except Exception as error:  # a damaged PNG may raise anything
        reason = str(error).replace(str(io.BytesIO), "")
        raise UserError(f"{source}: is no PNG that can be read ({shorten(reason, 80)})") from error
    return picture if picture.size == size else picture.size


def runs_to_mask(counts: Any, size: tuple[int, int], order: str, source: str) -> np.ndarray:
    """Run lengths, of background and object in turn, as a mask.

    Args:
        counts: list of run lengths.
        size: (height, width) of the mask.
        order: "C" for runs along rows, "F" along columns.
        source: for the error line.

    Raises:
        UserError: they do not add up to that size.
    """
    whole = isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise UserError(
            f"{source}: run lengths do not add up to {size[1]} x {size[0]} pixels; export it again"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.array(counts, np.int64)).reshape(size, order=order)


def mask_to_runs(mask: np.ndarray, order: str) -> list[int]:
    """The inverse of :func:`runs_to_mask`, for a (H, W) bool mask."""
    flat = np.concatenate([[False], mask.ravel(order), [True]])
    if not mask.size:
        return []
    borders = np.flatnonzero(flat[1:-1] != flat[:-2])
    return np.diff(np.concatenate([[0], borders, [mask.size]])).tolist()

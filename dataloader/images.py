"""Reading images, labels and superpixel maps, and checking that they can be read."""

import math
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataloader.datalist import Item
from dataloader.dataset_info import IGNORE, DatasetInfo
from utils.errors import UserError

READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
INDEX_MODES = ("P", "L", "1")
MAX_STRETCH = 0.1  # log of the aspect ratios' quotient; GTA5 labels differ from images by 0.03


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB."""
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except READ_ERRORS as error:
        raise UserError(
            f"{path}: image cannot be read ({reason(error)}); replace the file"
        ) from error


def read_label(path: str | Path, info: DatasetInfo) -> np.ndarray:
    """Read a label in the dataset's encoding as (H, W) uint8 train ids, 255 where ignored."""
    ids = _read_red16(path) if info.label_reader == "red16" else _read_index(path, "label")
    return map_label(ids, info)


def map_label(ids: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Map label ids (any unsigned type) to uint8 train ids; unknown ids become 255."""
    if ids.dtype != np.uint8:
        ids = np.minimum(ids, IGNORE).astype(np.uint8)
    return cv2.LUT(ids, info.label_table)


def read_superpixels(path: str | Path) -> np.ndarray:
    """Read a superpixel map as (H, W) uint8 region ids."""
    return _read_index(path, "superpixel map")


def read_edges(path: str | Path) -> np.ndarray:
    """Read an edge map as (H, W) uint8, 0 where there is no edge."""
    return _read_index(path, "edge map")


def read_train_ids(path: str | Path) -> np.ndarray:
    """Read a predicted map as (H, W) uint8 train ids."""
    return _read_index(path, "prediction")


def _read_index(path: str | Path, what: str) -> np.ndarray:
    """A grey or palette 8-bit PNG as its (H, W) uint8 values, never its colours."""
    try:
        with Image.open(path) as image:
            if image.mode in INDEX_MODES:
                return np.asarray(image if image.mode != "1" else image.convert("L"))
            mode = image.mode
    except READ_ERRORS as error:
        raise UserError(f"{path}: {what} cannot be read ({reason(error)}); replace it") from error
    raise UserError(f"{path}: {what} has mode {mode}; expected an 8-bit grey or palette PNG")


def _read_red16(path: str | Path) -> np.ndarray:
    """The red channel of a 16-bit RGB PNG as (H, W) uint16, which Pillow would cut to 8 bits."""
    _check_exists(path, "label")
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise UserError(f"{path}: label cannot be read; replace it")
    if pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise UserError(f"{path}: expected a 16-bit RGB label, found {pixels.dtype} {pixels.shape}")
    return pixels[..., 2]  # OpenCV orders channels blue, green, red


def check_files(items: Iterable[Item], info: DatasetInfo, *columns: str) -> None:
    """Make sure that the named columns ("image", "label", "superpixel") of all items can be read.

    Only the files' heads and tails are read, so this takes seconds for a whole data set, and
    training does not stop hours later at a file that is missing, cut off, of the wrong kind or of
    another picture.

    Raises:
        UserError: names the first bad files.
    """
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda item: _problems(item, info, columns), items)
        problems = {path: entry for entries in found for path, *entry in entries}
    if problems:
        first = list(problems.items())[:3]
        named = "; ".join(f"{path}: {problem}" for path, (_, problem) in first)
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        missing_maps = all(column == "superpixel" for column, _ in problems.values())
        remedy = "run superpixel_gen.py" if missing_maps else "mend the datalist or the data"
        raise UserError(f"{named}{more}; {remedy}")


def _problems(
    item: Item, info: DatasetInfo, columns: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with an item's files: (path, column, problem)."""
    kinds = {"image": "image", "label": info.label_reader, "superpixel": "index"}
    sizes = {}
    for column in columns:
        path = getattr(item, column)
        try:
            sizes[column] = read_head(path, kinds[column])
        except READ_ERRORS as error:
            yield path, column, reason(error)
    for column in sizes:
        if "image" in sizes and not _same_picture(sizes["image"], sizes[column], column):
            (w, h), (width, height) = sizes["image"], sizes[column]
            problem = f"{width} x {height} pixels, its image {w} x {h}"
            yield getattr(item, column), column, problem


def _same_picture(image: tuple[int, int], other: tuple[int, int], column: str) -> bool:
    """Whether a file's size allows it to belong to an image.

    Region maps are cut from the image itself; labels may be of another scale, as some of GTA5 are.
    """
    if column == "superpixel":
        return image == other
    return abs(math.log(other[0] * image[1] / (other[1] * image[0]))) < MAX_STRETCH


def read_head(path: str, kind: str) -> tuple[int, int]:
    """(width, height) of what can be an image, an "index" map or a "red16" label; else an error."""
    with Image.open(path) as image, Path(path).open("rb") as file:
        head = file.read(26)
        file.seek(-min(64, file.seek(0, os.SEEK_END)), os.SEEK_END)
        if image.format == "PNG" and b"IEND" not in file.read():
            image.load()  # a long trailer is no fault; a picture cut off is
        if kind == "index" and image.mode not in INDEX_MODES:
            raise ValueError(f"mode {image.mode}, expected an 8-bit grey or palette PNG")
        if kind == "red16" and not (
            image.format == "PNG" and head[24] == 16 and head[25] in (2, 6)
        ):
            raise ValueError("expected a 16-bit RGB PNG")
        return image.size


def _check_exists(path: str | Path, what: str) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path}: {what} is missing; mend the datalist or the data")


def reason(error: Exception) -> str:
    """A short reason without the path that the error line names already."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return str(getattr(error, "strerror", None) or error)

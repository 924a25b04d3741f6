"""Reading images, labels and superpixel maps."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataloader.dataset_info import DatasetInfo
from dataloader.image_files import (
    READ_ERRORS,
    ids_of_colors,
    image_size,
    is_deep,
    load_unusual,
    open_image,
    raw_mode,
    reason,
    refuse_lossy,
    rgb_of_16_bits,
    rgb_pixels,
    stored_values,
    upright,
)
from utils.errors import UserError
from utils.resources import resource_problem

BLOCK = 1 << 20  # values counted at a time

INDEX_MODES = ("P", "L", "1")
DEEP_INDEX_MODES = ("I;16", "I;16B", "I")  # Pillow before 11 reads 16-bit grey PNG as "I"
COLOR_MODES = ("RGB", "RGBA", "P")
GREY_MODES = ("L", "1", "LA", "PA")


class Kind(NamedTuple):
    """What kind of file is expected: its Pillow modes, how they are called, and bits a sample."""

    modes: tuple[str, ...]
    name: str
    deep: bool | None = False  # True: more than 8 bits, None: both


KINDS = {
    "image": Kind(
        (*COLOR_MODES, *GREY_MODES, *DEEP_INDEX_MODES, "RGBX", "CMYK", "YCbCr", "F"),
        "a grey, palette, RGB or CMYK image",
        None,
    ),
    "map": Kind(INDEX_MODES, "an 8-bit grey or palette PNG"),
    "mask": Kind((*COLOR_MODES, "L", "1", "LA"), "an 8-bit black-and-white PNG"),
    "prediction": Kind(INDEX_MODES, "an 8-bit grey or palette PNG of train ids, not of colours"),
    "index": Kind(
        (*INDEX_MODES, *DEEP_INDEX_MODES, "LA"),
        "a grey or palette PNG (or label_reader rgb for colours, red8 for ids in an RGB file)",
        None,
    ),
    "red16": Kind(("RGB", "RGBA"), "a 16-bit RGB PNG", True),
    "red8": Kind(COLOR_MODES, "an 8-bit RGB or RGBA PNG"),
    "rgb": Kind(COLOR_MODES + GREY_MODES, "an 8-bit RGB or palette PNG"),
}


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Of 16-bit images the full range is scaled to 0..255 (grey: / 257). Whether a file uses its range
    cannot be told from the file (12 bits stored in 16 read as dark): see :func:`check_files`.

    Raises:
        UserError: the file cannot be read, its floating-point values are not within 0..1, or its
            kind (such as LAB) has no clear meaning as RGB.
    """
    with _readable(path, "image"), open_image(path) as image:
        check_kind(image, "image")
        return upright(rgb_pixels(image), image)


def read_label(path: str | Path, info: DatasetInfo) -> np.ndarray:
    """Read a label in the dataset's encoding as (H, W) uint8 train ids, 255 where ignored."""
    return info.train_ids(read_label_ids(path, info))


def read_label_ids(path: str | Path, info: DatasetInfo, channel: int = 0) -> np.ndarray:
    """Read a label in the dataset's encoding as (H, W) uint8 or uint16 label ids, upright.

    Args:
        path: a label.
        info: its dataset.
        channel: which of red, green and blue holds the ids, of the readers "red16" and "red8".

    Raises:
        UserError: the file cannot be read, was compressed with loss, is not of the dataset's
            encoding, or holds a colour that the dataset does not know.
    """
    reader = info.label_reader
    with _readable(path, "label"), open_image(path) as image:
        check_kind(image, reader)
        if reader == "red16":
            load_unusual(image)  # for the orientation alone
            ids = rgb_of_16_bits(path)[..., channel]
        elif reader == "red8":
            ids = rgb_pixels(image)[..., channel]
        elif reader == "rgb":
            ids = ids_of_colors(image, info.label_colors)
        else:
            ids = stored_values(image)
        return upright(ids, image)


def map_label(ids: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Map label ids (any unsigned type) to uint8 train ids, unknown ones to 255, in notebooks."""
    return info.train_ids(ids)


def fit_label(label: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """An (H, W) label or other map at another ``size`` (H, W), by nearest neighbour.

    The one rule for labels of another scale than their image, in training and in evaluation: they
    are brought to the image's size, and :func:`check_files` tells which can belong to it.
    """
    if label.shape == tuple(size):
        return label
    # Not cv2.resize: that of OpenCV 4 is off by a pixel here and there, and wrong beyond 32,768.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for old, new in zip(label.shape, size, strict=True)
    )
    return label[rows].take(columns, axis=1)


def digest(array: np.ndarray) -> str:
    """A short digest of the values of a uint8 array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def read_superpixels(path: str | Path) -> np.ndarray:
    """Read a superpixel map as (H, W) uint8 region ids."""
    return _read_map(path, "superpixel map")


def read_edges(path: str | Path) -> np.ndarray:
    """Read an edge map as (H, W) uint8, 0 where there is no edge."""
    return _read_map(path, "edge map")


def read_train_ids(path: str | Path) -> np.ndarray:
    """Read a predicted map as (H, W) uint8 train ids."""
    return _read_map(path, "prediction")


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask as (H, W) bool: True where a pixel is not black.

    Raises:
        UserError: the file cannot be read, was compressed with loss, has transparent pixels, or a
            palette of which other numbers than 0 are black, or 0 is not.
    """
    with _readable(path, "mask"), open_image(path) as image:
        check_kind(image, "mask")
        if image.mode in ("RGBA", "LA") and image.getextrema()[-1][0] < 255:
            raise ValueError("transparent pixels in a mask; save it without alpha")
        palette = stored_values(image) > 0 if image.mode == "P" else None
        mask = rgb_pixels(image).any(2)
        if palette is not None and not np.array_equal(palette, mask):
            raise ValueError("its palette has another black than 0; save it as 8-bit grey")
        return upright(mask, image)


class Palette(NamedTuple):
    """(256, 3) uint8 RGB ``colors``, black beyond the last, and (256,) bool: those ``used``."""

    colors: np.ndarray
    used: np.ndarray


def read_palette(path: str | Path, what: str) -> Palette | None:
    """Read the palette of a file, which ``what`` names in errors; None for a grey one."""
    with _readable(path, what), open_image(path) as image:
        if image.mode != "P":
            return None
        used = count_values(np.asarray(image), 256) > 0
        colors = np.zeros((256, 3), np.uint8)
        stored = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        colors[: len(stored)] = stored
        return Palette(colors, used)


def _read_map(path: str | Path, what: str) -> np.ndarray:
    """A grey or palette PNG as its (H, W) uint8 values, never its colours."""
    with _readable(path, what), open_image(path) as image:
        check_kind(image, "map")
        return upright(stored_values(image), image)


@contextmanager
def _readable(path: str | Path, what: str) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        if resource_problem(error):
            raise
        problem, _, remedy = reason(error).partition("; ")
        raise UserError(
            f"{path}: {what} cannot be read ({problem}); {remedy or 'replace the file'}"
        ) from error


def check_kind(image: Image.Image, kind: str) -> None:
    """Make sure that an image that is not loaded yet is of a kind of :data:`KINDS`.

    Raises:
        ValueError: it is not, or was compressed with loss and is no "image".
    """
    modes, name, deep = KINDS[kind]
    if kind != "image":
        refuse_lossy(image)
        if raw_mode(image) == "scaled":
            raise ValueError(f"a {image.format} file of other than 8 or 16 bits; save it as PNG")
    if image.mode not in modes:
        raise ValueError(f"mode {image.mode}, expected {name}")
    if deep is not None and is_deep(image) != deep:
        raise ValueError(f"{'8' if deep else '16'}-bit samples, expected {name}")
    if kind == "red16" and image.format != "PNG":
        raise ValueError(f"a {image.format} file, expected {name}")


def read_head(path: str | Path, kind: str) -> tuple[int, int]:
    """(width, height), upright, of a file that is of a kind of :data:`KINDS`.

    Raises:
        one of READ_ERRORS: it is not.
    """
    with open_image(path) as image:
        check_kind(image, kind)
        return image_size(image)


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of what :func:`read_image` returns."""
    with _readable(path, "image"):
        return read_head(path, "image")[::-1]


def count_values(values: np.ndarray, length: int) -> np.ndarray:
    """(length,) int64: how often each of 0..length - 1 occurs in an array of these numbers.

    ``np.bincount`` makes int64 of all it is given, 400 MB of 50 megapixels, and many threads count.
    """
    flat, counts = values.reshape(-1), np.zeros(length, np.int64)
    for start in range(0, len(flat), BLOCK):
        counts += np.bincount(flat[start : start + BLOCK], minlength=length)
    return counts


def stride(image: np.ndarray, lines: int = 256) -> int:
    """Step between the rows and columns that are looked at, of which ``lines`` are enough."""
    return max(1, min(image.shape[:2]) // lines)

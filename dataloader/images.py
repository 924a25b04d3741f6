"""Reading images, labels and superpixel maps, and checking that they can be read."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    load_unusual_png,
    open_image,
    raw_mode,
    reason,
    refuse_lossy,
    rgb_of_16_bits,
    rgb_pixels,
    stored_values,
    upright,
)
from dataloader.item import Item, shown
from utils.errors import UserError
from utils.resources import resource_problem

logger = logging.getLogger(__name__)

INDEX_MODES = ("P", "L", "1")
DEEP_INDEX_MODES = ("I;16", "I;16B", "I")  # Pillow before 11 reads 16-bit grey PNG as "I"
COLOR_MODES = ("RGB", "RGBA", "P")
GREY_MODES = ("L", "1", "LA", "PA")
MAX_STRETCH = 0.1  # log of the aspect ratios' quotient; GTA5 labels differ from images by 0.03
DEEP_IMAGES = 16  # of those with more than 8 bits are looked at before training


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
        INDEX_MODES + DEEP_INDEX_MODES, "a grey or palette PNG (or label_reader rgb)", None
    ),
    "red16": Kind(("RGB", "RGBA"), "a 16-bit RGB PNG", True),
    "red8": Kind(COLOR_MODES, "an 8-bit RGB or RGBA PNG"),
    "rgb": Kind(COLOR_MODES + GREY_MODES, "an 8-bit RGB or palette PNG"),
}


REMEDIES = {"superpixel": "run superpixel_gen.py", "prediction": "run inference.py"}
"""What to do where only files of one column cannot be used."""


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
    return map_label(read_label_ids(path, info), info)


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
            load_unusual_png(image)  # for the orientation alone
            ids = rgb_of_16_bits(path)[..., channel]
        elif reader == "red8":
            ids = rgb_pixels(image)[..., channel]
        elif reader == "rgb":
            ids = ids_of_colors(image, info.label_colors)
        else:
            ids = stored_values(image)
        return upright(ids, image)


def map_label(ids: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Map label ids (any unsigned type) to uint8 train ids; unknown ids become 255."""
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
        raise UserError(
            f"{path}: {what} cannot be read ({reason(error)}); replace the file"
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


def check_files(items: Iterable[Item], info: DatasetInfo, *columns: str) -> None:
    """Make sure that the named columns of all items can be read.

    Columns are "image", "label", "superpixel", and "prediction" for items of which ``image`` is a
    predicted map. Only the files' heads and tails are read, so this takes seconds for a whole data
    set, and training does not stop hours later at a file that is missing, cut off, of the wrong
    kind or of another picture. Of images with more than 8 bits a few are read whole, to see whether
    they use their range. Labels of another size than their image are told of in one line of the
    log.

    Raises:
        UserError: names the first bad file, and how many there are.
    """
    items = list(items)
    with ThreadPoolExecutor(8) as pool:
        looked_at = list(pool.map(lambda item: _look_at(item, info, columns), items))
    problems = {path: entry for one in looked_at for path, *entry in one.problems}
    if problems:
        path, (_, problem) = next(iter(problems.items()))
        more = f", and {len(problems) - 1} more files" if len(problems) > 1 else ""
        at_fault = {column for column, _ in problems.values()}
        remedy = REMEDIES.get("".join(at_fault), "mend the datalist or the data")
        raise UserError(f"{path}: {problem}{more}; {remedy}")
    _tell_scaled(looked_at)
    if "image" in columns:
        _check_range([item.image for item in spread(items, DEEP_IMAGES)])


class _Found(NamedTuple):
    """What is wrong with an item's files: (path, column, problem); and (width, height) of columns.

    ``image_size`` is that of the image or, where predictions are looked at, the prediction; None if
    it is not known.
    """

    item: Item
    problems: list[tuple[str, str, str]]
    sizes: dict[str, tuple[int, int]]
    image_size: tuple[int, int] | None


def _look_at(item: Item, info: DatasetInfo, columns: Sequence[str]) -> _Found:
    kinds = {"label": info.label_reader, "superpixel": "map", "prediction": "prediction"}
    paths = {column: getattr(item, column, item.image) for column in columns}
    sizes, found = {}, []
    for column, path in paths.items():
        if not path:  # the list says so
            found.append((item.image, column, f"its list names no {column}"))
            continue
        try:
            sizes[column] = read_head(path, kinds.get(column, "image"))
        except READ_ERRORS as error:
            if resource_problem(error):
                raise
            found.append((path, column, reason(error)))
    image = sizes.get("image") or sizes.get("prediction")
    for column, size in sizes.items():
        if image and not _same_picture(image, size, column):
            problem = f"{size[0]} x {size[1]} pixels, its image {image[0]} x {image[1]}"
            found.append((paths[column], column, problem))
    return _Found(item, found, sizes, image)


def _tell_scaled(looked_at: Sequence[_Found]) -> None:
    """Warn of labels that have another size than their image, if there are any."""
    labelled = [one for one in looked_at if one.image_size and "label" in one.sizes]
    scaled = [one for one in labelled if one.sizes["label"] != one.image_size]
    if scaled:
        first = scaled[0]
        logger.warning(
            "%d of %d labels have another size than their image, and are scaled to it; the first "
            "is %s: %d x %d pixels, its image %d x %d",
            *(len(scaled), len(labelled), shown(first.item.label)),
            *(*first.sizes["label"], *first.image_size),
        )


def _same_picture(image: tuple[int, int], other: tuple[int, int], column: str) -> bool:
    """Whether a file's size allows it to belong to an image.

    Region maps are cut from the image itself; labels may be of another scale, as some of GTA5 are.
    """
    if column == "superpixel":
        return image == other
    return abs(math.log(other[0] * image[1] / (other[1] * image[0]))) < MAX_STRETCH


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


def warn_if_turned(items: Sequence[Item], size: tuple[int, int]) -> None:
    """Warn if all of some images are wide and ``size``, (height, width), is upright, or reverse."""
    found = [read_size(item.image) for item in spread(items, DEEP_IMAGES)]
    wide = size[1] > size[0]
    if found and size[0] != size[1] and all(h != w and (w > h) != wide for h, w in found):
        (height, width), shape = found[0], ("upright", "wide")
        logger.warning(
            "--image_size %d %d: height and width of %s pictures, but the images are %s "
            "(%s: %d x %d pixels); did you mean --image_size %d %d?",
            *(*size, shape[wide], shape[not wide], shown(items[0].image), width, height),
            *(size[1], size[0]),
        )


def _check_range(paths: Sequence[str]) -> None:
    """Look at those of some images that have more than 8 bits: do they use their range?

    Values of 8, 10, 12 or 14 bits that were stored in 16 look like a dark image, so this is a guess
    from several images. All of them within 8 bits cannot be right; less than a quarter of the range
    is warned of.
    """
    deep = [path for path in paths if _is_deep(path)]
    brightest = max((int(read_image(path).max()) for path in deep), default=255)
    if brightest <= 1:
        raise UserError(
            f"{deep[0]}: no pixel is brighter than {brightest} of 255 in the images looked at "
            f"({len(deep)} of more than 8 bits a sample): save them with 8 bits, or scaled to the "
            "full range of 16"
        )
    if brightest <= 64:
        logger.warning(
            "%s: 16-bit images are scaled from 0..65535, and no pixel of those looked at (%d) is "
            "brighter than %d %% of that; if they hold values of 10, 12 or 14 bits, scale them",
            deep[0],
            len(deep),
            round(100 * brightest / 255),
        )


def _is_deep(path: str) -> bool:
    with open_image(path) as image:
        return is_deep(image)


def spread(values: Sequence, count: int) -> list:
    """At most ``count`` of the values, at even distances from first to last."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // (count - 1)] for i in range(count)]

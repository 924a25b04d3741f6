"""Looking at files of a data set before work begins: can they be read, and can they be right?"""

import logging
import math
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataloader.dataset_info import DatasetInfo
from dataloader.image_files import READ_ERRORS, count_pages, is_deep, open_image, reason
from dataloader.images import read_head, read_image, read_size, stride
from dataloader.item import Item
from dataloader.scan import same_name
from dataloader.walk import IMAGE_SUFFIXES
from utils.errors import NoLabels, UserError, shown
from utils.files import map_files
from utils.names import composed, fold
from utils.resources import resource_problem

log = logging.getLogger(__name__)

MAX_STRETCH = 0.1  # log of the aspect ratios' quotient; GTA5 labels differ from images by 0.03
MAX_SCALE = 2.0  # of the sides of images and of a network's default input
DEEP_IMAGES = 16  # of those with more than 8 bits are looked at before training
MOST = (0.1, 99.9)  # percentiles of an image's values, which a few dead or hot pixels do not move
NARROW = 64  # of 255

REMEDIES = {"superpixel": "run superpixel_gen.py", "prediction": "run inference.py"}
"""What to do where only files of one column cannot be used."""


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
        NoLabels: these are the labels, none of which is there.
    """
    items = list(items)
    check_heads(items, info, *columns)
    warn_of_pages(items, *columns)
    if "image" in columns:
        check_range(items)


def check_heads(items: Sequence[Item], info: DatasetInfo, *columns: str) -> None:
    """:func:`check_files` without a look at the range of images, which depends on all of them."""
    looked_at = map_files(lambda item: _look_at(item, info, columns), items)
    problems = {path: entry for one in looked_at for path, *entry in one.problems}
    if problems:
        path, (_, problem) = next(iter(problems.items()))
        more = f", and {len(problems) - 1} more files" if len(problems) > 1 else ""
        at_fault = {column for column, _ in problems.values()}
        remedy = REMEDIES.get("".join(at_fault), "mend the datalist or the data")
        unlabelled = at_fault == {"label"} and not any(Path(i.label).is_file() for i in items)
        listed = {name for item in items if path in item for name in item}
        near = "" if os.path.lexists(path) else _found_as(Path(path), listed)
        raise (NoLabels if unlabelled else UserError)(f"{path}: {problem}{near}{more}; {remedy}")
    _tell_scaled(looked_at, _reference(columns))


def _found_as(path: Path, listed: Collection[str]) -> str:
    """Say that an absent file, or a folder above it, is there by another case, suffix or accent.

    Args:
        path: of the file.
        listed: files of the same image, such as the image where its label is absent.
    """
    wanted = path
    while wanted.parent != wanted and not wanted.parent.is_dir():
        wanted = wanted.parent
    with suppress(OSError):
        for there in sorted(wanted.parent.iterdir()):
            if wanted is not path:
                found = fold(there.name) == fold(wanted.name)
            else:
                is_image = there.suffix.lower() in IMAGE_SUFFIXES and str(there) not in listed
                found = is_image and same_name(there.name, path.name)
            if found:
                forms = {composed(p.name) for p in (there, wanted)}
                how = ", whose accents are in another Unicode form" if len(forms) == 1 else ""
                return f" (there is {shown(there)}{how})"
    return ""


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
    paths = {column: _path(item, column) for column in columns}
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
    reference = _reference(columns)
    image = sizes.get(reference)
    for column, size in sizes.items():
        if image and not _same_picture(image, size, column):
            problem = f"{size[0]} x {size[1]} pixels, its {reference} {image[0]} x {image[1]}"
            if size == image[::-1]:
                problem += (
                    " (does one of them lie on its side? EXIF orientation is applied to both)"
                )
            found.append((paths[column], column, problem))
    return _Found(item, found, sizes, image)


def _path(item: Item, column: str) -> str:
    """The file of a column of :func:`check_files`."""
    return getattr(item, column, item.image)


def _tell_scaled(looked_at: Sequence[_Found], reference: str) -> None:
    """Warn of labels that have another size than their image or prediction, if there are any."""
    labelled = [one for one in looked_at if one.image_size and "label" in one.sizes]
    scaled = [one for one in labelled if one.sizes["label"] != one.image_size]
    if scaled:
        first = scaled[0]
        log.warning(
            "%d of %d labels have another size than their %s, and are scaled to it; the first "
            "is %s: %d x %d pixels, its %s %d x %d",
            *(len(scaled), len(labelled), reference, shown(first.item.label)),
            *(*first.sizes["label"], reference, *first.image_size),
        )


def _reference(columns: Sequence[str]) -> str:
    """The column that the sizes of others are compared with."""
    return "prediction" if "prediction" in columns else "image"


def _same_picture(image: tuple[int, int], other: tuple[int, int], column: str) -> bool:
    """Whether a file's size allows it to belong to an image.

    Region maps are cut from the image itself; labels may be of another scale, as some of GTA5 are.
    """
    if column == "superpixel":
        return image == other
    return abs(math.log(other[0] * image[1] / (other[1] * image[0]))) < MAX_STRETCH


def warn_if_turned(items: Sequence[Item], size: tuple[int, int]) -> None:
    """Warn if all of some images are wide and ``size``, (height, width), is upright, or reverse."""
    found = [read_size(item.image) for item in spread(items, DEEP_IMAGES)]
    wide = size[1] > size[0]
    if found and size[0] != size[1] and all(h != w and (w > h) != wide for h, w in found):
        (height, width), shape = found[0], ("upright", "wide")
        log.warning(
            "--image_size %d %d: height and width of %s pictures, but the images are %s "
            "(%s: %d x %d pixels); did you mean --image_size %d %d?",
            *(*size, shape[wide], shape[not wide], shown(items[0].image), width, height),
            *(size[1], size[0]),
        )


def warn_of_scale(items: Sequence[Item], size: tuple[int, int]) -> None:
    """Warn if all of some images are far from a ``size``, (height, width), that nobody gave."""
    found = [read_size(item.image) for item in spread(items, DEEP_IMAGES)]
    scales = [math.sqrt(h * w / (size[0] * size[1])) for h, w in found]
    if found and all(not 1 / MAX_SCALE < scale < MAX_SCALE for scale in scales):
        log.warning(
            "images of %d x %d pixels (%s) are resized to %d x %d, as neither --image_size nor the "
            "checkpoint says at what size its network was trained; give --image_size H W",
            *(*found[0][::-1], shown(items[0].image), *size[::-1]),
        )


def warn_of_pages(items: Sequence[Item], *columns: str) -> None:
    """Warn of TIFF files with several pages, of which the first alone is used.

    Args:
        items: whose files can be opened.
        columns: to look at, as :func:`check_files` takes them.
    """
    every = dict.fromkeys(_path(item, column) for column in columns for item in items)
    paths = [path for path in every if path.lower().endswith((".tif", ".tiff"))]
    pages = dict(zip(paths, map_files(_pages, paths), strict=True))
    if found := [path for path, count in pages.items() if count > 1]:
        log.warning(
            "%s: the first of its %d pages is used, the others are not (%d files have several); "
            "save each page as a file of its own",
            *(shown(found[0]), pages[found[0]], len(found)),
        )


def _pages(path: str) -> int:
    """How many pages a TIFF file has; 1 where later ones are damaged."""
    with suppress(*READ_ERRORS), open_image(path) as image:
        return count_pages(image)
    return 1


def check_range(items: Sequence[Item]) -> None:
    """Look at those of some images that have more than 8 bits: do they use their range?

    Values of 8, 10, 12 or 14 bits that were stored in 16 look like a dark image, and temperatures
    like a grey one, so this is a guess from several images. Nearly all pixels within a quarter of
    the range are warned of.

    Raises:
        UserError: all values are within 8 bits, which cannot be right.
    """
    deep = [item.image for item in spread(items, DEEP_IMAGES) if _is_deep(item.image)]
    if not deep:
        return
    found = []
    for image in map(read_image, deep):
        apart = stride(image)
        found.append((*np.percentile(image[::apart, ::apart], MOST), image.max()))
    low, high, brightest = (
        min(f[0] for f in found),
        max(f[1] for f in found),
        max(f[2] for f in found),
    )
    if brightest <= 1:
        raise UserError(
            f"{deep[0]}: no pixel is brighter than {brightest} of 255 in the images looked at "
            f"({len(deep)} of more than 8 bits a sample): save them with 8 bits, or scaled to the "
            "full range of 16"
        )
    if high - low <= NARROW:
        log.warning(
            "%s: 16-bit images are scaled from 0..65535, and nearly all pixels of those looked at "
            "(%d) lie between %d and %d %% of that; if they hold values of 10, 12 or 14 bits, or "
            "temperatures, scale all of them alike to the full range",
            *(shown(deep[0]), len(deep), round(100 * low / 255), round(100 * high / 255)),
        )


def _is_deep(path: str) -> bool:
    with open_image(path) as image:
        return is_deep(image)


def spread(values: Sequence, count: int) -> list:
    """At most ``count`` of the values, at even distances from first to last."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // (count - 1)] for i in range(count)]

"""Plain label maps, a PNG an image: grey values are codes, or colours are those of classes.csv."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from annotation.answers import AskedImage, Canvas, Collector
from annotation.classes import NO_ANSWER, ClassList
from annotation.untrusted import Entry, read_png, shown
from utils.errors import UserError


def read_masks(entries: Sequence[Entry], source: str, collector: Collector) -> None:
    """Take the label maps of a folder or archive; images in it that are no PNG are left alone."""
    for entry in entries:
        if entry.suffix != ".png":
            continue
        image = collector.find(entry.name)
        if image is None:
            continue
        place = f"{source}: {shown(entry.name)}"
        picture = open_map(entry, image, place, collector)
        if picture is not None:
            with collector.canvas(image, place) as canvas:
                paint_map(picture, canvas, collector.classes, place)


def open_map(
    entry: Entry, image: AskedImage, place: str, collector: Collector
) -> Image.Image | None:
    """A label map, loaded; None, and a problem told, if it is of another size."""
    picture, size = read_png(entry.read(), image.entry.size, place)
    if picture is None:
        collector.check_size(image, tuple(map(int, reversed(size.split(" x ")))), place)
    return picture


def paint_map(picture: Image.Image, canvas: Canvas, classes: ClassList, place: str) -> None:
    """Draw a label map by codes (grey) or by colours; a palette's numbers and colours must agree.

    Raises:
        UserError: it is of another kind, or its palette can be read in two ways.
    """
    if picture.mode not in ("L", "P", "RGB", "RGBA"):
        raise UserError(f"{place}: has mode {picture.mode}; save it as an 8-bit grey or RGB PNG")
    if picture.mode == "L":
        values = np.asarray(picture)
        paint_known(_codes_of_values(values, classes), values, canvas)
        return
    rgb = rgb_values(picture)
    codes = codes_of_colors(rgb, {c.color: c.code for c in classes.classes})
    if picture.mode == "P":
        by_number = _codes_of_values(np.asarray(picture), classes)
        if (codes < 0).any():
            codes = by_number
        elif (by_number >= 0).all() and not np.array_equal(by_number, codes):
            raise UserError(
                f"{place}: its palette's numbers and colours stand for different classes; "
                "save it as an 8-bit grey or RGB PNG"
            )
    paint_known(codes, rgb, canvas)


def _codes_of_values(values: np.ndarray, classes: ClassList) -> np.ndarray:
    """(H, W) int16: codes of (H, W) uint8 values, -1 where there is no such code."""
    known = classes.answerable.copy()
    known[NO_ANSWER] = True
    return np.where(known[values], values.astype(np.int16), -1)


def rgb_values(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 colours; black where a picture is fully transparent."""
    rgba = np.array(picture.convert("RGBA"))
    rgba[rgba[..., 3] == 0] = 0
    return rgba[..., :3]


def pack_colors(rgb: np.ndarray) -> np.ndarray:
    """(H, W) int32: one number for each colour of (H, W, 3) uint8, 0xRRGGBB."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def codes_of_colors(rgb: np.ndarray, colors: dict[tuple[int, int, int], int]) -> np.ndarray:
    """(H, W) int16: codes of (H, W, 3) uint8 colours; black is no answer, -1 an unknown colour."""
    packed = pack_colors(rgb)
    codes = np.full(packed.shape, -1, np.int16)
    codes[packed == 0] = NO_ANSWER
    for (red, green, blue), code in colors.items():
        codes[packed == (red << 16 | green << 8 | blue)] = code
    return codes


def paint_known(codes: np.ndarray, values: np.ndarray, canvas: Canvas) -> None:
    """Draw codes; a value inside of the asked regions that is none counts as an unknown class.

    Args:
        codes: (H, W) int16, -1 where unknown.
        values: (H, W) or (H, W, 3) uint8, what the file holds.
        canvas: to draw on.
    """
    inside = values[(codes < 0) & (canvas.region_ids >= 0)]
    for value in np.unique(inside, axis=0).tolist()[:5]:
        what = "value" if inside.ndim == 1 else "colour"
        canvas.unknown[f"{what} {value}"] += 1
    canvas.paint_codes(np.where(codes < 0, NO_ANSWER, codes).astype(np.uint8))

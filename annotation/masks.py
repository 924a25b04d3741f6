"""Plain label maps, a PNG an image: grey values are codes, or colours are those of classes.csv."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from annotation.answers import Collector
from annotation.canvas import AskedImage, Canvas
from annotation.classes import NO_ANSWER, ClassList
from annotation.untrusted import Entry, Picture, read_png, shorten
from dataloader.walk import IMAGE_SUFFIXES
from utils.errors import UserError

FEWEST_REGIONS, FEWEST_CLASSES = 3, 2  # that tell label ids from codes
WHITE = (255, 255, 255)
PROJECTS = (".xcf", ".psd", ".psb", ".kra", ".ora", ".pdn")
"""Suffixes of files in which drawing programs keep layers."""
OTHER_PICTURES = {*IMAGE_SUFFIXES, ".gif", *PROJECTS} - {".png"}


@dataclass
class _Findings:
    """What the files of a folder or archive turn out to be.

    Attributes:
        maps: keys of images that have a label map.
        photos: key -> name of the file that is the image itself.
        white: names of label maps that are white around the asked regions and in them.
        painted: code of the first guess -> value -> regions that mostly hold it.
    """

    maps: set[str] = field(default_factory=set)
    photos: dict[str, str] = field(default_factory=dict)
    white: list[str] = field(default_factory=list)
    painted: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))


def read_masks(entries: Sequence[Entry], source: str, collector: Collector) -> None:
    """Take the label maps of a folder or archive; photos, and what is no PNG, are left alone.

    They are told of where they may be the label map of an image that has none.
    """
    findings = _Findings()
    for entry in entries:
        image = collector.find(entry.name, entry.path) if entry.suffix == ".png" else None
        if image is None:
            continue
        place = f"{source}: {shorten(entry.name)}"
        data = entry.read()
        photo = image.is_photo(data)
        picture = None if photo else open_map(data, image, place, collector)
        if photo or (picture and _is_photo(picture, image, collector.classes)):
            findings.photos[image.entry.key] = entry.name
            continue
        findings.maps.add(image.entry.key)
        if picture:
            _read_map(picture, entry.name, image, place, collector, findings)
    left = [
        entry.name
        for entry in entries
        if entry.suffix in OTHER_PICTURES
        and (image := collector.look_up(entry.path))
        and image.entry.key not in findings.maps
    ]
    remarks = _remarks(findings, left, collector.classes)
    collector.remarks += [f"{source}: {remark}" for remark in remarks]


def _is_photo(picture: Picture, image: AskedImage, classes: ClassList) -> bool:
    """Whether a picture is the image, which is read only where most colours are of no class."""
    if picture.values is not None:
        return False
    rgb = picture.rgb()
    unknown = codes_of_colors(rgb, {c.color: c.code for c in classes.classes}) < 0
    return unknown.mean() > 0.5 and image.has_pixels(rgb)


def _read_map(
    picture: Picture,
    name: str,
    image: AskedImage,
    place: str,
    collector: Collector,
    findings: _Findings,
) -> None:
    """Take one label map, and note what is strange about it."""
    if picture.values is not None and image.is_region_map(picture.values):
        collector.problems.append(
            f"{place}: holds the numbers of the asked regions, as the package's regions/ does, "
            "not classes; if these are classes, save 255 where nothing was labelled"
        )
        return
    white = [c.code for c in collector.classes.classes if c.color == WHITE]
    with collector.canvas(image, place) as canvas:
        if paint_map(picture, canvas, collector.classes, place):
            _note_zeros(picture.values, canvas, collector)
            for guess, value in _guessed_and_painted(picture.values, canvas, collector):
                findings.painted[guess][value] += 1
        elif white and canvas.is_around(white[0]):
            canvas.background = white[0]
            findings.white.append(name)


def _remarks(findings: _Findings, left: Sequence[str], classes: ClassList) -> Iterator[str]:
    """Lines on files that perhaps do not hold what they seem to, or were not read.

    Args:
        findings: what its files are.
        left: names of pictures that are no PNG, of images without a label map.
        classes: that could be painted.
    """
    if _seem_label_ids(findings.painted, classes):
        yield (
            "its numbers seem to be label ids of the data set, as which most regions have the "
            "class of the first guess, and not as the codes of classes.csv; if so, give them these "
            "codes, and import again"
        )
    if findings.white:
        name = next(c.name for c in classes.classes if c.color == WHITE)
        yield (
            f"{shorten(findings.white[0])} is white around the asked regions and in them "
            f"({len(findings.white)} such files), which is {name!r}; if white is what was not "
            "painted, save that as black or transparent, import again with --package and "
            "--withdraw, and then the other files again"
        )
    if photos := [name for key, name in findings.photos.items() if key not in findings.maps]:
        yield (
            f"{shorten(photos[0])} is the photo itself ({len(photos)} such files), as it was "
            "exported; name the folder of the label maps"
        )
    if left:
        yield (
            f"{shorten(left[0])} is no PNG ({len(left)} such files), and was not read; if it is a "
            "label map, save it as PNG"
        )


def open_map(data: bytes, image: AskedImage, place: str, collector: Collector) -> Picture | None:
    """A label map; None, and a problem told, if it is of another size."""
    picture = read_png(data, image.entry.size, place)
    if isinstance(picture, Picture):
        return picture
    collector.check_size(image, picture, place)
    return None


def _guessed_and_painted(
    values: np.ndarray, canvas: Canvas, collector: Collector
) -> Iterator[tuple[int, int]]:
    """For each asked region with a first guess its code, and the value that most pixels hold."""
    for region, (_, entry) in canvas.image.regions.items():
        guess = collector.classes.code_of(entry.guessed_class or "")
        inside = values[canvas.region_ids == region]
        inside = inside[inside != NO_ANSWER]
        if guess is not None and len(inside):
            yield guess, int(np.bincount(inside).argmax())


def _seem_label_ids(painted: Mapping[int, Counter[int]], classes: ClassList) -> bool:
    """Whether label maps agree with the first guess only if they hold label ids.

    So it must be for several classes: a network that finds nothing but one class is corrected to
    any other.

    Args:
        painted: code of the first guess -> value -> regions that mostly hold it.
        classes: that could be painted.
    """
    codes = {c.label_id: c.code for c in classes.classes if c.label_id is not None}
    pairs = Counter({(g, v): n for g, values in painted.items() for v, n in values.items()})
    as_codes = sum(n for (guess, value), n in pairs.items() if value == guess)
    as_ids = sum(n for (guess, value), n in pairs.items() if codes.get(value) == guess)
    usual = {guess: values.most_common(1)[0][0] for guess, values in painted.items()}
    so = [g for g, value in usual.items() if codes.get(value) == g and value != g]
    return (
        as_ids >= FEWEST_REGIONS
        and len(so) >= FEWEST_CLASSES
        and as_ids > max(2 * as_codes, pairs.total() / 2)
    )


def _note_zeros(values: np.ndarray, canvas: Canvas, collector: Collector) -> None:
    """Remember where a label map of codes, (H, W) uint8, is 0."""
    inside = canvas.region_ids >= 0
    if not inside.all():
        around, within = not values[~inside].any(), not values[inside].all()
        collector.zeros.append((around, within))
        canvas.background = 0 if canvas.is_around(0) else None


def paint_map(picture: Picture, canvas: Canvas, classes: ClassList, place: str) -> bool:
    """Draw a label map by codes (grey) or by colours; a palette may tell either.

    Returns:
        Whether it was read by codes.

    Raises:
        UserError: it is of another kind, or its palette can be read in two ways.
    """
    if picture.mode not in ("L", "P", "RGB", "RGBA"):
        raise UserError(f"{place}: has mode {picture.mode}; save it as an 8-bit grey or RGB PNG")
    if picture.mode == "L":
        paint_known(_codes_of_values(picture.values, classes), picture.values, canvas)
        return True
    rgb = picture.rgb()
    codes = codes_of_colors(rgb, {c.color: c.code for c in classes.classes})
    if picture.mode == "P" and _is_by_number(picture.values, rgb, codes, canvas, classes, place):
        paint_known(_codes_of_values(picture.values, classes), picture.values, canvas)
        return True
    paint_known(codes, rgb, canvas)
    return False


def _is_by_number(
    values: np.ndarray,
    rgb: np.ndarray,
    codes: np.ndarray,
    canvas: Canvas,
    classes: ClassList,
    place: str,
) -> bool:
    """Whether a palette's numbers are the codes of the classes, and its colours say nothing.

    They are where other colours are used and no asked region has the colour of a class, or where
    255 is used, neither black nor in the colour of a class, and all other numbers are codes, too.
    Drawing programs number colours as they like, from 0 on, and one of them may be foreign: a
    border, or a grey background.

    Args:
        values: (H, W) numbers.
        rgb: (H, W, 3) their colours.
        codes: (H, W) int16 codes of the colours, -1 where unknown.

    Raises:
        UserError: the asked regions have classes by number and others by colour, or by grey level
            where all is grey: a file that was made smaller.
    """
    unlabelled = (values == NO_ANSWER) & ((codes < 0) | (codes == classes.void))  # or white
    codes = np.where(unlabelled, -1, codes)
    inside = canvas.region_ids >= 0
    by_values = _codes_of_values(values, classes)
    colors, numbers = codes[inside], by_values[inside]
    named = (colors >= 0) & (colors != NO_ANSWER)
    by_number = (codes < 0).any() and not named.any()
    by_number |= unlabelled.any() and (by_values >= 0).all()
    other = colors
    if by_number:
        grey = rgb[inside]
        levels = _codes_of_values(grey[:, 0], classes)
        is_grey = (grey == grey[:, :1]).all() and (levels >= 0).all()
        other = levels if is_grey else numbers
    if (numbers >= 0).all() and not np.array_equal(numbers, other):
        raise UserError(
            f"{place}: its palette's numbers and colours stand for different classes; "
            "save it as an 8-bit grey or RGB PNG"
        )
    return bool(by_number)


def _codes_of_values(values: np.ndarray, classes: ClassList) -> np.ndarray:
    """int16 codes of uint8 values of any shape, -1 where there is no such code."""
    known = classes.answerable.copy()
    known[NO_ANSWER] = True
    return np.where(known[values], values.astype(np.int16), -1)


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

"""COCO JSON: asked regions as polygons, answers as run lengths or polygons, through pycocotools."""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from annotation.answers import Collector
from annotation.canvas import Canvas
from annotation.classes import NO_ANSWER, ClassList
from annotation.drawing import polygons
from annotation.package import PackageImage
from annotation.untrusted import field, finite, mask_to_runs, runs_to_mask, shorten
from utils.errors import UserError
from utils.logs import collected

log = logging.getLogger(__name__)

MAX_POINTS = 100_000


class CocoWriter:
    """Builds the file image by image.

    Args:
        classes: categories; ids are code + 1, as ids of COCO count from 1.
    """

    def __init__(self, classes: ClassList):
        self.outline_id = max(c.code for c in classes.classes) + 2
        categories = [(c.code + 1, c.name) for c in classes.classes]
        categories.append((self.outline_id, classes.region.name))
        self.content: dict[str, Any] = {
            "info": {"description": "regions to label"},
            "licenses": [],
            "categories": [{"id": i, "name": n, "supercategory": ""} for i, n in categories],
            "images": [],
            "annotations": [],
        }

    def add(self, image: PackageImage, numbers: np.ndarray, guess: np.ndarray) -> None:
        """Add an image, its asked regions as polygons, and the first guess as run lengths."""
        image_id = len(self.content["images"]) + 1
        self.content["images"].append(
            {"id": image_id, "file_name": image.file, "width": image.width, "height": image.height}
        )
        for region in image.regions:
            mask = numbers == region.number
            parts = [part.ravel().tolist() for part in polygons(mask)]
            note = {"number": region.number, "region": region.id}
            self._annotate(image_id, self.outline_id, mask, parts, note)
        for code in np.unique(guess[guess != NO_ANSWER]).tolist():
            mask = guess == code
            runs = {"size": list(image.size), "counts": mask_to_runs(mask, "F")}
            self._annotate(image_id, code + 1, mask, runs, {})

    def _annotate(
        self, image_id: int, category: int, mask: np.ndarray, segmentation: Any, note: dict
    ) -> None:
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        self.content["annotations"].append(
            {
                "id": len(self.content["annotations"]) + 1,
                "image_id": image_id,
                "category_id": category,
                "segmentation": segmentation,
                "area": int(coco_mask.area(rle)),
                "bbox": [float(v) for v in coco_mask.toBbox(rle)],
                "iscrowd": int(isinstance(segmentation, dict)),
                "attributes": note,
            }
        )


def read_coco(data: Mapping[str, Any], source: str, collector: Collector) -> None:
    """Take the annotations of a COCO file; later ones lie over earlier ones.

    Raises:
        UserError: the file is not as COCO files are.
    """
    _check_writer(data.get("info"), source, collector)
    names = {}
    for category in field(data, "categories", list, source):
        number, name = _id(category, "id", source), field(category, "name", str, source)
        if names.setdefault(number, name) != name:
            raise UserError(
                f"{source}: two categories have the id {shorten(number)}; export it again"
            )
    shapes: dict[str, list[Any]] = defaultdict(list)
    for annotation in field(data, "annotations", list, source):
        shapes[_id(annotation, "image_id", f"{source}: an annotation")].append(annotation)
    with collected(__name__) as told:
        _read_images(data, source, names, shapes, collector)
    if told:
        log.warning("%s%s", told[0], f" ({len(told)} in this file)" if len(told) > 1 else "")
    if shapes:
        raise UserError(
            f"{source}: has annotations of an image that it does not list: "
            f"image_id {shorten(next(iter(shapes)))}; export it again"
        )


def _read_images(
    data: Mapping[str, Any],
    source: str,
    names: Mapping[str, str],
    shapes: dict[str, list[Any]],
    collector: Collector,
) -> None:
    """Take the annotations, by image in ``shapes``, out of there."""
    listed: set[str] = set()
    without_size = 0
    for entry in field(data, "images", list, source):
        name = field(entry, "file_name", str, f"{source}: an image")
        place = f"{source}: image {shorten(name)}"
        number = _id(entry, "id", place)
        if number in listed:
            raise UserError(f"{source}: two images have the id {shorten(number)}; export it again")
        listed.add(number)
        drawn = shapes.pop(number, [])
        size = tuple(entry.get(key) or None for key in ("height", "width"))  # 0 is none, too
        if not drawn and None in size:  # Label Studio, of tasks without shapes
            continue
        if None not in size:
            size = tuple(field(entry, key, (int, float), place) for key in ("height", "width"))
        image = collector.find(name)
        without_size += image is not None and None in size
        if image and (None in size or collector.check_size(image, size, source)):
            with collector.canvas(image, source) as canvas:
                for annotation in drawn:
                    _paint(annotation, names, canvas, place)
    if without_size:
        collector.remarks.append(
            f"{source}: {without_size} images have no size there; polygons are taken as drawn on "
            "the package's own images"
        )


def _id(entry: Any, key: str, place: str) -> str:
    """An id, which some tools write as a number here and as a text there, or as 1.0."""
    value = field(entry, key, (int, str, float), place)
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _check_writer(info: Any, source: str, collector: Collector) -> None:
    """Refuse, or remark on, COCO files of Label Studio that do not hold what was drawn."""
    writer = info.get("contributor") if isinstance(info, dict) else None
    if writer == "Label Studio Converter":
        raise UserError(
            f'{source}: is "Brush labels to COCO" of Label Studio, whose outlines differ from the '
            'brush strokes by some pixels; export in the format "JSON"'
        )
    if writer == "Label Studio":
        collector.remarks.append(
            f"{source}: Label Studio leaves brush strokes out of its COCO files; if any were "
            'drawn, export in the format "JSON" instead'
        )


def _paint(
    annotation: Mapping[str, Any], names: Mapping[str, str], canvas: Canvas, place: str
) -> None:
    category = _id(annotation, "category_id", place)
    code = canvas.code_of(names.get(category, f"category_id {category}"))
    if code is not None:
        canvas.paint(code, segmentation_mask(annotation.get("segmentation"), canvas.size, place))


def segmentation_mask(segmentation: Any, size: tuple[int, int], place: str) -> np.ndarray:
    """(H, W) bool mask of a list of polygons, or of run lengths, plain or compressed.

    Raises:
        UserError: it is something else, or of another size.
    """
    if isinstance(segmentation, list) and segmentation:
        flat = all(type(v) in (int, float) for v in segmentation)  # as some tools write one
        return polygon_mask([segmentation] if flat else segmentation, size, place)
    if not isinstance(segmentation, dict):
        raise UserError(
            f"{place}: an annotation has no segmentation; draw polygons or masks, not boxes (in "
            'CVAT, export them as "CVAT for images 1.1")'
        )
    if segmentation.get("size") != list(size):
        raise UserError(
            f"{place}: run lengths are of size {shorten(segmentation.get('size'))}, "
            f"expected {list(size)}; export it again"
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _uncompressed(counts, place)
    return runs_to_mask(counts, size, "F", place)


def _uncompressed(text: str, place: str) -> list[int]:
    """Run lengths of COCO's compressed form: 5 bits a character, differences from the third on.

    pycocotools reads those of too few pixels as noise; so their sum is checked before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise UserError(f"{place}: compressed run lengths are damaged; export it again")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise UserError(f"{place}: compressed run lengths are cut off; export it again")
    return counts


def turned(corners: Sequence[float], degrees: float, center: tuple[float, float]) -> list[float]:
    """Corners [x0, y0, x1, y1, ...] in pixels, turned clockwise about a centre."""
    if not degrees:
        return list(corners)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    offsets = np.reshape(corners, (-1, 2)) - center
    return (offsets @ [[cosine, sine], [-sine, cosine]] + center).ravel().tolist()


def polygon_mask(parts: Sequence[Any], size: tuple[int, int], place: str) -> np.ndarray:
    """(H, W) bool mask of polygons, each [x0, y0, x1, y1, ...] in pixels, all filled.

    Fewer than three corners enclose nothing, and are warned of.

    Raises:
        UserError: corners are no numbers, too many, or far outside of the image.
    """
    height, width = size
    checked = []
    for part in parts:
        if isinstance(part, list) and len(part) > 2 * MAX_POINTS:
            raise UserError(f"{place}: a polygon has more than {MAX_POINTS} corners; simplify it")
        corners = np.array(finite(part, place), float)
        if len(corners) in (0, 2, 4):  # of a stray click, or all removed
            log.warning("%s: a polygon of fewer than three corners is left out", place)
            continue
        if len(corners) % 2:
            raise UserError(f"{place}: a polygon has half a corner; remove it")
        corners = corners.reshape(-1, 2)
        outside = max(-corners.min(), (corners - (width, height)).max(), 0)
        if outside > max(size):
            raise UserError(f"{place}: a polygon lies far outside of the image; remove it")
        checked.append(corners.ravel().tolist())
    if not checked:
        return np.zeros(size, bool)
    rles = coco_mask.frPyObjects(checked, height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)

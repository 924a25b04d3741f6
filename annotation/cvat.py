"""CVAT for images 1.1: an XML file of shapes."""

import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from annotation.answers import Collector
from annotation.canvas import Canvas
from annotation.classes import ClassList
from annotation.coco import MAX_POINTS, polygon_mask, turned
from annotation.drawing import polygons
from annotation.package import PackageImage
from annotation.untrusted import finite, mask_to_runs, runs_to_mask, shorten
from utils.errors import UserError

UNTOUCHED = ("auto", "file")
"""Sources of shapes that were uploaded, until somebody changes them, in older and newer CVAT."""


def cvat_labels(classes: ClassList) -> list[dict[str, Any]]:
    """The labels of a CVAT task, as its "Raw" label editor takes them."""
    labels = [{"name": c.name, "color": _hex(c.color), "attributes": []} for c in classes.classes]
    number = {
        "name": "number",
        "input_type": "text",
        "mutable": False,
        "values": [""],
        "default_value": "",
    }
    outline = classes.region
    return [
        *labels,
        {"name": outline.name, "color": _hex(outline.color), "attributes": [number]},
    ]


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


class CvatWriter:
    """Builds the XML image by image: asked regions as polygons, the first guess as masks."""

    def __init__(self, classes: ClassList):
        self.classes = classes
        self.root = ElementTree.Element("annotations")
        ElementTree.SubElement(self.root, "version").text = "1.1"
        labels = ElementTree.SubElement(
            ElementTree.SubElement(ElementTree.SubElement(self.root, "meta"), "task"), "labels"
        )
        for entry in cvat_labels(classes):
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = entry["name"]
            ElementTree.SubElement(label, "color").text = entry["color"]
            attributes = ElementTree.SubElement(label, "attributes")
            for attribute in entry["attributes"]:
                element = ElementTree.SubElement(attributes, "attribute")
                for key in ("name", "mutable", "input_type", "default_value"):
                    ElementTree.SubElement(element, key).text = str(attribute[key])
                ElementTree.SubElement(element, "values").text = ""

    def add(self, image: PackageImage, numbers: np.ndarray, guess: np.ndarray) -> None:
        """Add an image with its asked regions and the first guess."""
        element = ElementTree.SubElement(
            self.root,
            "image",
            id=str(len(self.root.findall("image"))),
            name=image.file,
            width=str(image.width),
            height=str(image.height),
        )
        for region in image.regions:
            for part in polygons(numbers == region.number):
                shape = ElementTree.SubElement(
                    element,
                    "polygon",
                    label=self.classes.region.name,
                    source="manual",
                    occluded="0",
                    points=";".join(f"{x:.3f},{y:.3f}" for x, y in part),
                    z_order="-1",
                )
                ElementTree.SubElement(shape, "attribute", name="number").text = str(region.number)
        for c in self.classes.classes:
            if (guess == c.code).any():
                element.append(_mask_element(c.name, guess == c.code))

    def to_bytes(self) -> bytes:
        """The file."""
        ElementTree.indent(self.root)
        return ElementTree.tostring(self.root, encoding="utf-8", xml_declaration=True)


def _mask_element(name: str, mask: np.ndarray) -> ElementTree.Element:
    """A CVAT mask: run lengths along the rows of the box around it."""
    (top, bottom), (left, right) = (
        np.flatnonzero(mask.any(axis))[[0, -1]].tolist() for axis in (1, 0)
    )
    box = mask[top : bottom + 1, left : right + 1]
    runs = mask_to_runs(box, "C")
    return ElementTree.Element(
        "mask",
        label=name,
        source="auto",
        occluded="0",
        rle=", ".join(map(str, runs)),
        left=str(left),
        top=str(top),
        width=str(box.shape[1]),
        height=str(box.shape[0]),
        z_order="0",
    )


def read_cvat_xml(data: bytes, source: str, collector: Collector) -> None:
    """Take the shapes of a file of "CVAT for images 1.1", by their z_order and place in the file.

    Raises:
        UserError: it is no such file, or holds shapes that are no areas.
    """
    images, depth = 0, 0
    tags: Counter[str] = Counter()
    try:
        for event, element in iterparse(io.BytesIO(data), ("start", "end"), forbid_dtd=True):
            depth += 1 if event == "start" else -1
            if depth > 20:
                raise UserError(f"{source}: is nested too deeply; no labelling tool writes that")
            if event == "end" and element.tag == "image":
                images += 1
                _read_image(element, source, collector, tags)
                element.clear()
            elif event == "start" and element.tag == "track":
                raise UserError(f'{source}: is of a video; export "CVAT for images 1.1" instead')
    except DefusedXmlException as error:
        raise UserError(
            f"{source}: holds XML declarations that no labelling tool writes; not read"
        ) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{source}: is no XML that can be read ({shorten(str(error))})") from error
    if not images:
        raise UserError(f'{source}: has no images; export "CVAT for images 1.1" from CVAT')
    for name, count in tags.items():
        collector.remarks.append(
            f"{source}: tag {shorten(name)!r} of {count} images is no answer; only the tag "
            f"{collector.classes.classes[-1].name!r} is, which skips all asked regions of an image"
        )


def _read_image(
    element: ElementTree.Element, source: str, collector: Collector, tags: Counter[str]
) -> None:
    """Take the shapes of an image; tags that are no answers are counted."""
    file = element.get("name", "")
    place = f"{source}: image {shorten(file)}"
    image = collector.find(file)
    if image is None:
        return
    size = tuple(_whole(element, key, place) for key in ("height", "width"))
    if not collector.check_size(image, size, source):
        return
    with collector.canvas(image, source) as canvas:
        for shape in sorted(element, key=lambda shape: _layer(shape, place)):
            name = shape.get("label", "")
            if shape.tag == "tag":
                if collector.classes.code_of(name) == collector.classes.skip:
                    canvas.skip_all()
                    if image.packages > 1:
                        collector.problems.append(
                            f"{place}: its tag {shorten(name)!r} may be of any of {image.packages} "
                            f"rounds; add --package {image.package.folder}, or whichever it is of"
                        )
                else:
                    tags[name] += 1
                continue
            code = canvas.code_of(name)
            if code is None:
                continue
            if shape.tag in SHAPES:
                canvas.paint(code, SHAPES[shape.tag](shape, canvas, place))
            else:
                raise UserError(
                    f"{place}: has a {shorten(shape.tag)}; draw polygons, masks, boxes or ellipses"
                )


def _layer(shape: ElementTree.Element, place: str) -> tuple[bool, int, bool]:
    """How high a shape lies; between equals, the file's order decides.

    A tag is of the whole image, so it goes over all shapes. Of one layer (z_order), what people
    drew lies over shapes whose source is one of :data:`UNTOUCHED`: CVAT may write these after it.
    """
    drawn = shape.get("source") not in UNTOUCHED
    return shape.tag == "tag", _whole(shape, "z_order", place, 0), drawn


def _whole(element: ElementTree.Element, key: str, place: str, default: int | None = None) -> int:
    """An attribute that is a whole number."""
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        return int(float(text)) if abs(float(text)) < 1e9 else int("")
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{place}: {key} is {shorten(text)}, expected a whole number; export it again"
        ) from error


def _numbers(text: str | None, place: str) -> list[float]:
    """Numbers separated by commas and semicolons."""
    try:
        values = [float(v) for v in (text or "").replace(";", ",").split(",")]
    except ValueError as error:
        raise UserError(
            f"{place}: coordinates are {shorten(text)}, expected numbers; export it again"
        ) from error
    return finite(values, place)


def _polygon(shape: ElementTree.Element, canvas: Canvas, place: str) -> np.ndarray:
    points = shape.get("points", "")
    if points.count(";") > MAX_POINTS:
        raise UserError(f"{place}: a polygon has more than {MAX_POINTS} corners; simplify it")
    return polygon_mask([_numbers(points, place)], canvas.size, place)


def _box(shape: ElementTree.Element, canvas: Canvas, place: str) -> np.ndarray:
    keys = ("xtl", "ytl", "xbr", "ybr")
    left, top, right, bottom = (_numbers(shape.get(key), place)[0] for key in keys)
    corners = [left, top, right, top, right, bottom, left, bottom]
    center = (left + right) / 2, (top + bottom) / 2
    return _turned_mask(shape, corners, center, canvas, place)


def _ellipse(shape: ElementTree.Element, canvas: Canvas, place: str) -> np.ndarray:
    cx, cy, rx, ry = (_numbers(shape.get(key), place)[0] for key in ("cx", "cy", "rx", "ry"))
    turns = [2 * math.pi * i / 360 for i in range(360)]
    corners = [v for a in turns for v in (cx + rx * math.cos(a), cy + ry * math.sin(a))]
    return _turned_mask(shape, corners, (cx, cy), canvas, place)


def _turned_mask(
    shape: ElementTree.Element,
    corners: list[float],
    center: tuple[float, float],
    canvas: Canvas,
    place: str,
) -> np.ndarray:
    """(H, W) bool mask of a shape whose corners are turned about its centre, by degrees."""
    (degrees,) = _numbers(shape.get("rotation", "0"), place)[:1]
    return polygon_mask([turned(corners, degrees, center)], canvas.size, place)


def _mask(shape: ElementTree.Element, canvas: Canvas, place: str) -> np.ndarray:
    left, top, width, height = (
        _whole(shape, key, place) for key in ("left", "top", "width", "height")
    )
    rows, columns = canvas.size
    if min(left, top) < 0 or not 0 < width <= columns - left or not 0 < height <= rows - top:
        raise UserError(f"{place}: a mask does not lie within the image; export it again")
    mask = np.zeros(canvas.size, bool)
    if shape.get("rle") in ("", "0"):  # all of it was removed, by "Remove underlying pixels"
        return mask
    counts = [int(v) if v.is_integer() else -1 for v in _numbers(shape.get("rle"), place)]
    mask[top : top + height, left : left + width] = runs_to_mask(
        counts, (height, width), "C", place
    )
    return mask


SHAPES: dict[str, Callable[[ElementTree.Element, Canvas, str], np.ndarray]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}

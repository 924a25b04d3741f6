"""Label Studio: tasks with the first guess as brush strokes, a labelling interface, and its export.

Asked regions are shown as polygons of a label of their own; what is drawn with it is no answer.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np

from annotation.answers import Collector
from annotation.brush import decode_brush, encode_brush
from annotation.canvas import AskedImage, Canvas
from annotation.classes import ClassList
from annotation.coco import polygon_mask, turned
from annotation.drawing import polygons
from annotation.package import PackageImage
from annotation.untrusted import field, finite, shorten
from utils.errors import UserError

IMAGE, BRUSH, POLYGON, OUTLINE = "image", "brush", "polygon", "regions"
NAME = "package_image"
"""The field of a task that names its image, whatever becomes of the picture's address."""
KINDS = ("brushlabels", "polygonlabels", "rectanglelabels")
TIMES = ("updated_at", "created_at")
NO_SHAPES = (
    *("choices", "textarea", "relation", "rating"),
    *("number", "datetime", "taxonomy", "pairwise", "ranker"),
)
"""Results about an image or a region, that draw nothing."""
DRAFT_NOTE = "have drafts alone, which are no answers: submit them, and export again"
CHANGED_NOTE = (
    "have drafts beside what was submitted, which alone is taken: if these are later changes, "
    "update the tasks, and export again"
)
SKIPPED_NOTE = "were skipped, which is no answer; to leave regions out for good, paint them 'skip'"
REJECTED_NOTE = (
    "have annotations that a reviewer rejected, which are no answers: correct or accept them, and "
    "export again"
)
UNTOUCHED_NOTE = "are not submitted, and a first guess is no answer: submit them, and export again"


def labelling_interface(classes: ClassList) -> str:
    """The XML to paste into a project's Labeling Interface."""
    view = ElementTree.Element("View")
    image = {"name": IMAGE, "value": "$image", "zoom": "true", "zoomControl": "true"}
    ElementTree.SubElement(view, "Image", image)
    for tag, name, listed, header in (
        ("BrushLabels", BRUSH, classes.classes, "Paint with the brush"),
        ("PolygonLabels", POLYGON, classes.classes, "Or draw polygons"),
        ("PolygonLabels", OUTLINE, (classes.region,), "What is asked for (no answer)"),
    ):
        ElementTree.SubElement(view, "Header", value=header, size="6")
        style = {"opacity": "0", "strokeWidth": "2"} if name == OUTLINE else {}
        labels = ElementTree.SubElement(view, tag, name=name, toName=IMAGE, **style)
        for c in listed:
            color = "#{:02x}{:02x}{:02x}".format(*c.color)
            ElementTree.SubElement(labels, "Label", value=c.name, background=color)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def make_task(
    image: PackageImage,
    numbers: np.ndarray,
    guess: np.ndarray,
    classes: ClassList,
    address: str,
) -> dict[str, Any]:
    """A task as Label Studio imports it.

    Args:
        image: the entry of the package.
        numbers: (H, W) uint8 region numbers.
        guess: (H, W) uint8 codes.
        classes: of the package.
        address: of the picture, as the server sees it.
    """
    result = []
    for region in image.regions:
        for part, corners in enumerate(polygons(numbers == region.number)):
            points = (corners * (100 / image.width, 100 / image.height)).round(5).tolist()
            value = {"points": points, "polygonlabels": [classes.region.name], "closed": True}
            name = f"region_{region.number}_{part}"
            note = {"meta": {"text": [f"region {region.number}"]}}
            result.append(_result(image, name, OUTLINE, "polygonlabels", value) | note)
    for c in classes.classes:
        if (guess == c.code).any():
            value = {"format": "rle", "rle": encode_brush(guess == c.code), "brushlabels": [c.name]}
            result.append(_result(image, f"guess_{c.code}", BRUSH, "brushlabels", value))
    return {
        "data": {"image": address, NAME: image.name},
        "predictions": [{"model_version": "first guess", "result": result}],
    }


def _result(
    image: PackageImage, name: str, control: str, kind: str, value: dict[str, Any]
) -> dict[str, Any]:
    """One shape of a prediction, drawn with a control of the labelling interface."""
    return {
        "id": name,
        "from_name": control,
        "to_name": IMAGE,
        "type": kind,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": value,
    }


def read_label_studio(tasks: list[Any], source: str, collector: Collector) -> None:
    """Take the submitted annotations of an export in the format "JSON".

    Several annotations of an image are taken in the order in which they were last changed.

    Raises:
        UserError: the file is not as exports of Label Studio are.
    """
    undone = Counter()
    found: list[tuple[dict[str, Any], AskedImage, str]] = []
    for number, task in enumerate(tasks, 1):
        place = f"{source}: task {number}"
        if not isinstance(task, dict) or "annotations" not in task:  # such as "JSON-MIN"
            raise UserError(f'{place}: has no annotations; export in the format "JSON"')
        data = field(task, "data", dict, place)
        annotations = field(task, "annotations", list, place)
        submitted = [a for a in annotations if not field_or(a, "was_cancelled", False, place)]
        done = [annotation for annotation in submitted if not _is_rejected(annotation)]
        if len(done) < len(submitted):
            undone[REJECTED_NOTE] += 1
        if task.get("drafts"):
            undone[CHANGED_NOTE if submitted else DRAFT_NOTE] += 1
        elif not submitted:
            undone[SKIPPED_NOTE if annotations else UNTOUCHED_NOTE] += 1
        image = _image_of(data, collector) if done else None
        if image:
            found += [(annotation, image, place) for annotation in done]
    for annotation, image, place in sorted(found, key=lambda each: _time(each[0])):
        results = field(annotation, "result", list, place)
        if not _check_sizes(results, image, collector, place):
            continue
        with collector.canvas(image, place) as canvas:
            for result in results:
                _paint(result, canvas, place)
    for what, count in undone.items():
        collector.remarks.append(f"{source}: {count} of {len(tasks)} tasks {what}")


def field_or(entry: Any, key: str, default: Any, place: str) -> Any:
    """A field of an object that may be missing."""
    if not isinstance(entry, dict):
        raise UserError(f"{place}: holds {shorten(entry)}, expected an object; export it again")
    return entry.get(key, default)


def _image_of(data: Mapping[str, Any], collector: Collector) -> AskedImage | None:
    """The image that a task is about, by its name or by the picture's address in any field."""
    if data.get(NAME):
        return collector.find(str(data[NAME]))
    texts = [text for text in (data.get(IMAGE), *data.values()) if isinstance(text, str)]
    names = [name for text in texts for name in _names(text)] or [""]
    return collector.find(next(filter(collector.look_up, names), names[0]))


def _names(address: str) -> tuple[str, str]:
    """The file names that an address may mean; what follows "?" may be a signature."""
    path = re.sub(r"^.*[?&]d=", "", address)
    return path, unquote(path.partition("?")[0])


def _is_rejected(annotation: Mapping[str, Any]) -> bool:
    """Whether a reviewer rejected an annotation, and nobody mended it since."""
    if action := annotation.get("last_action"):
        return action == "rejected"
    reviews = annotation.get("reviews")
    reviews = [r for r in reviews if isinstance(r, dict)] if isinstance(reviews, list) else []
    return bool(reviews) and sorted(reviews, key=_time)[-1].get("accepted") is False


def _time(annotation: Mapping[str, Any]) -> datetime:
    """When an annotation was last changed; long ago, if nothing says so."""
    text = next((str(annotation[key]) for key in TIMES if annotation.get(key)), "")
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=timezone.utc)


def _check_sizes(results: list[Any], image: Any, collector: Collector, place: str) -> bool:
    """Whether all results are of the image's size."""
    for result in results:
        size = tuple(
            field_or(result, f"original_{key}", None, place) for key in ("height", "width")
        )
        known = all(type(v) is int for v in size)
        if known and not collector.check_size(image, size, place):
            return False
    return True


def _paint(result: Mapping[str, Any], canvas: Canvas, place: str) -> None:
    """Draw one result: brush strokes, a polygon, or a rectangle."""
    kind = field(result, "type", str, place)
    if kind in NO_SHAPES:
        return
    value = field(result, "value", dict, place)
    if f"{kind}labels" in KINDS or (kind in KINDS and not value.get(kind)):
        raise UserError(f"{place}: has a shape ({kind}) without a class; give it one, or delete it")
    if kind not in KINDS:
        raise UserError(f"{place}: has {shorten(kind)}; draw with brushes, polygons or rectangles")
    if field_or(result, "image_rotation", 0, place):
        raise UserError(f"{place}: the image was rotated while labelling; label it upright")
    for name in field(value, kind, list, place):
        code = canvas.code_of(name if isinstance(name, str) else repr(name))
        if code is not None:
            canvas.paint(code, _mask(kind, value, canvas.size, place))


def _mask(kind: str, value: Mapping[str, Any], size: tuple[int, int], place: str) -> np.ndarray:
    """(H, W) bool mask of a result's value; coordinates are percent of the image's sides."""
    if kind == "brushlabels":
        return decode_brush(value.get("rle"), size, place)
    rotation = 0.0
    if kind == "polygonlabels":
        flat = [v for point in field(value, "points", list, place) for v in _point(point, place)]
    else:
        keys = ("x", "y", "width", "height", "rotation")
        x, y, w, h, rotation = finite([value.get(key, 0) for key in keys], place)
        flat = [x, y, x + w, y, x + w, y + h, x, y + h]
    sides = (size[1], size[0]) * len(flat)
    corners = [v * side / 100 for v, side in zip(flat, sides, strict=False)]
    return polygon_mask([turned(corners, rotation, tuple(corners[:2]))], size, place)


def _point(point: Any, place: str) -> list[float]:
    corners = finite(point, place)
    if len(corners) != 2:
        raise UserError(f"{place}: a polygon has a corner of {len(corners)} numbers; remove it")
    return corners

"""Which format a file of answers has, and the reader of it."""

import os
import re
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from annotation.answers import Collector
from annotation.canvas import AskedImage
from annotation.coco import read_coco
from annotation.cvat import read_cvat_xml
from annotation.cvat_masks import LABEL_MAP, is_of_mask_archive, read_mask_archives
from annotation.label_studio import read_label_studio
from annotation.masks import OTHER_PICTURES, read_masks
from annotation.package import MANIFEST
from annotation.untrusted import Entry, open_entries, parse_json, shorten
from utils.errors import UserError

EXPECTED = (
    "expected a JSON export of Label Studio, a COCO JSON, an XML or mask archive of CVAT, or a "
    "folder or ZIP of label PNGs"
)
ARCHIVES = (".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz")
BACKUP = {"annotations.json", "task.json"}
"""What CVAT writes for each task into a backup."""
NAMELESS_STROKES = re.compile(r"task-\d+-annotation-\d+-")
"""Names in Label Studio's "Brush labels to PNG" and "to NumPy", which tell nothing of images."""
NO_ANSWERS = {
    ("unanswered_label_id", "label_ids"): "tells of label maps that import.py wrote, in label ids; "
    "name the tool's export that they were made from",
    ("class_names", "finished"): "tells of predictions that inference.py wrote; if people painted "
    "over them, name a folder of these files alone",
    ("shapes", "imagePath"): "is of labelme; convert its files with labelme2coco.py, which comes "
    "with it, and name the COCO file",
    ("items", "categories"): 'is of Datumaro; export "CVAT for images 1.1" or "COCO 1.0"',
}
"""Keys of JSON files that are no answers, or not in a form that is read, and what they are."""
SUBSET = r"(^|/)instances_[^/]*\.json$"
"""Names of the files of a project with several subsets in "COCO 1.0" of CVAT."""


def read_answers(paths: Sequence[Path], collector: Collector) -> None:
    """Take the answers of files and folders, of any of the formats, one after the other.

    An archive may hold the file, as those of CVAT and of COCO exports do. Pictures of one folder
    that are named one by one are read together, as the folder is.

    Raises:
        UserError: a file is of no format, or not as it should be.
    """

    def read_together(path: Path) -> tuple[bool, Path]:
        """What is equal for files that are read together: pictures, and of which folder."""
        is_picture = path.suffix.lower() in (".png", *OTHER_PICTURES) and path.is_file()
        return is_picture, path.parent if is_picture else path

    for (_, path), group in groupby(paths, read_together):
        files = list(group)
        if len(files) > 1:
            pictures = [
                Entry(file.name, partial(_read_picture, file), os.path.abspath(file))
                for file in files
            ]
            _read_entries(pictures, path, collector)
        else:
            with open_entries(files[0]) as entries:
                _read_entries(entries, files[0], collector)


def _read_picture(path: Path) -> bytes:
    with open_entries(path) as (entry,):
        return entry.read()


def _read_entries(entries: Sequence[Entry], path: Path, collector: Collector) -> None:
    """Take the answers of the files of one folder or archive."""
    names = {PurePosixPath(entry.name).name for entry in entries}
    whole = [entry for entry in entries if entry.suffix in (".json", ".xml")]
    if any(map(NAMELESS_STROKES.match, names)):
        raise UserError(
            f"{path}: holds brush strokes without the names of their images; export from "
            'Label Studio in the format "JSON"'
        )
    if MANIFEST in names:
        raise UserError(
            f"{path}: is a labelling package, with the first guess in each of its formats; "
            "name what was labelled: a tool's export, or the folder of its masks painted over"
        )
    left = []
    if LABEL_MAP in names:
        read_mask_archives(entries, str(path), collector)
        left = whole + [e for e in _maps(entries, collector) if not is_of_mask_archive(e)]
    elif len(whole) > 1 and not _are_subsets(whole):
        _refuse_several(whole, path)
    elif whole:
        for entry in whole:
            source = str(path) if entry.name == path.name else f"{path}: {shorten(entry.name)}"
            _read_file(entry, source, collector)
        left = _maps(entries, collector)
    elif any(entry.suffix == ".png" for entry in entries):
        read_masks(entries, str(path), collector)
    else:
        _refuse_without_answers(entries, path)
    left += [entry for entry in entries if entry.suffix in ARCHIVES]
    if left:
        collector.remarks.append(
            f"{path}: {shorten(left[0].name)} in it was not read ({len(left)} such files), as "
            "there are answers of another kind; if it holds some, too, name it as well"
        )


def _maps(entries: Sequence[Entry], collector: Collector) -> list[Entry]:
    """Pictures that may be label maps, as they have the name of an image, but are not that."""
    return [
        entry
        for entry in entries
        if entry.suffix == ".png"
        and (image := collector.look_up(entry.path))
        and not _is_photo(entry, image)
    ]


def _is_photo(entry: Entry, image: AskedImage) -> bool:
    """Whether a file is the image itself; one that cannot be read is not."""
    try:
        return image.is_photo(entry.read())
    except UserError:
        return False


def _are_subsets(entries: Sequence[Entry]) -> bool:
    """Whether files are what CVAT writes for each subset of a project in COCO."""
    return all(re.search(SUBSET, entry.name) for entry in entries)


def _refuse_without_answers(entries: Sequence[Entry], path: Path) -> NoReturn:
    """Say what is there instead of answers."""
    hint = ""
    for entry in entries:
        if entry.suffix in ARCHIVES:
            hint = (
                f" ({shorten(entry.name)} is an archive: unpack it, or name a ZIP archive itself)"
            )
        elif entry.suffix in (".jpg", ".jpeg"):
            hint = f" ({shorten(entry.name)} is JPEG, which changes labels)"
        elif entry.suffix in OTHER_PICTURES:
            hint = f" ({shorten(entry.name)} is no PNG; save label maps as PNG)"
        if hint:
            break
    raise UserError(f"{path}: holds no answers{hint}; {EXPECTED}")


def _refuse_several(entries: Sequence[Entry], path: Path) -> NoReturn:
    """Say that answers lie in several files, or that none of them would be read."""
    if {PurePosixPath(entry.name).name for entry in entries} >= BACKUP:
        raise UserError(f'{path}: is a backup of CVAT; export it as "CVAT for images 1.1"')
    first, listed = entries[0], ", ".join(shorten(entry.name) for entry in entries[:3])
    source = f"{path}: {shorten(first.name)}"
    if first.suffix == ".xml" and b"<image" not in (data := first.read()) and b"<object" in data:
        raise UserError(
            f'{source}: is of LabelMe or PASCAL VOC; export "CVAT for images 1.1" from CVAT, or '
            '"JSON" from Label Studio'
        )
    if first.suffix == ".json" and (other := _no_answers(parse_json(first.read(), source))):
        raise UserError(f"{source}: {other}")
    raise UserError(f"{path}: holds several files of answers ({listed}); name them one by one")


def _read_file(entry: Entry, source: str, collector: Collector) -> None:
    """Take the answers of a JSON or XML file."""
    data = entry.read()
    if entry.suffix == ".xml":
        read_cvat_xml(data, source, collector)
        return
    content = parse_json(data, source)
    if other := _no_answers(content):
        raise UserError(f"{source}: {other}")
    if isinstance(content, list):
        read_label_studio(content, source, collector)
    elif isinstance(content, dict) and {"data", "annotations"} <= content.keys():  # a single task
        read_label_studio([content], source, collector)
    elif isinstance(content, dict) and content.keys() & {"images", "annotations"}:
        read_coco(content, source, collector)
    else:
        raise UserError(f"{source}: is no export of a labelling tool; {EXPECTED}")


def _no_answers(content: Any) -> str:
    """What a JSON file is that looks like an export, but cannot hold answers; "" otherwise."""
    if isinstance(content, dict):
        for keys, what in NO_ANSWERS.items():
            if content.keys() >= set(keys):
                return what
    shapes = content.get("annotations") if isinstance(content, dict) else content
    first = shapes[0] if isinstance(shapes, list) and shapes else None
    if not isinstance(first, dict):
        return ""
    if "segments_info" in first:
        return (
            "is COCO for panoptic segmentation, whose classes lie in PNG files beside it; export "
            "COCO for instance segmentation"
        )
    if shapes is content and {"image_id", "category_id"} <= first.keys():
        return (
            "is a list of COCO results, without the names of images and classes; make it the "
            '"annotations" of a whole COCO file'
        )
    return ""

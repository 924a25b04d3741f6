"""What a run's data were when it began, so that a continuation notices when they have changed.

Of every image of a domain the record holds a digest: of its place in the list, of the sizes of its
files, and of the content of its superpixel map and ignore mask, which say what a region is; of a
few images, spread over the list, also that of the image's and label's content. Reading all images
and labels would take as long as an epoch, while a file that was replaced rarely keeps its size.

Times of modification are recorded, too, but only warned of: a copy to another disk, or a download,
gives new ones to the same files. Paths count from the data root for the same reason: data that was
moved as a whole are the same data.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataloader.dataset_info import DatasetInfo
from dataloader.ignore_mask import Masks
from dataloader.item import Item
from utils.errors import UserError, shown
from utils.files import map_files

log = logging.getLogger(__name__)

READ = 32  # images of a domain of which every file is read
DIGITS = 4  # of an image's digest, which serve to find the image that differs


def describe_data(
    items: Sequence[Item], root: str, info: DatasetInfo, *columns: str, masks: Masks | None = None
) -> dict:
    """A record of a domain's data, as JSON holds it.

    Args:
        items: the images.
        root: of the data.
        info: of the dataset, whose label ids and classes are recorded.
        columns: those of "image", "label" and "superpixel" that the run reads.
        masks: image path -> mask of the pixels that are never asked for.

    Returns:
        ``classes`` (digest of what info.json says of label ids, classes and scaling), ``labels``
        (of label ids and classes alone), ``left_out`` (of the classes that means leave out; not in
        records by older versions), ``regions`` (of the list, and of all superpixel maps and
        ignore masks), ``maps`` (of what these hold, wherever they lie), ``data`` and ``times`` (of
        all images), ``each_data`` and ``each_times`` (the first :data:`DIGITS` digits of each
        image's).

    Raises:
        UserError: a file cannot be read.
    """
    step = max(1, len(items) // READ)
    masks = masks or {}
    mask_content = lru_cache(maxsize=1)(_content)  # one mask may be that of all images

    def of_image(index: int) -> tuple[str, str, str, str]:
        data, times, regions, maps = (hashlib.blake2b() for _ in range(4))
        item = items[index]
        paths = {column: getattr(item, column) for column in columns}
        if item.image in masks:
            paths["ignore_mask"] = masks[item.image]
        for column, path in paths.items():
            place = f"{column} {_name(path, root)}\n".encode(errors="surrogateescape")
            data.update(place)
            regions.update(place)
            if not path:
                continue
            try:
                state = Path(path).stat()
                data.update(f"{state.st_size}\n".encode())
                times.update(f"{state.st_mtime_ns}\n".encode())
                if column in ("ignore_mask", "superpixel"):
                    content = (mask_content if column == "ignore_mask" else _content)(path)
                    data.update(content)
                    regions.update(content)
                    maps.update(content)
                elif index % step == 0:
                    data.update(_content(path))
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return tuple(each.hexdigest() for each in (data, times, regions, maps))

    data, times, regions, maps = zip(*map_files(of_image, range(len(items))), strict=True)
    labels = [info.class_names, sorted(info.label_to_train.items())]
    reading = [info.label_reader, sorted(info.label_colors.items())]
    return {
        "classes": _digest(json.dumps([*labels, info.random_scale, *reading])),
        "labels": _digest(json.dumps([*labels, *reading])),
        "left_out": _left_out(info),
        "regions": _digest("".join(regions)),
        "maps": _digest("".join(maps)),
        "data": _digest("".join(data)),
        "times": _digest("".join(times)),
        "each_data": "".join(digest[:DIGITS] for digest in data),
        "each_times": "".join(digest[:DIGITS] for digest in times),
    }


def validation_digest(validation: Mapping[str, Any], source: DatasetInfo) -> str:
    """A digest of what scores depend on beside the network.

    Args:
        validation: record of the data by :func:`describe_data`.
        source: the dataset whose missing classes means leave out.
    """
    parts = [validation[key] for key in ("data", "labels", "left_out")]
    return _digest("".join([*parts, _left_out(source)]))


def _left_out(info: DatasetInfo) -> str:
    """A digest of the classes that means leave out."""
    classes = [sorted(ids) for ids in (info.missing_classes, info.star_classes_without)]
    return _digest(json.dumps(classes))


def _content(path: str) -> bytes:
    """A digest of a file's content."""
    return hashlib.blake2b(Path(path).read_bytes()).digest()


def _name(path: str, root: str) -> str:
    """A path from the root; of one that lies elsewhere, only folder and file."""
    relative = os.path.relpath(path, root) if path else ""
    return "/".join(Path(path).parts[-2:]) if relative.startswith("..") else relative


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_data(
    name: str, items: Sequence[Item], now: dict[str, Any], before: Any, accept: bool = False
) -> None:
    """Refuse to continue a run with other data than it began with.

    Args:
        name: of the domain, for the error line: src, trg or val.
        items: its images.
        now: record of the data that are there.
        before: record of those that the run began with, as read from a file.
        accept: whether images, labels and what label ids stand for may have changed.

    Raises:
        UserError: they differ; names the first image that does.
    """
    before = before if isinstance(before, dict) else {}
    if change := _change(name, items, now, before):
        remedy = "put back what it began with, or start anew in another folder"
        if before.get("regions") != now["regions"]:
            raise UserError(f"--resume: {change}; {remedy}")
        if not accept:
            mended = "if they were mended, go on with --accept_changed_data"
            raise UserError(f"--resume: {change}; {remedy}; {mended}")
        log.warning("--resume: %s; the run goes on with them", change)
    elif before.get("times") != now["times"]:
        log.warning(
            "--resume: files in --%s_data_dir have other times of modification than when the run "
            "began, first those of %s; their sizes are the same, and so is the content of all that "
            "was read: %d images with their labels, and superpixel maps",
            name,
            _first_other(items, now["each_times"], before.get("each_times")),
            min(READ, len(items)),
        )


def _change(name: str, items: Sequence[Item], now: dict[str, Any], before: dict[str, Any]) -> str:
    """What has changed since a run began; "" if nothing has, but for times of modification."""
    if before.get("classes") != now["classes"]:
        return (
            f"label ids or classes of --{name}_dataset are not those that the run began with (its "
            "info.json was altered)"
        )
    if before.get("left_out", now["left_out"]) != now["left_out"]:
        return (
            f"missing_classes or star_classes_without of --{name}_dataset are not those that the "
            "run began with (its info.json was altered)"
        )
    each = before.get("each_data")
    images = len(each) // DIGITS if isinstance(each, str) else len(items)
    if images != len(items):
        return f"{len(items)} images in --{name}_data_dir, but {images} when the run began"
    if before.get("data") != now["data"]:
        return (
            f"the data in --{name}_data_dir are not those that the run began with; the first image "
            "that differs, in itself, its label, superpixel map or ignore mask, is "
            f"{_first_other(items, now['each_data'], each)}"
        )
    return ""


def check_rank(name: str, items: Sequence[Item], ours: dict, theirs: dict, rank: int) -> None:
    """Refuse to work on data that differ between ranks, as they do on machines of unlike copies.

    Args:
        name: of the domain, for the error line: src, trg or val.
        items: its images.
        ours: record of the data on rank 0.
        theirs: record of the data on another rank.
        rank: number of that rank.

    Raises:
        UserError: they differ; names the rank, the domain and the first image that differs.
    """
    remedy = "all machines need the same copy"
    if any(theirs[key] != ours[key] for key in ("classes", "left_out")):
        raise UserError(
            f"rank {rank}: label ids or classes of --{name}_dataset are not those of rank 0; "
            f"{remedy}"
        )
    if theirs["data"] != ours["data"]:
        images = len(theirs["each_data"]) // DIGITS
        first = _first_other(items, ours["each_data"], theirs["each_data"])
        raise UserError(
            f"rank {rank}: the data in --{name}_data_dir are not those of rank 0 ({images} images, "
            f"there {len(items)}); the first image that differs, in itself, its label or its "
            f"superpixel map, is {first}; {remedy}"
        )


def _first_other(items: Sequence[Item], now: str, before: Any) -> str:
    """Path of the first image whose digest differs."""
    before = before if isinstance(before, str) else ""
    for index, item in enumerate(items):
        place = slice(DIGITS * index, DIGITS * (index + 1))
        if now[place] != before[place]:
            return shown(item.image)
    return f"after {shown(items[-1].image)}"

"""Files below a folder that may be images: those that scripts and servers write there are none."""

import os
import posixpath
from collections.abc import Callable, Collection
from pathlib import Path

from utils.errors import UserError, shown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
"""Suffixes that files with images usually have, in lower case."""
FOREIGN = {
    "inference.json": "in folders of predictions",
    "train_ADA_settings.json": "in folders of runs",
    "warmup_settings.json": "in folders of runs",
}
"""Files that tell of a folder whose pictures are no images of a data set, and what it is."""
SERVER_FOLDERS = ("@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN")
"""What file servers put thumbnails and removed files into."""


def walk_files(
    folder: str | Path,
    skip: Collection[str | Path] = (),
    leave_out: Callable[[str, str], None] | None = None,
) -> list[str]:
    """Paths of all files below ``folder``, relative to it with "/", in the order of their parts.

    Hidden files and folders (.DS_Store, ._0001.png, .ipynb_checkpoints) are passed over; links to
    folders are followed, but for those that lead back to where they are. What lies in folders of
    predictions, of runs and of file servers (:data:`FOREIGN`) below ``folder`` is left out.

    Args:
        folder: where to begin.
        skip: folders that are passed over with all that is in them.
        leave_out: is given the reason and path of each picture that is left out.

    Raises:
        UserError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{shown(error.filename)}: cannot be read ({error.strerror}); see its permissions"
        )

    skipped = {os.path.realpath(path) for path in skip}
    paths = []
    foreign: dict[Path, str] = {}  # folder -> why what is in it is left out
    left_out: list[tuple[str, str]] = []
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = os.path.join(os.path.realpath(parent), "")
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders}
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and real[name] not in skipped
            and not here.startswith(os.path.join(real[name], ""))
        ]
        below = Path(parent).relative_to(folder)
        there = [(below / name).as_posix() for name in files if not name.startswith(".")]
        reason = foreign.get(below.parent) or _foreign(below.name, files)
        if reason:
            foreign[below] = reason
            left_out += [(path, reason) for path in there]
        else:
            paths += there
    for path, reason in sorted(left_out):
        if leave_out and posixpath.splitext(path)[1].lower() in IMAGE_SUFFIXES:
            leave_out(reason, path)
    return sorted(paths, key=lambda path: path.split("/"))


def _foreign(name: str, files: Collection[str]) -> str:
    """Why what is in a folder is left out, by its name, "" for the first, and files; "" if not."""
    if name in SERVER_FOLDERS:
        return "in folders of a file server"
    return next((why for mark, why in FOREIGN.items() if name and mark in files), "")

"""Files that are whole or absent: written beside their place, flushed, then moved into it."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from utils.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def lock_folder(folder: str | Path, flag: str) -> int | None:
    """Make and lock a folder until this process ends, however; returns the descriptor to keep.

    None where the file system, or the machine, has no such locks.

    Args:
        folder: to be this process's alone.
        flag: that names it.

    Raises:
        UserError: another process has it, or it cannot be made.
    """
    if fcntl is None:
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: cannot be used ({error.strerror}); choose another folder"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise UserError(
            f"{flag} {folder}: another run is at work in it; wait for it to end"
        ) from error
    return descriptor


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing; it appears (or is replaced) only when the block succeeds.

    Parent folders are made. Raises :class:`UserError` when the disk refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); free space or move it") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: str | Path, value: Any, **options: Any) -> None:
    """Write ``value`` as JSON, atomically; ``options`` go to :func:`json.dumps`."""
    write_text(path, json.dumps(value, **options) + "\n")


def write_png(path: str | Path, array: np.ndarray, note: str | None = None) -> None:
    """Write a (H, W) or (H, W, 3) uint8 array as PNG, atomically; ``note`` is its comment."""
    info = PngInfo()
    if note is not None:
        info.add_text("Comment", note)
    with atomic_write(path) as file:
        Image.fromarray(array).save(file, format="PNG", pnginfo=info)


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file, atomically."""
    with Path(source).open("rb") as original, atomic_write(path) as file:
        shutil.copyfileobj(original, file)


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays as an ``.npz``, atomically."""
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def read_json(path: str | Path, remedy: str) -> Any:
    """Read a JSON file; ``remedy`` ends the error line of one that cannot be read."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error

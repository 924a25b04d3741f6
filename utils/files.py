"""Files that are whole or absent: written beside their place, flushed, then moved into it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from utils.errors import UserError


@contextmanager
def locked_folder(folder: str | Path, flag: str) -> Iterator[None]:
    """Make a folder, and keep other runs out of it within the block.

    A file system that knows no locks keeps nobody out.

    Args:
        folder: to be this process's alone.
        flag: that names it.

    Raises:
        UserError: another process has it, or it cannot be made.
    """
    lock = FileLock(Path(folder) / ".lock", timeout=0)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{flag} {folder}: another run is at work in it; wait for it to end"
        ) from error
    except NotImplementedError:
        pass
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: cannot be used ({error.strerror}); choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing; it appears (or is replaced) only when the block succeeds.

    Parent folders are made. The temporary file is always a new one: a link of its name, which
    somebody might have put there, is removed and never followed.

    Raises:
        UserError: the disk refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); free space or move it") from error
    finally:
        with suppress(OSError):  # a folder that is none; the error above says it
            temporary.unlink()


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of :func:`atomic_write` in a folder that is locked.

    Folders below it are not looked into: they may be those of other runs.
    """
    for path in folder.glob(".*.*.tmp"):
        if path.name.split(".")[-2].isdecimal():
            path.unlink(missing_ok=True)


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
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error

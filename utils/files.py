"""Files that are whole or absent: written beside their place, flushed, then moved into it."""

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from utils.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None

Result = TypeVar("Result")
LONGEST_NAME = 200  # bytes; a temporary's name has some more, and file systems allow 255
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT
THREADS = 8  # that read files
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO may block


def map_files(
    function: Callable[..., Result], *arguments: Iterable, threads: int = THREADS
) -> list[Result]:
    """Return ``function``, which reads a file, of each of some arguments, in order.

    Args:
        function: called in threads.
        arguments: one iterable for each of its parameters, of equal lengths.
        threads: how many are at work; fewer for files that take much memory.
    """
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, *arguments))


@contextmanager
def locked_folder(
    folder: str | Path, flag: str, seconds: float = 0, who: str = "another run"
) -> Iterator[None]:
    """Make a folder, and keep other runs out of it within the block.

    A file system that knows no locks keeps nobody out.

    Args:
        folder: to be this process's alone.
        flag: that names it.
        seconds: to wait for another process.
        who: what the other process is.

    Raises:
        UserError: another process has it, or it cannot be made.
    """
    lock = FileLock(Path(folder) / ".lock", timeout=seconds)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not _is_plain(lock.lock_file):  # some versions of filelock would empty what it points to
            raise UserError(f"{flag} {folder}: its .lock is a link or no regular file; remove it")
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{flag} {folder}: {who} is at work in it; wait for it to end") from error
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


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def replace_folder(folder: Path, new: Path) -> None:
    """Put a new folder in the place of another, which may be absent; see :func:`recover_folder`."""
    _forget(folder)
    if folder.exists():
        folder.rename(_old(folder))
    new.rename(folder)
    _forget(folder)


def recover_folder(folder: Path) -> None:
    """Put back a folder that :func:`replace_folder` was killed at; whoever writes it may do so."""
    if not folder.exists() and _old(folder).exists():
        _old(folder).rename(folder)
    _forget(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _forget(folder: Path) -> None:
    """Remove the old folder; under another name, as what is half removed is not to be put back."""
    gone = folder.with_name(f".{folder.name}.gone")
    remove_folder(gone)
    if _old(folder).exists():
        _old(folder).rename(gone)
        remove_folder(gone)


@contextmanager
def locked_file(path: str | Path, seconds: float = 60) -> Iterator[bool]:
    """Hold the lock of a file within the block; another process that does is waited for.

    The file is made if need be, and stays. Yields False on a file system that knows no locks.

    Raises:
        UserError: another process has it for so many ``seconds``, or it cannot be opened.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = open_to_append(path)
        except PermissionError:  # another user's, which most file systems lock as well
            descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be opened ({error.strerror}); check the permissions of its folder"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        yield _wait_for_lock(file, path, seconds)


def _wait_for_lock(file: BinaryIO, path: str | Path, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            _lock(file, required=True)
            return fcntl is not None
        except (BlockingIOError, PermissionError) as error:
            if time.monotonic() > end:
                raise UserError(
                    f"{path}: locked by another run for {seconds:g} s; wait for it to end, and "
                    "repeat this command"
                ) from error
        except OSError:
            return False
        time.sleep(0.05)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing; it appears (or is replaced) only when the block succeeds.

    Parent folders are made. The temporary file is always a new one, of a random name, since
    processes of two machines that share a disk may have the same number. It is locked while it is
    written, so that :func:`remove_temporaries` tells it from those that killed processes left.

    Raises:
        UserError: the disk refuses.
    """
    path = Path(path)
    if not path.name:
        raise UserError(f"{path}: is a folder; name a file in it")
    temporary = path.with_name(f".{_short(path.name)}.{secrets.randbits(63)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason, remedy = error.strerror or error, "free space or move it"
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            remedy = (
                "choose another folder, or see its permissions (a data root may be a folder of "
                "links to images and labels)"
            )
        raise UserError(f"{path}: cannot be written ({reason}); {remedy}") from error
    finally:
        with suppress(OSError):  # such as a name that is too long, which is told already
            temporary.unlink(missing_ok=True)


def _short(name: str) -> str:
    """A file's name, or a digest of one that is too long for more to be added."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    return hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()


def remove_temporaries(folder: Path, names: Iterable[str] | None = None) -> None:
    """Remove what killed processes left of :func:`atomic_write` in a folder.

    Those that are being written now, perhaps by another machine, are locked and stay; on a file
    system that knows no locks, all stay. Folders below are not looked into.

    Args:
        folder: where the files were to be.
        names: the files that only this process writes; all of the folder if None.
    """
    ours = None if names is None else {_short(name) for name in names}
    for path in folder.glob(".*.*.tmp"):
        name, _, number = path.stem[1:].rpartition(".")
        if number.isdecimal() and (ours is None or name in ours) and _is_plain(path):
            with suppress(OSError), path.open("rb") as file:  # locked, or gone meanwhile
                _lock(file, required=True)
                path.unlink()


def _lock(file: BinaryIO, required: bool = False) -> None:
    """Lock an open file until it is closed; where that fails, raise OSError if ``required``."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if required:
            raise


def _is_plain(path: str | Path) -> bool:
    """Whether a path is a regular file, no link, or nothing is there."""
    try:
        return stat.S_ISREG(Path(path).lstat().st_mode)
    except FileNotFoundError:
        return True


def open_to_append(path: str | Path) -> int:
    """Open a regular file for reading and for writing at its end, and return its descriptor.

    It is made if need be; a link, which somebody might have put there, is not followed.

    Raises:
        OSError: it is a link or a device, or cannot be opened.
    """
    try:
        descriptor = os.open(path, APPEND | NO_LINK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "is a link; remove it", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file; remove it", str(path))
    return descriptor


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically; file names that are no UTF-8 keep their bytes."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="surrogateescape"))


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


def read_regular(path: str | Path) -> bytes:
    """Read a regular file, since reading a pipe or a device might never end.

    Raises:
        OSError: it is none, or cannot be read.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return Path(path).read_bytes()


def read_json(path: str | Path, remedy: str) -> Any:
    """Read a JSON file of UTF-8; ``remedy`` ends the error line of one that cannot be read.

    Raises:
        UserError: the file cannot be read, or is no JSON; see :func:`parse_json`.
    """
    try:
        return parse_json(read_regular(path))
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read (nested too deeply); {remedy}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error


def parse_json(data: bytes) -> Any:
    """The value of some JSON in UTF-8.

    Raises:
        ValueError: it is no JSON, or holds what is none: NaN, Infinity and floats beyond the range
            of float64.
        RecursionError: it is nested too deeply.
    """
    text = data.decode("utf-8-sig")
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite_float)


def _finite_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no finite number")

"""The columns of a region table as memory-mapped files, so that a stopped pass can continue.

A JSON file beside the columns records a fingerprint of the network and of what was measured, and
for each batch of images that is done a digest of its rows. Files with another fingerprint, and
files that were truncated or changed since, are made again.

Several ranks divide the batches. Those on the machine of rank 0 write their rows into its files;
those on other machines keep theirs in memory and send them to rank 0 whenever all ranks save, since
two machines that map one file of a shared file system would overwrite each other's rows. Rank 0
alone writes the record, so that a pass may continue with another number of ranks.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, open_memmap, write_array_header_1_0

from utils.distributed import SINGLE, World
from utils.errors import UserError
from utils.files import locked_folder, read_json, write_json

ColumnTypes = Mapping[str, tuple[type, tuple[int, ...]]]
SENT_ROWS = 1 << 16


@contextmanager
def feature_folder(folder: Path, run: Path) -> Iterator[None]:
    """Reserve a feature folder for the run in -p within the block.

    ``owner.json`` in it names the run, since the files of all runs have the same names. A folder
    below that of the run is its own, wherever both were moved to.

    Args:
        folder: the feature folder.
        run: the folder of the run (-p).

    Raises:
        UserError: another run uses the folder or has left features in it, or it cannot be made.
    """
    own = folder.resolve().is_relative_to(run.resolve())
    if folder.resolve() == run.resolve():  # -p is locked already
        yield
        return
    with locked_folder(folder, "--save_feat_dir"):
        note, owner = folder / "owner.json", {"run": str(run.resolve())}
        left = next(folder.glob("round[0-9][0-9]_*"), None)
        if left and not own and not (note.is_file() and read_json(note, "remove it") == owner):
            raise UserError(
                f"--save_feat_dir {folder}: holds features of another run ({left.name}); "
                "choose another folder, or remove them"
            )
        write_json(note, owner)
        yield


class ColumnFiles:
    """Files ``<name>_<column>.npy`` in a folder: those of a stopped pass, or new ones.

    Args:
        folder: folder of the files, made if necessary.
        name: name of the table, for example "round00_target".
        bounds: first row of each batch, and at the end the number of rows.
        types: dtype and row shape of each column.
        fingerprint: see :func:`utils.checkpoint.digest`.
        world: the ranks that divide the batches; rank 0 makes the files.

    Attributes:
        columns: the columns by name: memory-mapped files or, on ranks of another machine than that
            of rank 0, arrays in memory.
        digests: of each batch's rows; None for a batch that is still to be measured.

    Raises:
        UserError: the folder cannot be written, or has too little space.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        bounds: Sequence[int],
        types: ColumnTypes,
        fingerprint: str,
        world: World = SINGLE,
    ):
        self.paths = {column: folder / f"{name}_{column}.npy" for column in types}
        self.note_path = folder / f"{name}_progress.json"
        self.bounds = bounds
        self.rows = int(bounds[-1])
        self.types = types
        self.fingerprint = fingerprint
        self.world = world
        self.mapped = True
        self.columns: dict[str, np.ndarray] = {}
        self.digests: list[str | None] = [None] * (len(bounds) - 1)
        self._finished: dict[int, str] = {}
        try:
            if world.is_main and not self._reopen():
                self._make(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: region features cannot be written ({error.strerror or error}); "
                "see --save_feat_dir"
            ) from error
        self._join()

    @property
    def open_batches(self) -> list[int]:
        """Numbers of the batches that are still to be measured, ascending."""
        return [batch for batch, digest in enumerate(self.digests) if digest is None]

    def _join(self) -> None:
        """Map the files of rank 0 on the other ranks; where they are not the same, use memory."""
        if self.world.size == 1:
            return
        files = {column: _identity(path) for column, path in self.paths.items()}
        theirs, self.digests = self.world.broadcast((files, self.digests))
        if self.world.is_main:
            return
        self.mapped = self.world.beside_main and files == theirs
        for column, (dtype, shape) in self.types.items():
            if self.mapped:
                self.columns[column] = open_memmap(self.paths[column], "r+")
            else:  # the system gives memory only to rows that are written
                self.columns[column] = np.zeros((self.rows, *shape), dtype)

    def _reopen(self) -> bool:
        """Open the files of a stopped pass; return False if missing, damaged or of another pass."""
        digests = self._read_note()
        if digests is None:
            return False
        for column, (dtype, shape) in self.types.items():
            path, header = self.paths[column], _header(dtype, (self.rows, *shape))
            size = len(header) + self.rows * np.dtype((dtype, shape)).itemsize
            try:
                with path.open("rb") as file:
                    if file.read(len(header)) != header or path.stat().st_size != size:
                        return False
            except OSError:
                return False
            self.columns[column] = open_memmap(path, "r+")
        if any(d is not None and d != self._digest(batch) for batch, d in enumerate(digests)):
            return False
        self.digests = digests
        return True

    def _read_note(self) -> list[str | None] | None:
        """Return the recorded digest of each batch, if the record belongs to this pass."""
        try:
            note = read_json(self.note_path, "")
        except UserError:  # absent or damaged
            return None
        if not isinstance(note, dict) or note.get("fingerprint") != self.fingerprint:
            return None
        if note.pop("note", None) != _note_digest(note):  # which batches are done was altered
            return None
        batches = note.get("batches", [])  # earlier versions recorded something else
        return batches if len(batches) == len(self.digests) else None

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.note_path.unlink(missing_ok=True)
        for column, (dtype, shape) in self.types.items():
            path = self.paths[column]
            path.unlink(missing_ok=True)  # a link of this name is removed, not its target
            path.open("xb").close()
            self.columns[column] = open_memmap(path, "w+", dtype, (self.rows, *shape))
            reserve(path)

    def _digest(self, batch: int) -> str:
        """Return the digest of a batch's rows in all columns."""
        result, rows = hashlib.blake2b(digest_size=16), slice(*self.bounds[batch : batch + 2])
        for column in self.types:
            result.update(
                np.ascontiguousarray(self.columns[column][rows]).reshape(-1).view(np.uint8)
            )
        return result.hexdigest()

    def finish(self, batch: int) -> None:
        """Take note that the rows of a batch are filled; :meth:`save` makes it last."""
        self._finished[batch] = self._digest(batch)

    def save(self) -> None:
        """Bring what all ranks have measured to the disk, and record it; all ranks must call this.

        They wait for the slowest of them as long as it takes.
        """
        if not self.world.is_main:
            self._flush()
        for rank, (mapped, finished) in enumerate(self.world.gather((self.mapped, self._finished))):
            if not mapped:
                self._bring(rank, finished)
            for batch, digest in finished.items():
                self.digests[batch] = digest
        self._finished = {}
        if self.world.is_main:
            self._flush()
            note = {"fingerprint": self.fingerprint, "batches": self.digests}
            write_json(self.note_path, {**note, "note": _note_digest(note)})
        self.world.barrier()

    def _flush(self) -> None:
        for column in self.columns.values() if self.mapped else ():
            column.flush()

    def _bring(self, rank: int, batches: Iterable[int]) -> None:
        """Send the rows of batches from a rank to rank 0, which writes them."""
        rows = np.concatenate(
            [np.empty(0, np.int64), *(np.arange(*self.bounds[b : b + 2]) for b in batches)]
        )
        for block in np.split(rows, range(SENT_ROWS, len(rows), SENT_ROWS)):
            if self.world.rank == rank:
                self.world.send({name: values[block] for name, values in self.columns.items()}, 0)
            elif self.world.is_main:
                for name, values in self.world.receive(rank).items():
                    self.columns[name][block] = values


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others of the machine; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _header(dtype: type, shape: tuple[int, ...]) -> bytes:
    """How a file of such an array begins; NumPy's reader has many kinds of errors for others."""
    header = io.BytesIO()
    descr = dtype_to_descr(np.dtype(dtype))
    write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _note_digest(note: Mapping[str, Any]) -> str:
    text = json.dumps(note, sort_keys=True)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def reserve(path: Path) -> None:
    """Allocate a file's whole size on disk: a full disk would kill a process that maps the file."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not on this file system
                raise

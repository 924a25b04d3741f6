"""The columns of a region table as memory-mapped files, so that a stopped pass can continue.

A JSON file beside the columns records how many images are done, a fingerprint of the network and
of what was measured, and digests of the finished rows. Files with another fingerprint, and files
that were truncated or changed since, are made again.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, open_memmap, write_array_header_1_0
from torch import nn

from utils.errors import UserError
from utils.files import locked_folder, read_json, write_json

ColumnTypes = Mapping[str, tuple[type, tuple[int, ...]]]
HASH_ROWS = 1 << 16


def digest(networks: nn.Module, facts: Iterable) -> str:
    """Return a short fingerprint of network weights and of other facts that results depend on."""
    result = hashlib.blake2b(repr(list(facts)).encode(), digest_size=16)
    for name, value in networks.state_dict().items():
        result.update(name.encode())
        result.update(value.detach().cpu().contiguous().reshape(-1).numpy())
    return result.hexdigest()


@contextmanager
def feature_folder(folder: Path, run: Path) -> Iterator[None]:
    """Reserve a feature folder for the run in -p within the block.

    ``owner.json`` in it names the run, since the files of all runs have the same names.

    Args:
        folder: the feature folder.
        run: the folder of the run (-p).

    Raises:
        UserError: another run uses the folder or has left features in it, or it cannot be made.
    """
    if folder.resolve() == run.resolve():  # -p is locked already
        yield
        return
    with locked_folder(folder, "--save_feat_dir"):
        note, owner = folder / "owner.json", {"run": str(run.resolve())}
        left = next(folder.glob("round[0-9][0-9]_*"), None)
        if left and not (note.is_file() and read_json(note, "remove it") == owner):
            raise UserError(
                f"--save_feat_dir {folder}: holds features of another run ({left.name}); "
                "choose another folder, or remove them"
            )
        write_json(note, owner)
        yield


class ColumnFiles:
    """Files ``<name>_<column>.npy`` in a folder; see :meth:`open`.

    Attributes:
        columns: the memory-mapped arrays, by column name.
        images_done: number of images that an earlier, stopped pass has measured.
    """

    def __init__(self, folder: Path, name: str, rows: int, types: ColumnTypes, fingerprint: str):
        self.paths = {column: folder / f"{name}_{column}.npy" for column in types}
        self.note_path = folder / f"{name}_progress.json"
        self.rows = rows
        self.types = types
        self.fingerprint = fingerprint
        self.columns: dict[str, np.ndarray] = {}
        self.images_done = self.rows_done = 0
        self.hashes = {column: hashlib.blake2b(digest_size=16) for column in types}

    @classmethod
    def open(
        cls, folder: Path, name: str, rows: int, types: ColumnTypes, fingerprint: str
    ) -> "ColumnFiles":
        """Open the columns of a stopped pass, or make new ones.

        Args:
            folder: folder of the files, made if necessary.
            name: name of the table, for example "round00_target".
            rows: number of rows of every column.
            types: dtype and row shape of each column.
            fingerprint: see :func:`digest`.

        Raises:
            UserError: the folder cannot be written, or has too little space.
        """
        files = cls(folder, name, rows, types, fingerprint)
        try:
            if not files._reopen():
                files._make(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: region features cannot be written ({error.strerror or error}); "
                "see --save_feat_dir"
            ) from error
        return files

    def _reopen(self) -> bool:
        """Open the files of a stopped pass; return False if missing, damaged or of another pass."""
        note = self._read_note()
        if note is None:
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
        self._hash_rows(note["rows"])
        if {column: h.hexdigest() for column, h in self.hashes.items()} != note["digests"]:
            return False
        self.images_done = note["images"]
        return True

    def _read_note(self) -> dict[str, Any] | None:
        """Return the record of the finished rows, if it belongs to this pass."""
        try:
            note = read_json(self.note_path, "")
        except UserError:  # absent or damaged
            return None
        if not isinstance(note, dict) or note.get("fingerprint") != self.fingerprint:
            return None
        if note.pop("note", None) != _note_digest(note):  # how many images are done was altered
            return None
        return note if note["rows"] <= self.rows else None

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.note_path.unlink(missing_ok=True)
        for column, (dtype, shape) in self.types.items():
            path = self.paths[column]
            path.unlink(missing_ok=True)  # a link of this name is removed, not its target
            path.open("xb").close()
            self.columns[column] = open_memmap(path, "w+", dtype, (self.rows, *shape))
            reserve(path)
            self.hashes[column] = hashlib.blake2b(digest_size=16)
        self.rows_done = 0

    def _hash_rows(self, end: int) -> None:
        """Add the rows up to ``end`` to the digests."""
        for start in range(self.rows_done, end, HASH_ROWS):
            for column, array in self.columns.items():
                block = np.ascontiguousarray(array[start : min(start + HASH_ROWS, end)])
                self.hashes[column].update(block.reshape(-1).view(np.uint8))
        self.rows_done = end

    def save(self, images: int, rows: int) -> None:
        """Record that the first ``images`` images, with ``rows`` rows, are done and on disk."""
        self._hash_rows(rows)
        for column in self.columns.values():
            column.flush()
        digests = {column: h.hexdigest() for column, h in self.hashes.items()}
        note = {"images": images, "rows": rows, "fingerprint": self.fingerprint}
        note["digests"] = digests
        write_json(self.note_path, {**note, "note": _note_digest(note)})


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

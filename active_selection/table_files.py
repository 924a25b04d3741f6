"""The columns of a region table as mapped files, so that a pass can be taken up again.

Beside the columns lies a note of how many images are done, and of what was measured with which
network; files of anything else are never read.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from torch import nn

from utils.errors import UserError
from utils.files import lock_folder, read_json, write_json

ColumnTypes = Mapping[str, tuple[type, tuple[int, ...]]]


def digest(networks: nn.Module, facts: Iterable) -> str:
    """A short fingerprint of networks' weights and of whatever else results depend on."""
    result = hashlib.blake2b(repr(list(facts)).encode(), digest_size=16)
    for name, value in networks.state_dict().items():
        result.update(name.encode())
        result.update(value.detach().cpu().contiguous().reshape(-1).numpy())
    return result.hexdigest()


def lock_feature_folder(folder: Path, run: Path) -> None:
    """Take --save_feat_dir for the run in -p, as long as this process lives.

    A note in it says whose features it holds: files of all runs have the same names.

    Raises:
        UserError: another run is at work in it, or has left features there, or it cannot be made.
    """
    if folder.resolve() == run.resolve():
        return  # -p is taken
    lock_folder(folder, "--save_feat_dir")
    note, owner = folder / "owner.json", {"run": str(run.resolve())}
    left = next(folder.glob("round[0-9][0-9]_*"), None)
    if left and not (note.is_file() and read_json(note, "remove it") == owner):
        raise UserError(
            f"--save_feat_dir {folder}: holds features of another run ({left.name}); "
            "choose another folder, or remove them"
        )
    write_json(note, owner)


class TableFiles:
    """Files ``<name>_<column>.npy`` in a folder.

    Args:
        folder: made if need be.
        name: of the table, such as "round00_target".
        fingerprint: see :func:`digest`.
        types: dtype, and shape of a row, of each column.
    """

    def __init__(self, folder: Path, name: str, fingerprint: str, types: ColumnTypes):
        self.folder = folder
        self.name = name
        self.fingerprint = fingerprint
        self.types = types
        self.note = folder / f"{name}_progress.json"
        self.columns: dict[str, np.ndarray] = {}

    def open(self, rows: int) -> int:
        """Open the columns, of a pass that was begun or new; returns how many images are done.

        Raises:
            UserError: the folder cannot be written, or has too little space.
        """
        done = self._images_done()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for column, (dtype, shape) in self.types.items():
                path = self._path(column)
                if done:
                    self.columns[column] = open_memmap(path, "r+")
                else:
                    self.columns[column] = open_memmap(path, "w+", dtype, (rows, *shape))
                    reserve(path)
        except OSError as error:
            raise UserError(
                f"{self.folder}: region features cannot be written ({error.strerror}); "
                "see --save_feat_dir"
            ) from error
        return done

    def _path(self, column: str) -> Path:
        return self.folder / f"{self.name}_{column}.npy"

    def _images_done(self) -> int:
        if not self.note.is_file() or not all(self._path(c).is_file() for c in self.types):
            return 0
        note = read_json(self.note, "remove it")
        return note["images"] if note["fingerprint"] == self.fingerprint else 0

    def save(self, images: int) -> None:
        """Note that the first ``images`` images are done, once their rows are on disk."""
        for column in self.columns.values():
            column.flush()
        write_json(self.note, {"images": images, "fingerprint": self.fingerprint})

    def remove(self) -> None:
        """Remove all files."""
        self.columns.clear()
        for path in (self.note, *map(self._path, self.types)):
            path.unlink(missing_ok=True)


def reserve(path: Path) -> None:
    """Claim a file's whole size on disk: a mapped file that outgrows it would kill the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not on this file system
                raise

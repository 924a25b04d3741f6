"""Read and write files of ``torch.save`` that hold plain containers and dense tensors.

``torch.load(weights_only=True)`` executes no code from a file, but a small file can still make it
hang, crash or fill the memory. Here :class:`utils.pickle_reader.DataReader` reads the pickle, and
the values of a tensor must be in the file.
"""

import io
import mmap
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.files import atomic_write
from utils.pickle_reader import DataReader, RefusedError, open_regular, reason_of

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
BESIDES = {  # objects that other programs store beside the weights; they become plain values
    "argparse.Namespace": lambda *_: {},
    "collections.Counter": lambda counts=None: counts,
    **dict.fromkeys(
        (f"datetime.{kind}" for kind in ("date", "datetime", "time", "timedelta", "timezone")),
        lambda *parts: parts,
    ),
    "torch.Size": lambda sizes=(): sizes,
    "torch.device": lambda kind, *_: kind,
    **{str(dtype): str(dtype) for dtype in STORAGES.values()},
}
LEGACY = [0x1950A86A20F9469CFC6C, 1001]  # the first two numbers in files before PyTorch 1.6


def write_tensors(path: str | Path, value: Any) -> None:
    """Write ``value`` with ``torch.save``, atomically."""
    buffer = io.BytesIO()  # torch's own writer would hide the reason of a disk error
    torch.save(value, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_plain(path: str | Path) -> Any:
    """Read a file of plain containers and dense tensors onto the CPU, without executing anything.

    Time and memory are proportional to the size of the file. Files of PyTorch before 1.6 are also
    read. Parameters become tensors, NumPy scalars become numbers, and arrays become lists.

    Raises:
        UserError: the file is missing, damaged, or holds anything else.
    """
    try:
        with open_regular(path) as file:
            beginning = file.read(4)
            if beginning == b"PK\x03\x04":
                return _read_zip(file)
            if beginning.startswith(b"\x80"):  # a pickle
                return _read_legacy(file)
        raise RefusedError("torch.save writes other files" if beginning else "it is empty")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file may raise anything
        raise UserError(
            f"{path}: not a checkpoint of plain tensors ({reason_of(error)}); nothing in it was "
            "run; name another, or save the state dict alone"
        ) from error


class TensorReader(DataReader):
    """A :class:`DataReader` that also reads dense tensors and objects common beside them.

    Args:
        pickle_size: size of the pickle in bytes.
        file_size: size of the file in bytes, which the values of all tensors may not exceed.
        read_storage: called with a storage's name and the bytes (n,) to read its values into.
    """

    def __init__(
        self, pickle_size: int, file_size: int, read_storage: Callable[[str, np.ndarray], None]
    ):
        super().__init__(pickle_size)
        self.bytes_left = file_size
        self.read_storage = read_storage
        self.storages: dict[str, Tensor] = {}
        self.names |= STORAGES | BESIDES
        self.names |= dict.fromkeys(
            ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), self._tensor
        )
        self.names |= dict.fromkeys(
            ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
            lambda tensor, *_: tensor,
        )

    def persistent_load(self, identity: Any) -> Tensor:
        """Return the storage for ("storage", type, name, device, number of values)."""
        kind, dtype, name, _, length, *view = identity
        if kind != "storage" or type(dtype) is not torch.dtype or type(name) is not str:
            raise RefusedError("it refers to another file")
        if type(length) is not int or length < 0 or any(view):
            raise RefusedError("a storage has no size")
        if name not in self.storages:
            self.bytes_left -= length * dtype.itemsize
            if self.bytes_left < 0:
                raise RefusedError("its tensors are larger than the file")
            values = torch.empty(length * dtype.itemsize, dtype=torch.uint8)
            self.read_storage(name, values.numpy())
            self.storages[name] = values.view(dtype)
        storage = self.storages[name]
        if (storage.dtype, len(storage)) != (dtype, length):
            raise RefusedError("a storage occurs with two types or sizes")
        return storage

    def _tensor(
        self, storage: Tensor, offset: int, size: tuple, stride: tuple, *options: Any
    ) -> Tensor:
        """Return a view within a storage; ``options``: gradient flag, hooks and metadata."""
        numbers = (offset, *size, *stride)
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) or len(size) > 32:
            raise RefusedError("a tensor has no size")
        if not isinstance(storage, Tensor) or any(options[2:]):
            raise RefusedError("a tensor is not dense")
        values = 1
        for n in size:
            values *= n
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if values > len(storage) or (values and last >= len(storage)):
            raise RefusedError("a tensor is larger than its storage")
        return storage.as_strided(size, stride, offset) if values else storage[:0].reshape(size)


def _read_zip(file: BinaryIO) -> Any:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(e.compress_type or e.compress_size != e.file_size for e in entries):
            raise RefusedError("it is compressed")
        if sum(entry.file_size for entry in entries) > size:
            raise RefusedError("its entries overlap")
        roots = [e.filename[:-8] for e in entries if e.filename.endswith("/data.pkl")]
        if len(roots) != 1:
            raise RefusedError("torch.save writes other archives")
        root = roots[0]
        if f"{root}byteorder" in archive.namelist():
            _check_byte_order(archive.read(f"{root}byteorder").decode())

        def read_storage(name: str, values: np.ndarray) -> None:
            entry = archive.getinfo(f"{root}data/{name}")
            file.seek(entry.header_offset + 26)  # here are the lengths of name and extra field
            file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
            _read_into(file, values)
            if zlib.crc32(values) != entry.CRC:
                raise RefusedError("its values are damaged")

        data = archive.read(f"{root}data.pkl")
        return TensorReader(len(data), size, read_storage).load(io.BytesIO(data))


def _read_legacy(file: BinaryIO) -> Any:
    """Read five pickles (two numbers, machine, value, storage names), then the storages."""
    storages: dict[str, np.ndarray] = {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = TensorReader(len(data), len(data), storages.__setitem__)
        if [reader.load(data) for _ in LEGACY] != LEGACY:
            raise RefusedError("torch.save writes other files")
        machine, value, names = (reader.load(data) for _ in range(3))
        file.seek(data.tell())
    _check_byte_order("little" if machine["little_endian"] else "big")
    for name in names:
        if int.from_bytes(file.read(8), "little") != len(reader.storages[name]):
            raise RefusedError("a storage has two sizes")
        _read_into(file, storages.pop(name))
    if storages:
        raise RefusedError("it is cut short")
    return value


def _read_into(file: BinaryIO, values: np.ndarray) -> None:
    if file.readinto(values) != len(values):
        raise RefusedError("it is cut short")


def _check_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise RefusedError(f"it comes from a {order}-endian machine")

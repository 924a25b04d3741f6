"""Pickles that hold data only: nothing in a downloaded file runs, and none grows beyond its size.

Datalists and selections are plain lists, dicts, strings and numbers, in published files sometimes
with NumPy scalars and arrays. Those come out as plain numbers and lists.
"""

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.errors import UserError
from utils.files import atomic_write

REFUSED_OPCODES = {
    *("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"),
    *("NEXT_BUFFER", "READONLY_BUFFER", "FROZENSET"),
}
KEYS = (str, int, float, bool, bytes, type(None))
GROWTH = 16  # values that one byte of a file may stand for
CALL = 16  # values that a call or an empty set counts for


class _NotCallable:
    """Stands for a class that a pickle may name but not call."""


class _Dtype:
    """Stands for a NumPy dtype of plain numbers or strings while it is read."""

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r"[<>|=]?([biuf][1248]|U\d{1,4})", code):
            raise pickle.UnpicklingError(f"it holds an array of {code[:20]!r}")
        self.code = code.lstrip("<>|=")
        self.order = code[0] if code[0] in "<>" else "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def read(self, data: bytes) -> np.ndarray:
        """The values in ``data``."""
        return np.frombuffer(data, np.dtype(self.order + self.code))


class _Array(list):
    """Stands for a NumPy array while it is read, and becomes the list of its values."""

    def __init__(self, reader: "_DataUnpickler"):
        super().__init__()
        self.reader = reader

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.reader.count(len(data))
        values = dtype.read(data).reshape(shape, order="F" if fortran else "C")
        self[:] = values.tolist()


class _DataUnpickler(pickle._Unpickler):
    """Knows by name only what plain data and NumPy values need.

    It is the unpickler in Python, whose instructions can be watched: keys of dicts and members of
    sets must be plain, since hashing nested tuples may take for ever or crash.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.allowance = GROWTH * len(data)

    def _check_keys(self, keys: list) -> None:
        for key in keys:
            if not isinstance(key, KEYS):
                raise pickle.UnpicklingError(f"a {type(key).__name__} is a key or a set's member")

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_pairs(self) -> None:
        self._check_keys(self.stack[::2])  # all that follows the mark
        super().load_setitems()

    def load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_dict()

    def load_members(self) -> None:
        self._check_keys(self.stack)
        super().load_additems()

    def load_empty_set(self) -> None:
        self.count(CALL)
        super().load_empty_set()

    def load_reduce(self) -> None:
        self.count(CALL)
        super().load_reduce()

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_Array, _Dtype)):
            raise pickle.UnpicklingError("it sets attributes")
        super().load_build()

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_pairs,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_members,
        pickle.EMPTY_SET[0]: load_empty_set,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }

    def count(self, values: int) -> None:
        """Charge what a call makes against what a file of this size may make."""
        self.allowance -= values
        if self.allowance < 0:
            raise pickle.UnpicklingError("it would grow far beyond its size")

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("builtins", "list"): _NotCallable(),
            ("builtins", "set"): self._set,
            ("collections", "OrderedDict"): self._dict,
            ("collections", "defaultdict"): self._dict,
            ("_codecs", "encode"): self._encode,
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): _NotCallable(),
            ("numpy._core.multiarray", "scalar"): self._scalar,
            ("numpy._core.multiarray", "_reconstruct"): self._array,
            ("numpy._core.numeric", "_frombuffer"): self._array_of,
        }
        module = {"__builtin__": "builtins"}.get(module, module)  # as old protocols call it
        key = (module.replace("numpy.core.", "numpy._core."), name)
        if key not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data")
        return known[key]

    def _set(self, values: list = ()) -> set:
        self.count(len(values))
        self._check_keys(values)
        return set(values)

    def _dict(self, *_: Any) -> dict:
        return {}

    def _encode(self, text: str, _: str) -> bytes:
        self.count(len(text))
        return text.encode("latin-1")

    def _scalar(self, dtype: _Dtype, data: bytes) -> Any:
        (value,) = dtype.read(data).tolist()
        return value

    def _array(self, *_: Any) -> _Array:
        return _Array(self)

    def _array_of(self, data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
        array = _Array(self)
        array.__setstate__((1, shape, dtype, order == "F", data))
        return array


def _check_opcodes(data: bytes) -> None:
    """Refuse instructions that data does not need, and memo numbers that claim memory.

    Strings and bytes that claim to be longer than the file are found on the way.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in REFUSED_OPCODES:
            raise pickle.UnpicklingError(f"it holds the instruction {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > number:
            raise pickle.UnpicklingError("its memo is damaged")


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain containers, strings, numbers and NumPy values.

    NumPy scalars come out as numbers, arrays as lists.

    Raises:
        UserError: the file is missing, damaged, or names anything else.
    """
    try:
        data = Path(path).read_bytes()
        _check_opcodes(data)
        return _DataUnpickler(data).load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a pickle of data ({reason}); it was not loaded") from error


def save_pickle(path: str | Path, value: Any) -> None:
    """Write plain containers as a pickle (protocol 4), atomically.

    Equal values give equal bytes, whatever they share in memory.
    """
    with atomic_write(path) as file:
        pickle.dump(_canonical(value, {}), file, protocol=4)


def _canonical(value: Any, texts: dict[str, str]) -> Any:
    """A copy in which equal strings are one object, and no container is there twice."""
    if isinstance(value, str):
        return texts.setdefault(value, value)
    if isinstance(value, dict):
        return {_canonical(k, texts): _canonical(v, texts) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(v, texts) for v in value)
    return value

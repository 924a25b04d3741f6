"""Read pickles as data: nothing in them is executed, and time and memory stay bounded.

A pickle is a program for a small stack machine. The unpicklers of Python and of ``torch.load`` can
be kept from calling functions, but not from hashing nested tuples without end. This module
therefore executes only the few instructions that data needs, and refuses all others.
"""

import ntpath
import pickletools
import posixpath
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "NONE"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),  # text of Python 2
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
NEW = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
NEW |= {"NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
TUPLES = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
FILLS = {  # type of the container, and number of values to add; None: all since the mark
    **{"APPEND": (list, 1), "APPENDS": (list, None), "LIST": (list, None)},
    **{"SETITEM": (dict, 2), "SETITEMS": (dict, None), "DICT": (dict, None)},
    "ADDITEMS": (set, None),
}
MAX_KEY = 4096  # length of string keys, limit of integer keys; other keys can be made to collide
MAX_DEPTH = 64  # levels of nested containers, so that recursive code can walk through them
LONG = 64  # characters that count as one more value
PATHS = {
    f"pathlib.{pure}{kind}Path": flavour
    for kind, flavour in (("Posix", posixpath), ("Windows", ntpath))
    for pure in ("", "Pure")
}
GROWTH = 16  # values that one byte of a file may create


class RefusedError(Exception):
    """Raised for a file that is not plain data; the message says why."""


class Dtype:
    """A NumPy dtype of plain numbers or strings, while it is being read."""

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r"[<>|=]?([biuf][1248]|U\d{1,4})", code):
            raise RefusedError(f"it holds an array of {code[:20]!r}")
        self.type = np.dtype(code)


class DataReader:
    """Executes the pickle instructions that data needs.

    Time and memory are proportional to the size of the file. Keys are short strings and small
    integers, whose hashes cannot be made to collide. A pickle may name only the functions in
    ``names``, all defined in this project, and each is charged for the values that it makes.
    Containers in the result are nested at most 64 deep and never contain themselves. They hold a
    bounded number of values, even if shared values are counted each time, so that code that walks
    through them ends.

    NumPy scalars become numbers, arrays become lists, and paths become text.

    Args:
        size: size of the file in bytes.
    """

    def __init__(self, size: int):
        self.allowance = GROWTH * size
        self.names: dict[str, Any] = {
            "builtins.list": "list",  # only an argument, never called; so is numpy.ndarray
            "builtins.bytes": lambda: b"",
            "builtins.set": self._set,
            "collections.OrderedDict": self._ordered_dict,
            "collections.defaultdict": lambda *_: {},
            "_codecs.encode": self._encode,
            "numpy.dtype": Dtype,
            "numpy.ndarray": "ndarray",
            "numpy._core.multiarray.scalar": lambda dtype, data: self._values(dtype, data).item(),
            "numpy._core.multiarray._reconstruct": lambda *_: [],
            "numpy._core.numeric._frombuffer": lambda data, dtype, shape, order: self._array(
                shape, dtype, order == "F", data
            ),
        }
        self.names |= {name: partial(self._path, flavour) for name, flavour in PATHS.items()}

    def load(self, file: BinaryIO) -> Any:
        """Return the value of the pickle that begins at the file's position.

        Raises:
            RefusedError: it holds more than data. A damaged file may raise any other exception.
        """
        self.stack, self.marks, self.memo = [], [], {}
        start = file.tell()
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            name = opcode.name
            if name in LITERALS:
                if name.endswith("STRING") and not argument.isascii():
                    raise RefusedError("it holds text of Python 2 that is not ASCII")
                self.stack.append(argument)
            elif name in NEW:
                self.stack.append(NEW[name]())
            elif name in TUPLES:
                items = self._pop(TUPLES[name])
                self.stack.append(tuple(items))
            elif name in FILLS:
                kind, count = FILLS[name]
                items = self._pop(count)
                if name in ("LIST", "DICT"):
                    self.stack.append(kind())
                elif type(self.stack[-1]) is not kind:
                    raise RefusedError(f"it adds items to a value that is not a {kind.__name__}")
                self._fill(self.stack[-1], items)
            else:
                self._other(name, argument, number)
        if self.marks or len(self.stack) != 1:
            raise RefusedError("it is damaged")
        if self._size_and_depth(self.stack[0], {}, 1)[0] > GROWTH * (file.tell() - start):
            raise RefusedError("it would grow far beyond its size")
        return self.stack[0]

    def _other(self, name: str, argument: Any, number: int) -> None:
        """Execute an instruction that makes neither a literal nor a container."""
        stack = self.stack
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if argument > number:
                raise RefusedError("its memo is damaged")
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name == "GLOBAL":
            stack.append(self._find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(self._find(*self._pop(2)))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._pop(2)
            if not callable(function) or type(arguments) is not tuple:
                raise RefusedError("it calls something that is not a function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            self._build(stack[-2], stack.pop())
        elif name == "BINPERSID":
            stack.append(self.persistent_load(stack.pop()))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise RefusedError(f"it holds the instruction {name}")

    def charge(self, values: int) -> None:
        """Subtract values that a call makes from the number allowed for a file of this size."""
        self.allowance -= values
        if self.allowance < 0:
            raise RefusedError("it would grow far beyond its size")

    def persistent_load(self, identity: Any) -> Any:
        """Return an object stored outside the pickle; plain pickles have none."""
        raise RefusedError("it refers to another file")

    def _pop(self, count: int | None) -> list[Any]:
        """Remove and return the last ``count`` values of the stack, or all since the mark."""
        if len(self.stack) < (count or 0) or (count is None and not self.marks):
            raise RefusedError("it is damaged")
        if count is None:
            items, self.stack = self.stack, self.marks.pop()
            return items
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _fill(self, container: list | set | dict, items: list[Any]) -> None:
        """Add values to a list or set, or alternating keys and values to a dictionary."""
        if type(container) is list:
            container.extend(items)
            return
        keys = items if type(container) is set else items[::2]
        for key in keys:
            short = type(key) is str and len(key) <= MAX_KEY
            if not short and not (type(key) is int and 0 <= key < MAX_KEY):
                raise RefusedError(
                    f"a key, of type {type(key).__name__}, is neither a string of up to {MAX_KEY} "
                    f"characters nor an integer from 0 to {MAX_KEY - 1}"
                )
        container.update(keys if keys is items else zip(keys, items[1::2], strict=True))

    def _find(self, module: str, name: str) -> Any:
        """Return what a pickle names; old protocols and old NumPy use other module names."""
        if type(module) is not str or type(name) is not str:
            raise RefusedError("it is damaged")
        module = "builtins" if module == "__builtin__" else module
        module = "pathlib" if module == "pathlib._local" else module  # Python 3.13
        known = f"{module.replace('numpy.core.', 'numpy._core.')}.{name}"
        if known not in self.names:
            raise RefusedError(f"it names {known}, which is not data")
        return self.names[known]

    def _build(self, target: Any, state: Any) -> None:
        """Set the state of a NumPy array, which is a list here, or of a dtype."""
        if type(target) is list:
            _, shape, dtype, fortran, data = state
            target[:] = self._array(shape, dtype, fortran, data)
        elif isinstance(target, Dtype):
            if state[1] in ("<", ">"):
                target.type = target.type.newbyteorder(state[1])
        elif type(target) is not dict:  # attributes of a dictionary are ignored
            raise RefusedError("it sets attributes")

    def _values(self, dtype: Dtype, data: bytes) -> np.ndarray:
        self.charge(len(data))
        return np.frombuffer(data, dtype.type)

    def _array(self, shape: tuple, dtype: Dtype, fortran: bool, data: bytes) -> list[Any]:
        if len(shape) > MAX_DEPTH // 2 or not all(type(n) is int and n >= 0 for n in shape):
            raise RefusedError("it holds an array without a shape")
        lists = 1
        for n in shape:  # an array of shape (10^8, 0) is 10^8 lists
            lists *= n
            self.charge(lists)
        values = self._values(dtype, data)
        return values.reshape(shape or 1, order="F" if fortran else "C").tolist()

    def _encode(self, text: str, _: str) -> bytes:
        self.charge(len(text))
        return text.encode("latin-1")

    def _path(self, flavour: ModuleType, *parts: str) -> str:
        if not all(type(part) is str for part in parts):
            raise RefusedError("it holds a path that is not text")
        self.charge(sum(map(len, parts)))
        return flavour.join("", *parts) or "."

    def _set(self, values: list = ()) -> set:
        self.charge(len(values))
        made: set = set()
        self._fill(made, values)
        return made

    def _ordered_dict(self, pairs: list = ()) -> dict:
        self.charge(len(pairs))
        made: dict = {}
        self._fill(made, [part for key, value in pairs for part in (key, value)])
        return made

    def _size_and_depth(self, value: Any, known: dict, depth: int) -> tuple[int, int]:
        """Return how many values a value holds, shared ones counted each time, and its depth.

        Args:
            value: any value.
            known: results for the containers seen before, by ``id``.
            depth: nesting level of the value.
        """
        if isinstance(value, (str, bytes)):
            return 1 + len(value) // LONG, 0
        if not isinstance(value, (list, tuple, dict, set)):
            return 1, 0
        result = known.get(id(value))
        if depth + (result[1] if result else 1) > MAX_DEPTH:
            raise RefusedError("it is nested too deep")
        if not result:
            parts = value.values() if isinstance(value, dict) else value
            inner = [self._size_and_depth(part, known, depth + 1) for part in parts]
            size = 1 + sum(size for size, _ in inner)
            result = known[id(value)] = size, 1 + max((depth for _, depth in inner), default=0)
        return result


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to read its bytes; a pipe or a device might never end.

    Raises:
        OSError: it cannot be opened.
        RefusedError: it is not a regular file.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise RefusedError("it is no regular file")
    return Path(path).open("rb")


def reason_of(error: Exception) -> str:
    """Return why a file was refused, as one line of at most 200 printable characters."""
    text = str(error) or type(error).__name__
    if not isinstance(error, RefusedError):
        text = f"it is damaged: {text}"
    return "".join(c if c.isprintable() else " " for c in text[:200])

"""Pickles that hold data only: nothing in a downloaded file runs.

Datalists and selections are plain lists, dicts, strings and numbers, in published files sometimes
NumPy scalars. Only what those need can be named by a pickle that is read here.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import atomic_write

_ALLOWED = {
    "builtins": {"list", "dict", "set", "frozenset", "tuple", "int", "float", "str", "bool"},
    "collections": {"OrderedDict", "defaultdict"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain containers, strings, numbers and NumPy values.

    Raises:
        UserError: the file is missing, damaged, or names anything else.
    """
    try:
        data = Path(path).read_bytes()
        return _DataUnpickler(io.BytesIO(data)).load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{path}: not a data pickle ({error}); it was not loaded") from error


def save_pickle(path: str | Path, value: Any) -> None:
    """Write plain containers as a pickle (protocol 4), atomically."""
    with atomic_write(path) as file:
        pickle.dump(value, file, protocol=4)

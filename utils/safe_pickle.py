"""Read and write datalists and selections: pickles of plain lists, dicts, strings and numbers.

Published files also hold NumPy scalars and arrays, which are read as plain numbers and lists. Paths
of :mod:`pathlib`, which notebooks write, are read as text.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import atomic_write
from utils.pickle_reader import DataReader, RefusedError, open_regular, reason_of

OTHER_FILES = {
    b"\x1f\x8b": "it is compressed by gzip: unpack it",
    b"PK\x03\x04": "it is a ZIP archive: unpack it or, if torch.save wrote it, use pickle.dump",
}
"""Other files that are given for pickles, by their first bytes."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain containers, strings, numbers and NumPy values.

    Keys of dictionaries are strings of at most 4,096 characters, or integers below 4,096.

    Raises:
        UserError: the file is missing, damaged, or holds anything else.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
        for start, what in OTHER_FILES.items():
            if data.startswith(start):
                raise RefusedError(what)
        return DataReader(len(data)).load(io.BytesIO(data))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(
            f"{path}: not a pickle of data ({reason_of(error)}); it was not loaded, name another"
        ) from error


def save_pickle(path: str | Path, value: Any) -> None:
    """Write plain containers as a pickle (protocol 4), atomically.

    Equal values give equal bytes, even if they share objects in memory differently.
    """
    with atomic_write(path) as file:
        pickle.dump(_canonical(value, {}), file, protocol=4)


def _canonical(value: Any, texts: dict[str, str]) -> Any:
    """Return a copy in which equal strings are one object, and no container is shared."""
    if isinstance(value, str):
        return texts.setdefault(value, value)
    if isinstance(value, dict):
        return {_canonical(k, texts): _canonical(v, texts) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(v, texts) for v in value)
    return value

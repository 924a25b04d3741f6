"""What a run measures, as one JSON object a line in ``metrics.jsonl``.

Every line holds ``kind`` (what was measured), ``round`` (null in a warm-up), ``iteration`` (null
where a whole round is meant) and the values. A run that was stopped repeats the iterations since
its last saved state, and so writes some lines twice: the last one counts, which is what
:func:`read_metrics` returns.

=============  ==================================================================================
kind           values
=============  ==================================================================================
``train``      mean of each loss since the line before, ``lr`` of each parameter group,
               ``seconds_per_iteration``, ``waiting_percent`` (share of it waiting for data)
``validation`` ``mIoU`` and ``IoU`` (class name -> percent; null for a class that does not occur)
``selection``  ``name`` (strategy), ``budget``, ``pixels``, ``regions``
``stage``      ``name``, ``seconds`` that this process spent on it
=============  ==================================================================================
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from utils.errors import UserError


class Step(NamedTuple):
    """Where in a run something was measured."""

    round: int | None = None
    iteration: int | None = None


class Recorder:
    """Appends lines to a metrics file, which is made with the first of them.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._checked = False

    def write(self, kind: str, step: Step, **values: Any) -> None:
        """Append one line; numbers that are NaN or infinite become null.

        Raises:
            UserError: the file cannot be written.
        """
        line = json.dumps(_finite({"kind": kind, **step._asdict(), **values}))
        try:
            with self.path.open("a+b") as file:
                if not self._checked and file.seek(0, 2):
                    file.seek(-1, 2)
                    if file.read(1) != b"\n":  # a killed process left part of a line
                        file.write(b"\n")
                self._checked = True
                file.write(line.encode() + b"\n")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be written ({reason}); free space") from error

    @contextmanager
    def timed(self, name: str, step: Step) -> Iterator[None]:
        """Write how many seconds the block took, unless it raises."""
        since = time.monotonic()
        yield
        self.write("stage", step, name=name, seconds=round(time.monotonic() - since, 3))


def _finite(value: Any) -> Any:
    """A copy for JSON, which has no NaN: such numbers become None."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, in order; of several of one step, the last.

    A step is told by kind, round, iteration and name. Lines that are no JSON objects, as a killed
    process leaves them, are passed over.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the -p of a run"
        ) from error
    found: dict[tuple, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            key = tuple(str(entry.get(k)) for k in ("kind", "round", "iteration", "name"))
            found.pop(key, None)
            found[key] = entry
    return list(found.values())

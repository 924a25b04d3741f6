"""The measurements of a run, one JSON object per line of ``metrics.jsonl``.

Every line holds ``kind`` (what was measured), ``round`` (null in a warm-up), ``iteration`` (null
for a whole round) and the values. A continued run repeats the iterations since its last saved
state and writes their lines again. The last line of a step counts: :func:`read_metrics` returns
only that.

=============  ==================================================================================
kind           values
=============  ==================================================================================
``train``      mean of each loss since the previous line, ``lr`` of each parameter group,
               ``seconds_per_iteration``, ``waiting_percent`` (share of time waiting for data)
``validation`` ``mIoU`` and ``IoU`` (class name -> percent; null for a class that does not occur);
               ``confusion``: a row per class, the pixels of that label by predicted class; the
               last column counts predictions that are no class
``selection``  ``name`` (strategy), ``budget``, ``pixels``, ``regions``, ``void`` (regions without
               any class); labelled pixels are in ``AL_record/round_XX.json``
``stage``      ``name``, ``seconds`` that this process spent on the stage
=============  ==================================================================================
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from utils.errors import UserError
from utils.files import open_to_append, read_regular


class Step(NamedTuple):
    """The round and the iteration of a measurement."""

    round: int | None = None
    iteration: int | None = None


class Sink(Protocol):
    """Something else that every line goes to, such as :class:`utils.event_files.EventFiles`."""

    def continue_from(self, step: Step) -> None:
        """See :meth:`Recorder.continue_from`."""

    def write(self, kind: str, step: Step, values: Mapping[str, Any]) -> None:
        """Take the values of one line."""


class Recorder:
    """Appends lines to a metrics file.

    Args:
        path: the file; the first line creates it. None records nothing, on ranks other than 0.
        sink: gets every line after it is written.
    """

    def __init__(self, path: Path | None, sink: Sink | None = None):
        self.path = path
        self.sink = sink
        self._checked = False

    def continue_from(self, step: Step) -> None:
        """Tell the sink that a training goes on after this step, and will write all later ones."""
        if self.sink:
            self.sink.continue_from(step)

    def write(self, kind: str, step: Step, **values: Any) -> None:
        """Append one line; NaN and infinite numbers become null.

        Raises:
            UserError: the file cannot be written.
        """
        if self.path is None:
            return
        values = _finite(values)
        line = json.dumps({"kind": kind, **step._asdict(), **values})
        try:
            with os.fdopen(open_to_append(self.path), "a+b") as file:
                if not self._checked and file.seek(0, 2):
                    file.seek(-1, 2)
                    if file.read(1) != b"\n":  # a killed process left part of a line
                        file.write(b"\n")
                self._checked = True
                file.write(line.encode() + b"\n")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be written ({reason}); free space") from error
        if self.sink:
            self.sink.write(kind, step, values)

    @contextmanager
    def timed(self, name: str, step: Step) -> Iterator[None]:
        """Record the seconds that the block takes, unless it raises."""
        since = time.monotonic()
        yield
        self.write("stage", step, name=name, seconds=round(time.monotonic() - since, 3))


def _finite(value: Any) -> Any:
    """Return a copy for JSON, in which NaN and infinite numbers are None."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file in order; of several lines for one step, the last.

    Kind, round, iteration and name identify a step. Lines that are not JSON objects, as a killed
    process may leave them, are skipped.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = read_regular(path).splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the folder (-p) of a run"
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

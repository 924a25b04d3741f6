"""TensorBoard's event files: what the recorder writes, and pictures, for ``--tensorboard``.

The tag of a value is its place in a line of the metrics, such as ``validation/IoU/road`` or
``train/lr/0``. Steps count the iterations of all rounds together: those of round 2 follow those of
round 1. What belongs to a whole round is at the last of its iterations. A program writes one event
file; it begins with the step that it continues from, and TensorBoard forgets what earlier files
have from there on.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.recorder import Step

LEFT_OUT = ("stage",)
"""Kinds of lines that are no curves."""
TABLES = ("confusion",)
"""Values that are no curves; reports show them."""
Pictures = Callable[[], Iterable[tuple[str, np.ndarray]]]


def check_tensorboard() -> None:
    """Raise a :class:`UserError` if the package tensorboard cannot be imported."""
    try:
        import_module("tensorboard.summary.writer.record_writer")
        import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise UserError(
            f"--tensorboard: the package cannot be imported ({error}); pip install tensorboard"
        ) from error


class EventFiles:
    """Writes the values of a run to a folder of event files.

    Args:
        folder: of this run alone; made with the first value.
        total_itrs: iterations of a round, or of the warm-up.
        pictures: makes (name, (H, W, 3) uint8) pictures, which go with every validation.
    """

    def __init__(self, folder: Path, total_itrs: int, pictures: Pictures):
        self.folder = folder
        self.total_itrs = total_itrs
        self.pictures = pictures
        self.path: Path | None = None

    def continue_from(self, step: Step) -> None:
        """Forget what an earlier, stopped program wrote of later iterations than this one.

        Raises:
            UserError: the file cannot be written.
        """
        if self.path is None:
            self._begin((max((step.round or 0) - 1, 0)) * self.total_itrs + step.iteration + 1)

    def write(self, kind: str, step: Step, values: Mapping[str, Any]) -> None:
        """Write the numbers of one line of the metrics.

        Raises:
            UserError: the file cannot be written.
        """
        if kind in LEFT_OUT:
            return
        from torch.utils.tensorboard.summary import image, scalar

        place = self._place(step)
        if self.path is None:
            self._begin(place)
        name = values.get("name")
        shown = {key: value for key, value in values.items() if key not in TABLES}
        found = _numbers(f"{kind}/{name}" if name else kind, shown)
        summaries = [scalar(_unicode(tag), value) for tag, value in found]
        if kind == "validation":
            summaries += [
                image(_unicode(f"predictions/{name}"), picture, dataformats="HWC")
                for name, picture in self.pictures()
            ]
        self._append([{"step": place, "summary": summary} for summary in summaries])

    def _place(self, step: Step) -> int:
        """Return a step on the axis of all rounds; a round that trains nothing is at its end."""
        if step.round == 0:
            return 0
        before = ((step.round or 1) - 1) * self.total_itrs
        return before + (step.iteration or self.total_itrs)

    def _begin(self, place: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        files = len(list(self.folder.glob("events.out.tfevents.*")))
        self.path = self.folder / f"events.out.tfevents.{files:06d}"  # they are read in this order
        start = SessionLog(status=SessionLog.START)
        self._append([{"file_version": "brain.Event:2"}, {"step": place, "session_log": start}])

    def _append(self, events: Iterable[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        content = BytesIO()
        writer = RecordWriter(content)
        for event in events:
            writer.write(Event(wall_time=time.time(), **event).SerializeToString())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(content.getvalue())
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be written ({reason}); free space") from error


def _unicode(tag: str) -> str:
    """Return a tag without the surrogates that file names may have."""
    return tag.encode(errors="backslashreplace").decode()


def _numbers(tag: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield (tag, number) for all numbers in nested dicts and lists."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _numbers(f"{tag}/{key}", entry)
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _numbers(f"{tag}/{index}", entry)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield tag, value

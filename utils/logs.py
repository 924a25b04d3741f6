"""The log, written for people; programs read the metrics (:mod:`utils.recorder`)."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from tqdm import tqdm

from utils.errors import LineFormatter, UserError
from utils.files import open_to_append


class _Terminal(logging.StreamHandler):
    """Writes lines above the progress bars, not into them."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _LogFile(logging.FileHandler):
    """Writes to the end of a regular file; a link in its place is not followed."""

    def _open(self) -> TextIOWrapper:
        return os.fdopen(
            open_to_append(self.baseFilename), "a", encoding="utf-8", errors="backslashreplace"
        )


def start_log(path: Path | None = None, silent: bool = False) -> None:
    """Log to the terminal and, if a path is given, append to that file.

    Args:
        path: the file.
        silent: log nothing but errors, to the terminal alone: on ranks other than 0.

    Raises:
        UserError: the file cannot be written.
    """
    logging.raiseExceptions = False  # a log line that cannot be written must not end the run
    handlers: list[logging.Handler] = [_Terminal()]
    if path is not None and not silent:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(_LogFile(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); see -p") from error
    for handler in handlers:
        handler.setFormatter(LineFormatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(
        level=logging.ERROR if silent else logging.INFO, handlers=handlers, force=True
    )


@contextmanager
def collected(name: str) -> Iterator[list[str]]:
    """Within the block, put what is logged below a name into a list, and nowhere else."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]

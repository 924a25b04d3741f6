"""The log, written for people; programs read the metrics (:mod:`utils.recorder`)."""

import logging
from pathlib import Path

from utils.errors import UserError


def start_log(path: Path | None = None) -> None:
    """Log to the terminal and, if a path is given, append to that file.

    Raises:
        UserError: the file cannot be written.
    """
    logging.raiseExceptions = False  # a log line that cannot be written must not end the run
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); see -p") from error
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=handlers,
        force=True,
    )

"""How a script tells of problems: one clear line, never a traceback."""

import logging
import os
import re
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from utils.resources import resource_problem
from utils.stopping import SIGNALS, Stopped, allow_interrupts

FIRST_SPEAKS = 30.0
"""Seconds in which the first process of a machine, which fails alike, may say so for all."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line: the file or flag, what is wrong with it, and what to do.
    """

    @property
    def line(self) -> str:
        """The message, also when a data worker wrapped it into a traceback of its own."""
        text = str(self).strip()
        marker = f"{type(self).__module__}.{type(self).__name__}: "
        if text.startswith("Caught ") and marker in text:
            text = text.rpartition(marker)[2]
        return shown(text)


class WrongColumns(UserError):
    """The lines of a list have other columns than those that are expected."""


class NoLabels(UserError):
    """Images have no labels at all: they are elsewhere, or still to be made."""


def shown(text: object) -> str:
    """A text or a file name for messages: on one line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


class LineFormatter(logging.Formatter):
    """Marks warnings as such, as :func:`run` marks the line of an error."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


class _Console:
    """An output stream whose reader may go away, or whose disk may fill up: the run goes on."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        """Send what follows, and what is buffered, nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def run(main: Callable[[], None], parser: Callable[[], ArgumentParser] | None = None) -> None:
    """Run a script's ``main``.

    A :class:`UserError`, a file that cannot be used, or too little memory ends it with one line and
    exit code 2; SIGTERM and Ctrl-C with 128 and the signal's number, scripts that listen for them
    (:class:`utils.stopping.StopRequest`) not before their state is saved.

    Args:
        main: the script.
        parser: makes the parser of its command line, whose flags the line on too little memory may
            name.
    """
    allow_interrupts()
    _open_standard_files()
    logging.lastResort.setFormatter(LineFormatter())  # of scripts that start no log
    for name in ("stdout", "stderr"):  # None where the shell closed it
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: PTH123, SIM115
        setattr(sys, name, _Console(stream))
    try:
        main()
        sys.stdout.flush()
    except BaseException as error:
        line, code = ending_of(error, parser)
        if line is None:
            raise
        _end(line, code)


def ending_of(
    error: BaseException, parser: Callable[[], ArgumentParser] | None = None
) -> tuple[str | None, int]:
    """Return the line and the exit code with which an exception ends a script.

    The line is None for errors of the program itself, which end it with a traceback.
    """
    if isinstance(error, UserError):  # what reads a file may take lack of memory for a fault of it
        problem = error.__cause__ and _resource_problem(error.__cause__, parser)
        return f"error: {problem or error.line}", 2
    if isinstance(error, Stopped):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped by SIGINT", 128 + signal.SIGINT
    problem = None
    if isinstance(error, Exception):
        problem = _resource_problem(error, parser) or _file_problem(error)
    return (f"error: {problem}", 2) if problem else (None, 1)


def _resource_problem(
    error: BaseException, parser: Callable[[], ArgumentParser] | None
) -> str | None:
    actions = parser()._actions if parser else ()
    return resource_problem(error, {flag for action in actions for flag in action.option_strings})


def _open_standard_files() -> None:
    """Open those of descriptors 0 to 2 that the shell closed.

    Else the next file would get such a descriptor, and what a library prints would go into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _file_problem(error: Exception) -> str | None:
    """One line on a file that the system refuses wherever it is used; None for other errors."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    return shown(f"{error.filename}: {error.strerror}; check the path and its permissions")


def of_rank(line: str, rank: int | str) -> str:
    """An error line that tells which of several processes it comes from."""
    return re.sub("^error: ", f"error: rank {rank}: ", line)


def _end(line: str, code: int) -> None:
    # Half-made objects, such as a data loader without its workers, complain when they are removed.
    sys.unraisablehook = lambda _: None
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line, file=sys.stderr)
    elif code == 2:
        _let_first_speak()
        print(of_rank(line, os.environ.get("RANK", os.environ["LOCAL_RANK"])), file=sys.stderr)
    sys.exit(code)


def _let_first_speak() -> None:
    """In another process than the first that torchrun started here: let that one say what is wrong.

    It may still be importing. As soon as any process ends, torchrun ends all others: if this one
    did not wait, there might be no line at all.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    time.sleep(FIRST_SPEAKS)

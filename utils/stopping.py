"""Stopping on request: signals end a script only after its state is saved.

These are Ctrl-C, SIGTERM, SIGUSR1 (which clusters may be asked to send before a job's time is up),
and SIGHUP, when a terminal is closed or its connection breaks.
"""

import math
import os
import signal
import time
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def end_at_interrupt() -> None:
    """While a script still imports, which takes seconds: Ctrl-C ends it with one line."""
    signal.signal(signal.SIGINT, _end)


def allow_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(signum: int, _: FrameType | None) -> NoReturn:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # torchrun sends the signal to all its processes
        os.write(2, b"stopped by SIGINT\n")
    os._exit(128 + signum)


class Stopped(BaseException):
    """Raised at the next safe point after a signal has asked to stop."""

    def __init__(self, signum: int, remedy: str = "go on with --resume"):
        super().__init__(f"stopped by {signal.Signals(signum).name}; {remedy}")
        self.exit_code = 128 + signum


class StopRequest:
    """Remembers the first signal; a later one of the same kind ends the process at once.

    Attributes:
        signum: of the signal that has asked to stop; None if there was none.
        patience: seconds after the first signal in which another one changes nothing. torchrun
            passes on to its processes what a terminal or a scheduler has sent to all of them.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.patience = 0.0
        self._since = math.inf
        self._terminals: list[int] = []

    def listen(self) -> None:
        """Handle the signals from now on, but for a SIGHUP that nohup ignores."""
        self._since = math.inf
        self._terminals = [fd for fd in (1, 2) if os.isatty(fd)]
        for signum in SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._remember)

    def _remember(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        if signum == signal.SIGHUP:
            self._leave_terminals()
        self._since = min(self._since, time.monotonic())
        if time.monotonic() - self._since >= self.patience:
            signal.signal(signum, signal.SIG_DFL)

    def _leave_terminals(self) -> None:
        """Write to nowhere what was for a terminal: one that is gone would end the process."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in self._terminals:
            os.dup2(nowhere, fd)
        os.close(nowhere)

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal has arrived."""
        if self.signum is not None:
            raise Stopped(self.signum)


STOP = StopRequest()
"""The only instance, since signals belong to the process."""

"""Stopping on request: SIGTERM and Ctrl-C end a script only after its state is saved."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised at the next safe point after a signal has asked to stop."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}; go on with --resume")
        self.exit_code = 128 + signum


class StopRequest:
    """Remembers the first signal; a second one of the same kind ends the process at once."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def listen(self) -> None:
        """Handle SIGTERM and Ctrl-C from now on."""
        for signum in SIGNALS:
            signal.signal(signum, self._remember)

    def _remember(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal has arrived."""
        if self.signum is not None:
            raise Stopped(self.signum)


STOP = StopRequest()
"""The only instance, since signals belong to the process."""

"""How a script ends when it cannot go on: one clear line, never a traceback."""

import signal
import sys
from collections.abc import Callable

from utils.stopping import Stopped


class UserError(Exception):
    """Something the user can mend.

    The message is one line: the file or flag, what is wrong with it, and what to do.
    """

    @property
    def line(self) -> str:
        """The message, also when a data worker wrapped it into a traceback of its own."""
        last = str(self).strip().splitlines()[-1]
        return last.removeprefix(f"{type(self).__module__}.{type(self).__name__}: ")


def run(main: Callable[[], None]) -> None:
    """Run a script's ``main``.

    A :class:`UserError` ends it with one line and exit code 2; SIGTERM and Ctrl-C with 128 and the
    signal's number, scripts that listen for them (:class:`utils.stopping.StopRequest`) not before
    their state is saved.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error.line}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)

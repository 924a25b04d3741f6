"""How a script fails: one clear line for what the user can mend, never a traceback."""

import sys
from collections.abc import Callable


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
    """Run a script's ``main``; a :class:`UserError` ends it with one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error.line}", file=sys.stderr)
        sys.exit(2)

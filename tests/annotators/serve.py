"""Run Label Studio's server until standard input ends, in the environment that it is installed in.

Whoever starts it holds the other end of the pipe: however that process ends, the server ends too.
"""

import os
import sys
import threading

from label_studio.server import main


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    main()

"""Progress bars with rate and time left, silent where stderr is not a terminal."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(steps: Iterable | None = None, **options: Any) -> tqdm:
    """Return a bar over these steps, or one to update by hand; ``options`` are those of tqdm."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # not a terminal, or no file
        columns = 0
    # tqdm prints an empty bar on a terminal of 0 x 0, as within `script` and some containers.
    shape = {} if columns else {"ncols": 80, "nrows": 24}
    return tqdm(steps, disable=None, **shape, **options)

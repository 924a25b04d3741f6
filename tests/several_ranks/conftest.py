"""Runs of several processes that are killed again and again: `make test-ranks`.

They take minutes, and so are no part of `make test`, which kills such runs at two moments.
"""

import os

collect_ignore_glob = [] if os.environ.get("TEST_RANKS") else ["test_*.py"]

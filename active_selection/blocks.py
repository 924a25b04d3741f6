"""Rows in blocks, so that memory does not grow with them."""

from collections.abc import Iterator

BLOCK_ROWS = 4096


def row_blocks(count: int) -> Iterator[slice]:
    """Slices that part ``count`` rows."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS))

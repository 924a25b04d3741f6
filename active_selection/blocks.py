"""Blocks of rows, so that the memory of temporaries does not grow with the number of rows."""

from collections.abc import Iterator

BLOCK_ROWS = 4096


def row_blocks(count: int) -> Iterator[slice]:
    """Consecutive slices of at most ``BLOCK_ROWS`` rows that cover ``count`` rows."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS))

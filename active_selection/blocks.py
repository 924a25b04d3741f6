"""Blocks of rows, so that the memory of temporaries does not grow with the number of rows."""

from collections.abc import Iterator

import torch

BLOCK_ROWS = 4096


def row_blocks(count: int, rows: int = BLOCK_ROWS) -> Iterator[slice]:
    """Consecutive slices of at most ``rows`` rows that cover ``count`` rows."""
    return (slice(start, start + rows) for start in range(0, count, rows))


def on_accelerator(device: torch.device) -> bool:
    """True for a device to which every operation is launched, at a cost of some microseconds.

    There, few operations on large blocks are fast; on a CPU, many on blocks that fit its cache.
    """
    return device.type != "cpu"

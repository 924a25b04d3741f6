"""Lines of Markdown tables, and figures of samples in their cells."""

from collections.abc import Iterator

import numpy as np


def header(*names: str) -> Iterator[str]:
    """Yield the first two lines of a Markdown table."""
    yield row(*names)
    yield "|---" * len(names) + "|"


def row(*cells: object) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def deviation(values: np.ndarray) -> np.ndarray:
    """Return the sample's standard deviation along the first axis; 0 for a single value."""
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def spread(values: np.ndarray) -> str:
    """Format "mean ± standard deviation" of a sample (n,)."""
    more = f" ± {deviation(values):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{more}"


def difference(values: np.ndarray) -> str:
    """Format "mean ± standard error of the mean" of differences (n,), with a sign."""
    more = f" ± {deviation(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{more}"

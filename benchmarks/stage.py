"""A stage of the benchmark: a task of the project, its plain reference, and how they compare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Work = Callable[[], Any]
Prepare = Callable[[], tuple[Work, Work]]
Check = Callable[[Any, Any], str]


@dataclass(frozen=True)
class Stage:
    """A task that both the project and a plain reference carry out.

    Attributes:
        prepare: makes the inputs, and returns the functions (ours, reference) to be timed.
        target_ratio: intended ratio of the reference's time to the project's.
        check: compares the two results, ours first; raises AssertionError unless they agree, and
            returns a note for the report.
        cores: number of cores that both may use.
        runs: number of timings of each, in turn; the medians are reported.
        own_memory: True if the work is done in this process, so that its memory can be measured.
    """

    prepare: Prepare
    target_ratio: float
    check: Check
    cores: int = 1
    runs: int = 5
    own_memory: bool = True


def equal(ours: Any, reference: Any) -> str:
    """Check that two results are equal, by ``==``."""
    assert ours == reference
    return "equal"


def close(tolerance: float) -> Callable[[Any, Any], str]:
    """Return a check of arrays or tuples of arrays; its note is the largest absolute difference."""

    def check(ours: Any, reference: Any) -> str:
        worst = 0.0
        both = (ours, reference) if isinstance(ours, tuple) else ((ours,), (reference,))
        for a, b in zip(*both, strict=True):
            a, b = np.asarray(a), np.asarray(b)
            assert a.shape == b.shape, (a.shape, b.shape)
            assert np.array_equal(np.isnan(a), np.isnan(b))
            worst = max(worst, float(np.nanmax(np.abs(a - b))))
        assert worst <= tolerance, worst
        return f"largest difference {worst:.1e}"

    return check


def stage(
    target_ratio: float,
    check: Check = equal,
    cores: int = 1,
    runs: int = 5,
    own_memory: bool = True,
) -> Callable[[Prepare], Stage]:
    """Decorate a function that prepares work, to make it a :class:`Stage`."""

    def decorate(prepare: Prepare) -> Stage:
        return Stage(prepare, target_ratio, check, cores, runs, own_memory)

    return decorate

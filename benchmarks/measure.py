"""Time and peak memory of two functions that do the same, run in turn."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil


@dataclass
class Stage:
    """A piece of work, done by the project and by a plain reference.

    Attributes:
        ours, reference: the same work.
        check: raises AssertionError unless the two results, in this order, agree; returns a note.
        runs: of each, in turn; the median counts.
        target_ratio: reference / ours that is aimed at.
        own_memory: whether the work is done in this process, whose memory is measured.
    """

    ours: Callable[[], Any]
    reference: Callable[[], Any]
    check: Callable[[Any, Any], str | None]
    runs: int = 5
    target_ratio: float = 1.0
    own_memory: bool = True


def close(tolerance: float) -> Callable[[Any, Any], str]:
    """A check of arrays, or tuples of them; the note tells the largest difference."""

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


def measure(stage: Stage) -> dict[str, Any]:
    """Seconds (medians), their ratio, and peak memory beyond what the inputs take, in MB."""
    note = stage.check(stage.ours(), stage.reference())  # and both are warm now
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(stage.runs):
        for name, taken in seconds.items():
            since = time.perf_counter()
            getattr(stage, name)()
            taken.append(time.perf_counter() - since)
    ours, reference = median(seconds["ours"]), median(seconds["reference"])
    peak = {name: peak_mb(getattr(stage, name)) for name in seconds} if stage.own_memory else None
    return {
        "ours": ours,
        "reference": reference,
        "ratio": reference / ours,
        "target_ratio": stage.target_ratio,
        "peak_mb": peak,
        "note": note or "",
    }


def peak_mb(function: Callable[[], Any]) -> float:
    """Most memory, in MB, that this process has during a call, beyond what it had before."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # else memory that was freed, but kept, would serve the call unseen
    process = psutil.Process()
    start = process.memory_info().rss
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the kernel's own high-water mark, from here on
        function()
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    else:
        peak = sampled_peak(process, function)
    return max(0, peak - start) / 1e6


def sampled_peak(process: psutil.Process, function: Callable[[], Any]) -> int:
    """The same by looking every millisecond, where the kernel keeps no mark."""
    peak, done = [process.memory_info().rss], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peak.append(max(peak.pop(), process.memory_info().rss))

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return peak[-1]

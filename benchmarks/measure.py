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

import psutil


@dataclass
class Stage:
    """A piece of work, done by the project and by a plain reference.

    Attributes:
        ours, reference: the same work.
        check: raises AssertionError unless the two results, in this order, agree; returns a note.
        runs: of each, in turn; the median counts.
        reach: reference / ours that is aimed at.
    """

    ours: Callable[[], Any]
    reference: Callable[[], Any]
    check: Callable[[Any, Any], str | None]
    runs: int = 5
    reach: float = 1.0


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
    return {
        "ours": ours,
        "reference": reference,
        "ratio": reference / ours,
        "reach": stage.reach,
        "peak_mb": {name: peak_mb(getattr(stage, name)) for name in seconds},
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

"""Measure time and peak memory of a stage: this project's ("ours") and the reference's."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.stage import Stage


def measure_stage(stage: Stage) -> dict[str, Any]:
    """Time both implementations of a stage in turn, after a check that their results agree.

    Returns:
        A dictionary with ours, reference: median seconds; ratio: reference / ours; target_ratio:
        that of the stage; peak_mb: memory in MB that a call of ours and of the reference needs
        beyond its inputs, or None if other processes do the work; note: result of the check.

    Raises:
        AssertionError: the results do not agree.
    """
    work = dict(zip(("ours", "reference"), stage.prepare(), strict=True))
    note = stage.check(work["ours"](), work["reference"]())  # these calls also warm both up
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(stage.runs):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    peak = None
    if stage.own_memory:
        peak = {name: peak_mb(function) for name, function in work.items()}
    return {
        **medians,
        "ratio": medians["reference"] / medians["ours"],
        "target_ratio": stage.target_ratio,
        "peak_mb": peak,
        "note": note,
    }


def peak_mb(function: Callable[[], Any]) -> float:
    """Return the peak memory of this process during a call, beyond that before it, in MB."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # otherwise the call could use freed memory uncounted
    process = psutil.Process()
    start = process.memory_info().rss
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # resets the kernel's high-water mark
        function()
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    else:
        peak = sampled_peak(process, function)
    return max(0, peak - start) / 1e6


def sampled_peak(process: psutil.Process, function: Callable[[], Any]) -> int:
    """Return the peak memory in bytes, read every millisecond, for systems without such a mark."""
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

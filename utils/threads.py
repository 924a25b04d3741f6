"""Run tasks on all cores, one core per thread; the number of threads does not change results."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Task], Result], tasks: Sequence[Task], size: Callable[[Task], float]
) -> list[Result]:
    """Return ``function`` of each task, in order; the largest tasks by ``size`` begin first.

    As many threads run as torch may use. In each of them, BLAS, OpenMP and torch use one core.
    This limits only libraries that are already loaded, so import what a task needs beforehand.
    """
    cores = torch.get_num_threads()
    order = sorted(range(len(tasks)), key=lambda i: size(tasks[i]), reverse=True)
    results: dict[int, Result] = {}
    torch.set_num_threads(1)
    try:
        with (  # BLAS has one limit, OpenMP one in each thread
            threadpool_limits(1),
            ThreadPoolExecutor(cores, initializer=threadpool_limits, initargs=(1,)) as pool,
        ):
            done = pool.map(lambda i: (i, function(tasks[i])), order)
            results.update(done)
    finally:
        torch.set_num_threads(cores)
    return [results[i] for i in range(len(tasks))]

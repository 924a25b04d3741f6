"""Work on all cores by threads of one core each: none nests, and their number changes nothing."""

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
    """``function`` of each task, in order; the largest by ``size`` begin first.

    As many threads run as torch may use, and BLAS, OpenMP and torch take one core in each. This
    holds for libraries that are loaded by now: import what a task needs before.
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

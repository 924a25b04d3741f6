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

    As many threads run as torch may use, and BLAS, OpenMP and torch take one core in each.
    """
    cores = torch.get_num_threads()
    order = sorted(range(len(tasks)), key=lambda i: size(tasks[i]), reverse=True)
    results: dict[int, Result] = {}
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), ThreadPoolExecutor(cores) as pool:
            done = pool.map(lambda i: (i, function(tasks[i])), order)
            results.update(done)
    finally:
        torch.set_num_threads(cores)
    return [results[i] for i in range(len(tasks))]

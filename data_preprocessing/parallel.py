"""One function of every image of a dataset, on all cores."""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import cv2
from tqdm import tqdm

from dataloader.datalist import Item
from utils.errors import UserError

Result = TypeVar("Result")


def map_images(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, what: str
) -> list[Result]:
    """``function`` of each item, in order, in processes, with a progress bar.

    Args:
        function: can be pickled.
        items: images.
        workers: processes, of one core each; as many as there are cores when None.
        what: is made, for the bar.

    Raises:
        UserError: a process died.
    """
    pool = ProcessPoolExecutor(
        workers or os.cpu_count() or 1,
        mp_context=get_context("spawn"),  # a threaded process must not be forked
        initializer=_start_worker,
    )
    try:
        made = pool.map(function, items, chunksize=4)
        return list(tqdm(made, total=len(items), desc=what, unit="image", disable=None))
    except BrokenProcessPool as error:
        raise UserError("a worker died (out of memory?); run again with fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to handle
    cv2.setNumThreads(1)  # the processes are as many as the cores

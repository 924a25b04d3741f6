"""What scripts that make something of every image of a dataset share: flags, images, all cores."""

import os
import signal
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
from tqdm import tqdm

from dataloader.datalist import Item, find_or_make_datalist
from dataloader.dataset_info import load_dataset
from dataloader.images import check_files
from utils.common import POSITIVE_INT, Parser, add_relocation_argument
from utils.errors import UserError

Result = TypeVar("Result")


def add_split_arguments(parser: Parser) -> None:
    """Which images: a dataset, where it lies, and its split."""
    parser.add_argument("--dataset", required=True, help="a folder of dataloader/init_data")
    parser.add_argument("--datadir", required=True, type=Path, help="root of the data")
    parser.add_argument("--split", default="train", help="train or val")


def add_images_arguments(parser: Parser) -> None:
    """The same, perhaps by a list, and how many at a time."""
    add_split_arguments(parser)
    parser.add_argument("--datalist", help="image list (default: the data set's own)")
    parser.add_argument("--workers", type=POSITIVE_INT, help="processes (default: all cores)")
    add_relocation_argument(parser)


def images_from_args(args: Namespace) -> list[Item]:
    """The images that the flags of :func:`add_images_arguments` name, all of which can be read."""
    info = load_dataset(args.dataset)
    items = find_or_make_datalist(info, args.datadir, args.split, args.datalist, args.relocate)
    check_files(items, info, "image")
    return items


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

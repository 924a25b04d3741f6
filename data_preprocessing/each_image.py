"""What the scripts that go over all images of a dataset share: flags, images, processes."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2

from data_preprocessing.shards import add_shard_argument
from dataloader.checks.files import check_files
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from utils.common import add_relocation_argument
from utils.errors import UserError
from utils.parser import Parser, number
from utils.progress import progress
from utils.workers import end_with_main_process, worker_context

Result = TypeVar("Result")
DEFAULT_ROOTS = {
    "cityscapes": Path("data/Cityscapes"),
    "GTA5": Path("data/GTA5"),
    "SYNTHIA": Path("data/SYNTHIA"),
    "camvid": Path("data/CamVid"),
}


def add_split_arguments(parser: Parser) -> None:
    """Add the flags that name a dataset, its folder and its split."""
    parser.add_argument(
        "--dataset", default="cityscapes", help="name in init_data, or path of an info.json"
    )
    parser.add_argument(
        "--datadir",
        type=Path,
        help="root folder of the dataset (default: ./data/Cityscapes for cityscapes, and so on)",
    )
    parser.add_argument("--split", default="train", help="split of the dataset, train or val")


def add_images_arguments(parser: Parser) -> None:
    """Add the flags that name the images, and how many processes work on them."""
    add_split_arguments(parser)
    parser.add_argument("--datalist", help="list of images (default: the dataset's own list)")
    parser.add_argument(
        "--workers", type=number(int, 1, 1024), help="number of processes (default: one per core)"
    )
    add_shard_argument(parser)
    add_relocation_argument(parser)


def data_root(args: Namespace) -> Path:
    """The root folder of the dataset: --datadir, or the dataset's default.

    Raises:
        UserError: neither is there.
    """
    root = args.datadir or DEFAULT_ROOTS.get(args.dataset)
    if root is None:
        raise UserError(f"--dataset {args.dataset} has no default folder; give --datadir")
    return root


def images_from_args(args: Namespace) -> list[Item]:
    """The images that the flags of :func:`add_images_arguments` name, those of all shards.

    Raises:
        UserError: there are none, or one of this shard cannot be read.
    """
    info = load_dataset(args.dataset)
    root = data_root(args)
    where = (info, root, args.split, args.datalist, args.relocate)
    items = find_or_make_datalist(*where, need_label=False)
    check_files(args.shard.of(items), info, "image")
    return items


def map_images(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, what: str
) -> list[Result]:
    """``function`` of each item, in order, computed in processes of one core each.

    Progress is shown on a terminal.

    Args:
        function: can be pickled.
        items: the images.
        workers: number of processes; as many as there are cores if None. One is this process.
        what: name of the results, for the progress bar.

    Raises:
        UserError: a process died.
    """
    with _mapper(workers or os.cpu_count() or 1) as each:
        return list(progress(each(function, items), total=len(items), desc=what, unit="image"))


@contextmanager
def _mapper(workers: int) -> Iterator[Callable]:
    """``map`` in this process, or over worker processes."""
    if workers == 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield map
        finally:
            cv2.setNumThreads(threads)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=worker_context("--workers 1"),
        initializer=_start_worker,
    )
    try:
        yield partial(pool.map, chunksize=1)
    except BrokenProcessPool as error:
        raise UserError("a worker died (out of memory?); run again with fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    end_with_main_process()
    cv2.setNumThreads(1)  # the processes are as many as the cores

"""Measure the share of an iteration that training waits for its data, at a batch size of one.

A pause replaces the step of the network: as on a GPU, the cores are then free for the workers of
the data loader.
"""

import sys
import time
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.inputs import FULL, street
from dataloader.checks.files import check_files
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, TrainingSet
from dataloader.item import Item
from dataloader.loaders import training_loader
from dataloader.regions import load_regions
from utils.errors import run
from utils.parser import COUNT, POSITIVE, POSITIVE_INT, Parser

WARM_UP = 4  # iterations before the workers keep up a steady pace


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument(
        "--step", nargs="+", type=POSITIVE, default=[0.05, 0.1, 0.3], help="seconds per step"
    )
    result.add_argument(
        "--num_workers", nargs="+", type=COUNT, default=[0, 1, 2], help="data loading processes"
    )
    result.add_argument("--iterations", type=POSITIVE_INT, default=40, help="iterations to measure")
    result.add_argument(
        "--trg_data_dir", type=Path, help="root of Cityscapes (default: a few drawn street scenes)"
    )
    result.add_argument(
        "--image_size",
        type=POSITIVE_INT,
        nargs=2,
        default=FULL,
        metavar=("H", "W"),
        help="height and width, in pixels, that images are resized to",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each step and number of workers."""
    args = parser().parse_args(argv)
    data = training_set(args.trg_data_dir, tuple(args.image_size))
    print("step_s  num_workers  s_per_iteration  waiting_%")
    for step, workers in product(args.step, args.num_workers):
        seconds, waiting = time_iterations(data, step, workers, args.iterations)
        print(f"{step:6.3f}  {workers:11d}  {seconds:15.3f}  {100 * waiting:9.0f}", flush=True)


def training_set(root: Path | None, size: tuple[int, int]) -> TrainingSet:
    """Return the training images of Cityscapes (``root`` None: drawn scenes), fully labelled."""
    info = load_dataset("cityscapes")
    if root is None:
        items, root = street()
    else:
        items = find_or_make_datalist(info, root, "train")
        check_files(items, info, *Item._fields)
    regions = load_regions(items, root, "train")
    return TrainingSet([Sample(item, info, list(regions[item.superpixel])) for item in items], size)


def time_iterations(
    data: TrainingSet, step: float, workers: int, iterations: int
) -> tuple[float, float]:
    """Time the iterations of a training whose network takes ``step`` seconds for each.

    Returns:
        Seconds per iteration, and the share of them spent waiting for data.
    """
    batches = iter(training_loader(data, 1, 0, workers))
    for _ in islice(batches, WARM_UP):
        time.sleep(step)
    waited, start = 0.0, time.perf_counter()
    for _ in range(iterations):
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
        time.sleep(step)
    total = time.perf_counter() - start
    return total / iterations, waited / total


if __name__ == "__main__":
    run(main, parser)

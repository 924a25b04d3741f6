"""Share of an iteration that training waits for its data, at 1024 x 2048 and a batch of one.

The network's step is played by a pause, as long as a GPU might take, in which the loader's workers
have the cores to themselves.
"""

import sys
import time
from itertools import islice, product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.inputs import FULL, street
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, TrainingSet
from dataloader.loaders import training_loader
from dataloader.regions import load_regions
from utils.common import COUNT, POSITIVE, Parser
from utils.errors import run

FIRST, COUNTED = 4, 40  # iterations until the workers are at work, and those measured


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    result.add_argument(
        "--step", nargs="+", type=POSITIVE, default=[0.05, 0.1, 0.3], help="seconds"
    )
    result.add_argument("--num_workers", nargs="+", type=COUNT, default=[0, 1, 2])
    return result


def main() -> None:
    args = parser().parse_args()
    print("step_s  num_workers  s_per_iteration  waiting_%")
    for step, workers in product(args.step, args.num_workers):
        seconds, share = measure(step, workers)
        print(f"{step:6.2f}  {workers:11d}  {seconds:15.3f}  {100 * share:9.0f}", flush=True)


def measure(step: float, workers: int) -> tuple[float, float]:
    """Seconds of an iteration, and the share of them spent waiting."""
    items, root = street()
    info, regions = load_dataset("cityscapes"), load_regions(items, root, "train")
    data = TrainingSet([Sample(item, info, list(regions[item.superpixel])) for item in items], FULL)
    batches = iter(training_loader(data, 1, 0, workers))
    for _ in islice(batches, FIRST):
        time.sleep(step)
    waited, start = 0.0, time.monotonic()
    for _ in range(COUNTED):
        since = time.monotonic()
        next(batches)
        waited += time.monotonic() - since
        time.sleep(step)
    total = time.monotonic() - start
    return total / COUNTED, waited / total


if __name__ == "__main__":
    run(main)

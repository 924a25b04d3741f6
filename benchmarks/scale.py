"""Time and memory of a selection round as its regions grow in number, on made-up features.

Each size runs in a process of its own. The features lie in mapped files, as those of a real round
do; what is measured is all that comes after the network: reading them, ranking the target's by
--active_method (for d2ada: fitting the mixtures of every class in both domains, and by density and
uncertainty), and spending the budgets.
"""

import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_selection.selection import spend

from active_selection.density import DensityOptions
from active_selection.region_table import UNCERTAINTIES, RegionTable, column_types, make_table
from active_selection.strategies import METHODS, Candidates, phases
from active_selection.table_files import TableFiles
from benchmarks.inputs import CLASSES, REGIONS, made_up_features
from dataloader.active_set import ActiveSet
from dataloader.datalist import Item
from utils.common import POSITIVE_INT, Parser, number
from utils.errors import run

FEATURES = 256
CITYSCAPES_SHARE = 2975 / 27_879  # of GTA5's and Cityscapes' images
BLOCK = 20_000
AREA = 1024 * 2048 // REGIONS


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    sizes = [1_000, 10_000, 100_000, 1_115_160]
    result.add_argument("--regions", nargs="+", type=POSITIVE_INT, default=sizes, help="sizes")
    result.add_argument("--active_method", nargs="+", default=["d2ada"], choices=METHODS)
    result.add_argument(
        "--target_share",
        type=number(float, 0, 1),
        default=CITYSCAPES_SHARE,
        help="of the regions, those of the target (default: Cityscapes' beside GTA5's)",
    )
    result.add_argument("--max_source_regions", type=number(int, 2), help="as train_ADA.py's")
    result.add_argument("--here", action="store_true", help="measure in this very process")
    return result


def main() -> None:
    args = parser().parse_args()
    if args.here:
        options = DensityOptions(max_source_regions=args.max_source_regions)
        result = measure(args.regions[0], args.active_method[0], args.target_share, options)
        print(json.dumps(result))
        return
    print("active_method       regions  select_s  us_per_region  peak_mb")
    for method, regions in product(args.active_method, args.regions):
        flags = ["--regions", str(regions), "--active_method", method]
        flags += ["--target_share", str(args.target_share)]
        if args.max_source_regions is not None:
            flags += ["--max_source_regions", str(args.max_source_regions)]
        command = [sys.executable, __file__, "--here", *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        seconds, peak = result["seconds"], result["peak_mb"]
        share = 1e6 * seconds / regions
        print(f"{method:18s}  {regions:7d}  {seconds:8.1f}  {share:13.0f}  {peak:7.0f}", flush=True)


def measure(
    regions: int, method: str, target_share: float, density: DensityOptions
) -> dict[str, float]:
    """Seconds of a round's selection, and the most memory that the process had."""
    with TemporaryDirectory() as folder:
        source, target = made_up_domains(Path(folder), regions, target_share)
        areas = {item.superpixel: dict.fromkeys(range(REGIONS), AREA) for item in target.items}
        active = ActiveSet([], target.items, areas)
        budget = round(0.01 * len(target) * AREA)
        plan = phases(method, UNCERTAINTIES[0], 2, budget, alpha=1, beta=1)
        edge = np.random.default_rng(2).random(len(target), np.float32)
        evidence = Candidates(target, source, 0, density, edge)
        since = time.perf_counter()
        spent = spend(plan, evidence, active, areas, Path(folder), 1)
        seconds = time.perf_counter() - since
    assert sum(phase.pixels for phase in spent) >= budget
    return {"seconds": seconds, "peak_mb": process_peak_mb()}


def made_up_domains(
    folder: Path, regions: int, target_share: float
) -> tuple[RegionTable, RegionTable]:
    """The tables of source and target, together of so many regions, of an image each at the least.

    Args:
        folder: that their columns are to lie in.
        regions: of both, 40 an image.
        target_share: of the images.
    """
    images = max(2, regions // REGIONS)
    target_images = min(max(1, round(images * target_share)), images - 1)
    source = made_up_table(folder, "source", images - target_images, 0)
    return source, made_up_table(folder, "target", target_images, 1)


def made_up_table(folder: Path, name: str, images: int, seed: int) -> RegionTable:
    """A filled table, its columns mapped files that are written block by block."""
    items = [Item(f"{name}/{i}", f"{name}/{i}.label", f"{name}/{i}.map") for i in range(images)]
    files = TableFiles(folder, name, "made up", column_types(CLASSES, with_domain=True))
    rows = images * REGIONS
    files.open(rows)
    regions = {item.superpixel: dict.fromkeys(range(REGIONS), AREA) for item in items}
    table = make_table(items, regions, files.columns)
    rng = np.random.default_rng(0)
    frequency = rng.dirichlet(np.full(CLASSES, 0.5))
    centres = 0.3 * rng.normal(size=(CLASSES, 20, FEATURES))
    spread = 0.3 * rng.normal(size=(40, FEATURES))
    rng = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        block = slice(start, min(start + BLOCK, rows))
        n = block.stop - start
        classes = rng.choice(CLASSES, n, p=frequency)
        around = centres[classes, rng.integers(0, 20, n)]
        table.feature[block] = made_up_features(around, spread, rng)
        table.prob[block] = 0.01 + 0.81 * np.eye(CLASSES)[classes]
        table.score[block] = rng.random((n, len(UNCERTAINTIES)))
        table.predicted[block] = rng.dirichlet(np.full(CLASSES, 0.1), n)
        table.domain[block] = rng.random(n)
        table.pixels[block] = AREA
    return table


def process_peak_mb() -> float:
    """Most memory of this process, in MB; pages of mapped files, which can be dropped, included."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    run(main)

"""Measure time and memory of a round's selection by number of regions, on synthetic features.

Each size runs in its own process. As in a real round, the features are in memory-mapped files.
Everything that follows the network is measured: reading the features, ranking the target
regions by --active_method (for d2ada: fitting the mixtures of every class in both domains, then
ranking by density and by uncertainty), and labelling regions up to the budget.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_selection.density import DensityOptions
from active_selection.phases import plan_phases, run_phases
from active_selection.region_table import UNCERTAINTIES, RegionTable, column_types, make_table
from active_selection.strategies import Candidates, method_names
from active_selection.table_files import ColumnFiles
from benchmarks.inputs import CLASSES, REGIONS, made_up_features
from dataloader.active_set import ActiveSet
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item
from utils.errors import run
from utils.parser import POSITIVE_INT, Parser, count_or_all, number

FEATURES = 256
CITYSCAPES_SHARE = 2975 / 27_879  # Cityscapes' share of its and GTA5's training images
BLOCK = 20_000  # rows
AREA = 1024 * 2048 // REGIONS  # pixels


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    sizes = [1_000, 10_000, 100_000, 1_115_160]
    result.add_argument(
        "--regions",
        nargs="+",
        type=POSITIVE_INT,
        default=sizes,
        help="regions of source and target together",
    )
    result.add_argument(
        "--active_method",
        nargs="+",
        default=["d2ada"],
        choices=method_names(),
        help="methods to measure",
    )
    result.add_argument(
        "--target_share",
        type=number(float, 0, 1),
        default=CITYSCAPES_SHARE,
        help="target regions' share of all regions; the default is that of GTA5 -> Cityscapes",
    )
    result.add_argument(
        "--max_source_regions",
        type=count_or_all,
        default=20_000,
        metavar="N|all",
        help="largest number of source regions per class, drawn at random, for fitting its mixture",
    )
    result.add_argument(
        "--here",
        action="store_true",
        help="measure the first method and size in this process, and print JSON",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each method and size."""
    args = parser().parse_args(argv)
    if args.here:
        options = DensityOptions(max_source_regions=args.max_source_regions)
        result = time_selection(args.regions[0], args.active_method[0], args.target_share, options)
        print(json.dumps(result))
        return
    print("active_method       regions  select_s  us_per_region  peak_mb")
    for method, regions in product(args.active_method, args.regions):
        flags = ["--regions", str(regions), "--active_method", method]
        flags += ["--target_share", str(args.target_share)]
        flags += ["--max_source_regions", str(args.max_source_regions or "all")]
        command = [sys.executable, __file__, "--here", *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        seconds, peak = result["seconds"], result["peak_mb"]
        share = 1e6 * seconds / regions
        print(f"{method:18s}  {regions:7d}  {seconds:8.1f}  {share:13.0f}  {peak:7.0f}", flush=True)


def time_selection(
    regions: int, method: str, target_share: float, density: DensityOptions
) -> dict[str, float]:
    """Select 1 % of the target's pixels; return ``seconds``, and ``peak_mb`` of the process."""
    with TemporaryDirectory() as folder:
        source, target = made_up_domains(Path(folder), regions, target_share)
        domain = made_up_images("target", len(target.items))
        active = ActiveSet([], domain.items, domain.regions)
        budget = round(0.01 * domain.pixels)
        plan = plan_phases(method, UNCERTAINTIES[0], 2, budget, alpha=1, beta=1)
        edge = np.random.default_rng(2).random(len(target), np.float32)
        candidates = Candidates(target, source, 0, density, edge)
        start = time.perf_counter()
        results = run_phases(plan, candidates, active, domain, Path(folder), 1)
        seconds = time.perf_counter() - start
    assert sum(phase.pixels for phase in results) >= budget
    return {"seconds": seconds, "peak_mb": process_peak_mb()}


def made_up_domains(
    folder: Path, regions: int, target_share: float
) -> tuple[RegionTable, RegionTable]:
    """Return filled region tables of source and target, with at least one image each.

    Args:
        folder: folder for the files of their columns.
        regions: rows of both tables together, 40 per image.
        target_share: share of the images that belong to the target.
    """
    images = max(2, regions // REGIONS)
    target_images = min(max(1, round(images * target_share)), images - 1)
    source = made_up_table(folder, "source", images - target_images, 0)
    return source, made_up_table(folder, "target", target_images, 1)


def made_up_images(name: str, images: int) -> Domain:
    """Return images that exist only by name, each with 40 regions of the same area."""
    items = [Item(f"{name}/{i}", f"{name}/{i}.label", f"{name}/{i}.map") for i in range(images)]
    regions = {item.superpixel: dict.fromkeys(range(REGIONS), AREA) for item in items}
    return Domain(load_dataset("cityscapes"), name, items, regions)


def made_up_table(folder: Path, name: str, images: int, seed: int) -> RegionTable:
    """Return a filled region table, whose columns are memory-mapped files."""
    rows, types = images * REGIONS, column_types(CLASSES, with_discriminator=True)
    files = ColumnFiles(folder, name, [0, rows], types, fingerprint="made up")
    table = make_table(made_up_images(name, images), files.columns)
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
        table.uncertainty[block] = rng.random((n, len(UNCERTAINTIES)))
        table.predicted_share[block] = rng.dirichlet(np.full(CLASSES, 0.1), n)
        table.target_prob[block] = rng.random(n)
        table.pixels[block] = AREA
    return table


def process_peak_mb() -> float:
    """Return the peak memory of this process in MB.

    It includes pages of memory-mapped files, which the system can drop.
    """
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    run(main)

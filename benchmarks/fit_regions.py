"""What fitting mixtures to some of each class's regions saves, and what it changes.

Density selection is run on made-up features with --fit_regions of several sizes and with other
seeds, and what it takes is compared with what the mixtures of all regions take, seed 0. Another
seed, which starts the same fits elsewhere, tells how much of a difference means nothing.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_selection.density import DensityOptions, rank_by_density
from benchmarks.scale import CITYSCAPES_SHARE, REGIONS, made_up_table
from utils.common import POSITIVE_INT, Parser, number
from utils.errors import run

SHARE = 0.01


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    result.add_argument("--regions", type=POSITIVE_INT, default=300_000, help="of both domains")
    result.add_argument(
        "--fit_regions", nargs="+", type=number(int, 2), default=[20_000, 10_000, 5_000, 2_500]
    )
    return result


def main() -> None:
    args = parser().parse_args()
    images = args.regions // REGIONS
    target_images = round(images * CITYSCAPES_SHARE)
    with TemporaryDirectory() as folder:
        source = made_up_table(Path(folder), "source", images - target_images, 0)
        target = made_up_table(Path(folder), "target", target_images, 1)
        pool = np.ones(len(target), bool)
        taken = round(SHARE * len(target))
        print(f"{len(source)} source and {len(target)} target regions, {taken} taken")
        print("fit_regions  seed  seconds  taken_alike_%")
        reference = None
        for count, seed in [(None, 0), (None, 1), *((n, 0) for n in args.fit_regions)]:
            since = time.perf_counter()
            options = DensityOptions(fit_regions=count)
            chosen = rank_by_density(source, target, pool, options, seed).rows[:taken]
            seconds = time.perf_counter() - since
            reference = chosen if reference is None else reference
            alike = 100 * len(np.intersect1d(chosen, reference)) / taken
            print(f"{count or 'all':>11}  {seed:4d}  {seconds:7.1f}  {alike:13.1f}", flush=True)


if __name__ == "__main__":
    run(main)

"""What fitting source mixtures to some of each class's regions saves, and what it changes.

Density selection is run on made-up features with several --max_source_regions, and what it takes is
compared with what it takes with all of them. The draws and k-means starts of another seed tell how
much of a difference means nothing.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_selection.density import DensityOptions, rank_by_density
from benchmarks.scale import CITYSCAPES_SHARE, made_up_domains
from utils.common import POSITIVE_INT, Parser, number
from utils.errors import run

SELECTED_SHARE = 0.01


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    result.add_argument("--regions", type=POSITIVE_INT, default=300_000, help="of both domains")
    result.add_argument(
        "--max_source_regions",
        nargs="+",
        type=number(int, 2),
        default=[20_000, 10_000, 5_000, 2_500],
        help="of each class",
    )
    return result


def main() -> None:
    args = parser().parse_args()
    with TemporaryDirectory() as folder:
        source, target = made_up_domains(Path(folder), args.regions, CITYSCAPES_SHARE)
        pool = np.ones(len(target), bool)
        taken = max(1, round(SELECTED_SHARE * len(target)))
        print(f"{len(source)} source and {len(target)} target regions, {taken} taken")
        print("max_source_regions  seed  seconds  same_as_all_%")
        of_all = None
        for count, seed in [(None, 0), (None, 1), *((n, 0) for n in args.max_source_regions)]:
            since = time.perf_counter()
            options = DensityOptions(max_source_regions=count)
            chosen = rank_by_density(source, target, pool, options, seed).rows[:taken]
            seconds = time.perf_counter() - since
            of_all = chosen if of_all is None else of_all
            same = 100 * len(np.intersect1d(chosen, of_all)) / taken
            print(f"{count or 'all':>18}  {seed:4d}  {seconds:7.1f}  {same:13.1f}", flush=True)


if __name__ == "__main__":
    run(main)

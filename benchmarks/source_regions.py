"""Measure how a limit on the source regions per class changes density selection and its time.

Density selection runs on synthetic features with several values of --max_source_regions, and the
regions that it selects are compared with those selected without a limit. A run without a limit and
with another seed of the k-means initialisation shows how much the selection varies by chance.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_selection.density import DensityOptions, rank_by_density
from benchmarks.scale import CITYSCAPES_SHARE, made_up_domains
from utils.errors import run
from utils.parser import POSITIVE_INT, Parser, number

SELECTED_SHARE = 0.01


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument(
        "--regions", type=POSITIVE_INT, default=300_000, help="regions of both domains together"
    )
    result.add_argument(
        "--max_source_regions",
        nargs="+",
        type=number(int, 2),
        default=[20_000, 10_000, 5_000, 2_500],
        help="limits on the source regions per class to try",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    with TemporaryDirectory() as folder:
        source, target = made_up_domains(Path(folder), args.regions, CITYSCAPES_SHARE)
        pool = np.ones(len(target), bool)
        taken = max(1, round(SELECTED_SHARE * len(target)))
        print(f"{len(source)} source and {len(target)} target regions, {taken} taken")
        print("max_source_regions  seed  seconds  same_as_all_%")
        without_limit = None
        for limit, seed in [(None, 0), (None, 1), *((n, 0) for n in args.max_source_regions)]:
            since = time.perf_counter()
            options = DensityOptions(max_source_regions=limit)
            selected = rank_by_density(source, target, pool, options, seed).rows[:taken]
            seconds = time.perf_counter() - since
            without_limit = selected if without_limit is None else without_limit
            same = 100 * len(np.intersect1d(selected, without_limit)) / taken
            print(f"{limit or 'all':>18}  {seed:4d}  {seconds:7.1f}  {same:13.1f}", flush=True)


if __name__ == "__main__":
    run(main)

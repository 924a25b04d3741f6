"""Table of the regions that runs selected, as CSV: one row for each labelled or asked region.

Columns: experiment (folder of the datalist), image, region, round, strategy, score,
predicted_class, rank and regions_in_class (its place among the regions that were predicted as this
class and still unlabelled), label_class (of most of its pixels), pixels, void_pixels (without a
class), state (labelled, or asked while people have not answered). What is not known is left empty.
Datalists of the published release are read as well; rounds, strategies and scores come from the
selection files beside them.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from experiments.reporting.chosen import chosen_regions, number_of
from experiments.reporting.run_files import flags_of
from experiments.reporting.table import row_of, write_csv
from experiments.reporting.target import Target, TargetFlags, add_target_arguments
from utils.errors import UserError, run
from utils.logs import start_log
from utils.parser import Parser

log = logging.getLogger("regions")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    datalist_help = "datalist_XX.pkl of a run; of several in one folder, the last one counts"
    result.add_argument("datalist", type=Path, nargs="+", help=datalist_help)
    result.add_argument("--csv", type=Path, required=True, help="CSV file to write")
    add_target_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    start_log()
    rows, problems = [], []
    for datalist in last_of_each_folder(args.datalist):
        folder = datalist.parent
        target = Target.of_run(folder, flags_of(folder), TargetFlags.from_args(args))
        regions, _ = chosen_regions(datalist, target)
        rows += [row_of(str(folder), region) for region in regions]
        problems += target.report_problems()
    for problem in problems:
        log.warning("%s", problem)
    write_csv(args.csv, rows)
    print(f"{len(rows)} regions in {args.csv}")


def last_of_each_folder(datalists: Sequence[Path]) -> list[Path]:
    """Return, of the datalists of one folder, that of the last round.

    Raises:
        UserError: a file is missing, or of two in a folder the name of one tells no round.
    """
    last: dict[Path, Path] = {}
    for path in datalists:
        if not path.is_file():
            raise UserError(f"{path}: no such file; name the datalist_XX.pkl of a run")
        folder = path.parent.resolve()
        other = last.get(folder, path)
        if other != path and None in (number_of(other), number_of(path)):
            raise UserError(
                f"{path}: beside {other.name}, only files named datalist_XX.pkl can be told "
                "apart by their round; name one of them"
            )
        last[folder] = max(other, path, key=lambda p: number_of(p) or 0)
    return list(last.values())


if __name__ == "__main__":
    run(main, parser)

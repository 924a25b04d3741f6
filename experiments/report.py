"""Report of experiments: one folder with a page that opens from disk, without a network.

It shows mIoU against the labelled share with a line for each experiment, classes that gained and
lost, the selected regions over their images with the reason for each, what the budget was spent on,
a confusion matrix, the slowest stages, and all settings. Runs in progress, warm-ups alone, and runs
without label files are shown as far as they are. See docs/looking.md.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from experiments.reporting.page import IMAGES, write_report
from experiments.reporting.target import TargetFlags, add_target_arguments
from utils.errors import run
from utils.logs import start_log
from utils.parser import Parser, number

log = logging.getLogger("report")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    add = result.add_argument
    folder_help = "folders of the experiments (-p of train_ADA.py and warmup.py)"
    add("-p", "--model_save_dir", type=Path, nargs="+", required=True, help=folder_help)
    add("--out", type=Path, required=True, help="folder of the report; an older one is replaced")
    images_help = "images of each round to show with their selected regions"
    add("--images", type=number(int, 0, 1000), default=IMAGES, help=images_help)
    add_target_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    start_log()
    given = TargetFlags.from_args(args)
    for problem in write_report(args.model_save_dir, args.out, given, args.images):
        log.warning("%s", problem)
    print(f"{len(args.model_save_dir)} experiments: open {args.out / 'index.html'}")


if __name__ == "__main__":
    run(main, parser)

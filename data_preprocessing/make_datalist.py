"""Write a datalist (image, label and superpixel path of each image) from what is on disk.

It says how many images the list holds, and how many files were left out for which reason.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from data_preprocessing.each_image import add_split_arguments, data_root
from dataloader.checks.own_list import warn_of_idle_exclusions
from dataloader.datalist import default_path, write_datalist
from dataloader.dataset_info import load_dataset
from dataloader.scan import item_of, scan
from utils.errors import UserError, run
from utils.parser import Parser


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_split_arguments(result)
    result.add_argument(
        "--filter",
        default="*",
        metavar="GLOB",
        help="list only images whose path below DATADIR, or file name, matches",
    )
    result.add_argument("--out", type=Path, help="list file to write (default: DATADIR/SPLIT.txt)")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Write the list that the command line asks for."""
    args = parser().parse_args(argv)
    info, root = load_dataset(args.dataset), data_root(args)
    found = scan(info, root, args.split, args.filter)
    if not found.items:
        image, label, _ = item_of(info, args.split, "*")
        raise UserError(
            f"--datadir {root}: no image matches; expected {image} with {label}"
            + (f", --filter {args.filter}" if args.filter != "*" else "")
            + found.summary
        )
    warn_of_idle_exclusions(info, root, found.stems)
    path = args.out or default_path(root, args.split)
    write_datalist(path, found.items)
    blank = sum(not item.label for item in found.items)
    labels = f", {blank} of them without a label" if blank else ""
    print(f"{len(found.items)} images in {path}{labels}{found.summary}")


if __name__ == "__main__":
    run(main)

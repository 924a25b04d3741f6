"""Import of answers: reads what people labelled in any tool, and writes label maps.

FILES are what labelling tools export: JSON of Label Studio, XML or mask archives of CVAT, COCO
JSON, or folders and archives of label PNGs. Where two files disagree, the later one counts. What
was found is reported for each image, and nothing is written unless all files are in order.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from annotation.answers import Collector
from annotation.labels import Labels
from annotation.package import MANIFEST, Package, load_packages
from annotation.page import write_page
from annotation.readers import read_answers
from annotation.report import overwritten, report, totals, trained_on
from dataloader.oracle import STORING_TAKES
from utils.errors import UserError, run, shown
from utils.files import locked_folder
from utils.parser import Parser, number


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add = result.add_argument
    add("files", nargs="+", type=Path, metavar="FILES", help="what people labelled")
    add("-p", "--model_save_dir", type=Path, default=Path("test"), help="folder of the run")
    add(
        "--package",
        type=Path,
        action="append",
        help="folder of a package (default: all in the run's annotation/); may be given repeatedly",
    )
    add(
        "--min_share",
        type=number(float, 0, 1),
        default=0.5,
        help="part of a region's pixels that must be labelled, so that it counts as answered",
    )
    add(
        "--withdraw",
        action="store_true",
        help="drop earlier answers to regions of the one --package that FILES show without one, or "
        "with the first guess",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    folder = args.model_save_dir / "annotation"
    if args.withdraw and len(args.package or ()) != 1:
        raise UserError(
            "--withdraw: drops answers of one package; name it, such as with "
            f"--package {folder / 'round_00'}"
        )
    if not args.package and not any(folder.glob(f"*/{MANIFEST}")):
        raise UserError(
            f"-p {args.model_save_dir}: no labelling package in its annotation/; write one with "
            "annotation/export.py"
        )
    packages = load_packages(folder, args.package)
    collector = Collector(packages, args.min_share)
    with locked_folder(folder, "-p", STORING_TAKES):
        Labels(folder / "labels", collector.classes)  # if they are damaged, it is told at once
    read_answers(args.files, collector)  # may take long, so that a run is not kept waiting
    lines: list[str] = []
    try:
        with locked_folder(folder, "-p", STORING_TAKES):
            store_answers(folder, args, collector, packages, lines)
    finally:
        for line in lines:
            print(shown(line))


def store_answers(
    folder: Path,
    args: Namespace,
    collector: Collector,
    packages: Sequence[Package],
    lines: list[str],
) -> None:
    """Write what all files hold, if all is well.

    Args:
        folder: ``EXP/annotation``.
        args: the flags. ``withdraw`` drops earlier answers to regions of the packages that the
            files leave unanswered in the images that they show, which nobody may have trained on
            yet; those that they show with the first guess, just as it was, go back to it.
        collector: with all files read.
        packages: that people were asked by.
        lines: what is to be told is added to them.

    Raises:
        UserError: something is wrong with any file; then nothing is written.
    """
    labels = Labels(folder / "labels", collector.classes)
    named = bool(args.package)
    withdrawn = labels.unanswered(collector) if args.withdraw else {}
    collector.problems += trained_on(withdrawn, collector, folder.parent)
    collector.problems += collector.unknown_classes()
    replaced = labels.replaced(collector, by_guesses=args.withdraw)
    collector.problems += overwritten(collector, replaced, named)
    lines += report(collector, labels, replaced, withdrawn, named)
    if collector.problems:
        raise UserError(
            f"{collector.problems[0]} ({len(collector.problems)} problems in all); "
            "nothing was imported"
        )
    if not collector.notes:
        names = ", ".join(map(str, args.files[:3]))
        first = next((image.file for package in packages for image in package.images), "")
        raise UserError(
            f"{names}: no answers for any image of the labelling packages (such as {first}); "
            "nothing was imported"
        )
    labels.store(collector, withdrawn)
    for package in packages:
        write_page(package, labels.all_statuses())
    lines += [totals(labels.all_statuses(), collector), f"label maps in {labels.folder}"]


if __name__ == "__main__":
    run(main)

"""Export of regions: writes those that a round selected to a folder for people to label."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import numpy as np

from annotation.selected import latest_round, selected_regions
from annotation.write import FORMATS, write_package
from dataloader.checks.files import check_files
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.ignore_mask import find_masks
from dataloader.images import read_train_ids
from dataloader.item import Item
from dataloader.prediction_notes import check_predictions
from dataloader.predictions import find_predictions
from utils.common import add_relocation_argument
from utils.errors import UserError, run
from utils.parser import COUNT, Parser


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add = result.add_argument
    add("-p", "--model_save_dir", type=Path, default=Path("test"), help="folder of the run")
    add("--round", type=COUNT, help="round whose regions are asked for (default: the latest)")
    add("--trg_dataset", default="cityscapes", help="name in init_data, or path of an info.json")
    add("--trg_data_dir", default="./data/Cityscapes", help="root folder of the target's data")
    add(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=FORMATS,
        help="for which tools to write files",
    )
    add("--out", type=Path, help="folder to write (default: annotation/round_NN in the run's)")
    add("--pred_dir", type=Path, help="predictions of inference.py, as a first guess to correct")
    add("--no-prefill", action="store_true", help="give no first guess")
    add_relocation_argument(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.no_prefill and args.pred_dir:
        raise UserError("--no-prefill: --pred_dir gives a first guess; leave one of them out")
    info = load_dataset(args.trg_dataset)
    number = latest_round(args.model_save_dir) if args.round is None else args.round
    target, asked = selected_regions(args.model_save_dir, number, args.trg_data_dir, args.relocate)
    items = [item for item in target if item.superpixel in asked]
    check_files(items, info, "image", "superpixel")
    guess = prediction_of(items, args.pred_dir, info) if args.pred_dir else None
    folder = args.out or args.model_save_dir / "annotation" / f"round_{number:02d}"
    masks = find_masks(items, args.trg_data_dir, info)
    package = write_package(
        folder, target, asked, info, guess, args.format, args.trg_data_dir, masks
    )
    print(
        f"{package.regions} regions of {len(package.images)} images, {package.pixels} pixels: "
        f"open {folder / 'index.html'}"
    )


def prediction_of(
    items: Sequence[Item], folder: Path, info: DatasetInfo
) -> Callable[[str], np.ndarray]:
    """A function that reads the prediction of an image, by its path: (H, W) uint8 train ids.

    Raises:
        UserError: an image has none, or they are of other classes.
    """
    paths = find_predictions(items, folder)
    check_predictions(folder, paths, items, info)
    of_image = {item.image: path for item, path in zip(items, paths, strict=True)}
    return lambda image: read_train_ids(of_image[image])


if __name__ == "__main__":
    run(main)

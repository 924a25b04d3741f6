"""Evaluation: IoU of predictions on disk for each class, and the mean over the classes.

For the 19 classes of Cityscapes, the means over SYNTHIA's 16 and 13 classes are also given. A
config file that sets none of --dataset, --root_dir and --val_datalist_dir gives the data by
val_dataset, val_data_dir and val_datalist. Its save_dir for inference.py stands for --pred_dir.
"""

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dataloader.checks.exchanged import warn_if_predictions_exchanged
from dataloader.checks.files import check_files
from dataloader.checks.labels import check_labels
from dataloader.checks.pairing import check_pairing
from dataloader.checks.prediction_values import check_values, holds_label_ids, warn_of_label_ids
from dataloader.checks.turned_predictions import warn_if_predictions_turned
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import IGNORE, INIT_DATA, DatasetInfo, load_dataset
from dataloader.images import READ_ERRORS, fit_label, read_label, read_size, read_train_ids
from dataloader.item import Item
from dataloader.prediction_notes import NOTES, check_predictions
from dataloader.predictions import find_predictions
from utils.common import add_relocation_argument
from utils.errors import UserError, run, shown
from utils.files import write_json
from utils.metrics import ConfusionMatrix
from utils.parser import Parser
from utils.progress import progress

log = logging.getLogger(__name__)

DEFAULT_LISTS = Path("dataloader/init_data/cityscapes")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__, "evaluation")
    result.add_argument(
        "--root_dir", type=Path, default=Path("data/Cityscapes"), help="root folder of the dataset"
    )
    result.add_argument(
        "--pred_dir", type=Path, required=True, help="folder that inference.py wrote to"
    )
    result.add_argument(
        "--val_datalist_dir",
        type=Path,
        default=DEFAULT_LISTS,
        help="folder with a val.txt; if the default folder (for another dataset, its own folder "
        "in init_data) has none, the list in the data root is used",
    )
    result.add_argument(
        "--dataset",
        default="cityscapes",
        help="dataset: a name in dataloader/init_data, or the path of an info.json",
    )
    json_help = "JSON file to which results are also written; a TOML file beside it has the flags"
    result.add_argument("--json", type=Path, help=json_help)
    confusion_help = "PNG file for a confusion matrix, rows in percent of each class's pixels"
    result.add_argument("--confusion", type=Path, metavar="FILE.png", help=confusion_help)
    add_relocation_argument(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    args = flags.parse_args(argv)
    if args.confusion and args.confusion.suffix.lower() != ".png":
        raise UserError(f"--confusion {args.confusion}: is written as PNG; name a .png file")
    info = load_dataset(args.dataset)
    listed = list_path(args.val_datalist_dir, info)
    items = find_or_make_datalist(info, args.root_dir, "val", listed, args.relocate, columns=2)
    check_labelled(items, listed or args.root_dir)
    warn_of_absent_images(items)
    predictions = find_predictions(items, args.pred_dir)
    check_results(args.json, args.confusion, {*predictions, args.pred_dir / NOTES})
    pairs = [Item(str(p), i.label, "") for i, p in zip(items, predictions, strict=True)]
    check_files(pairs, info, "prediction", "label")
    check_predictions(args.pred_dir, predictions, items, info)
    check_pairing(items, info, args.root_dir)
    as_described = check_labels(items, info, "--dataset")
    if not warn_if_predictions_turned(pairs, info):
        warn_if_predictions_exchanged(pairs, info)

    values, odd = np.zeros((len(info.class_names), 256), np.int64), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = pool.map(lambda item, path: count(item, path, info), items, predictions)
        counted = progress(counted, total=len(items), desc="evaluate", unit="image")
        for path, one in zip(predictions, counted, strict=True):
            values += one
            if as_described and holds_label_ids(one, info):
                odd.append(path)
    warn_of_label_ids(odd, len(items))
    check_values(values, info, args.pred_dir, as_described)
    confusion = ConfusionMatrix(len(info.class_names))
    confusion.counts[:, :-1] = values[:, : confusion.num_classes]
    confusion.counts[:, -1] = values[:, confusion.num_classes :].sum(1)
    result = figures(confusion, info, len(items))
    print(table(result))
    if args.json:
        write_json(args.json, result, indent=1)
        flags.write_config(args.json.with_suffix(".toml"), args)
    if args.confusion:
        from experiments.reporting.confusion_figure import draw_confusion  # slow to import
        from experiments.reporting.figures import save

        save(draw_confusion(confusion.counts, info.class_names), args.confusion)


def check_results(json: Path | None, confusion: Path | None, read: Collection[Path]) -> None:
    """Raise a :class:`UserError` for results that would replace files that are read."""
    taken = {path.resolve() for path in read}
    for flag, path in (("json", json), ("confusion", confusion)):
        if path and path.resolve() in taken:
            raise UserError(f"--{flag} {path}: is a file of --pred_dir; choose another name")


def list_path(folder: Path, info: DatasetInfo) -> Path | None:
    """Return the list that --val_datalist_dir names, a folder or file; None for the data root's.

    Raises:
        UserError: a folder other than the default has no list.
    """
    default = folder == DEFAULT_LISTS
    if default and info.name != DEFAULT_LISTS.name:
        folder = INIT_DATA / info.name
    for path in (folder, folder / "val.txt"):
        if path.is_file():
            return path
    if not default:
        raise UserError(
            f"--val_datalist_dir {folder}: there is no val.txt in it; leave the flag out, and the "
            "list below --root_dir is used"
        )
    return None


def check_labelled(items: Sequence[Item], source: Path) -> None:
    """Raise a :class:`UserError` for a list with images that have no label."""
    unlabelled = [item for item in items if not item.label]
    if unlabelled:
        raise UserError(
            f"{source}: {len(unlabelled)} of {len(items)} images have no label, the first "
            f"{shown(unlabelled[0].image)}; evaluate with a list of labelled images"
        )


def warn_of_absent_images(items: Sequence[Item]) -> None:
    """Warn if some images, not all, are not there; evaluation itself does not need them."""
    absent = [item.image for item in items if not Path(item.image).is_file()]
    if 0 < len(absent) < len(items):
        log.warning(
            "%s: no such file, and so with %d of %d images; their labels and predictions are "
            "evaluated all the same",
            *(shown(absent[0]), len(absent), len(items)),
        )


def count(item: Item, path: Path, info: DatasetInfo) -> np.ndarray:
    """Return (C, 256) int64: labelled pixels of one image by class and predicted value."""
    label, prediction = read_label(item.label, info), read_train_ids(path)
    if label.shape != prediction.shape:
        check_size(item, path, label, prediction)
        label = fit_label(label, prediction.shape)
    pixels = ConfusionMatrix(IGNORE)
    pixels.add(label, prediction)
    return pixels.counts[: len(info.class_names)]


def check_size(item: Item, path: Path, label: np.ndarray, prediction: np.ndarray) -> None:
    """Raise a :class:`UserError` for a prediction with neither its label's nor its image's size.

    The label may have another scale than the image; the prediction must not.
    """
    try:
        size = read_size(item.image)
    except READ_ERRORS:
        size = label.shape
    if prediction.shape != size:
        (h, w), (height, width) = prediction.shape, label.shape
        raise UserError(
            f"{shown(path)}: is {w} x {h} pixels, its label {width} x {height}, "
            f"its image {size[1]} x {size[0]}; predict at the image's own size"
        )


def figures(confusion: ConfusionMatrix, info: DatasetInfo, images: int) -> dict:
    """Return means and IoU by class name, both in percent, and the number of images.

    Means are over classes that occur and that the dataset has (those in its ``label_to_train``);
    the IoU of all others is null. With Cityscapes' classes, ``mIoU16`` and ``mIoU13`` are the means
    over the classes of SYNTHIA.
    """

    def value(share: float) -> float | None:
        return None if np.isnan(share) else 100 * float(share)

    present = set(info.present_classes)
    absent = [c for c in range(confusion.num_classes) if c not in present]
    synthia = load_dataset("SYNTHIA")
    missing, star = synthia.missing_classes, synthia.star_classes_without
    means = {"mIoU": confusion.mean_iou(absent)}
    if info.class_names == synthia.class_names and set(absent) <= set(missing):
        means["mIoU16"] = confusion.mean_iou(missing)
        means["mIoU13"] = confusion.mean_iou([*missing, *star])
    return {
        **{name: value(mean) for name, mean in means.items()},
        "IoU": dict(zip(info.class_names, map(value, confusion.iou(absent)), strict=True)),
        "images": images,
    }


def table(result: dict) -> str:
    """Format the result of :func:`figures` as text; a class that does not occur gets a hyphen."""
    means = {name: value for name, value in result.items() if name not in ("IoU", "images")}
    width = max(13, *map(len, result["IoU"]))
    rows = [*result["IoU"].items(), None, *means.items()]
    lines = [
        "-" * (width + 9)
        if row is None
        else f"{row[0]:<{width}} {'-' if row[1] is None else f'{row[1]:.2f}':>8}"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, parser)

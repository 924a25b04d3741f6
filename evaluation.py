"""Evaluation: IoU of predictions on disk, over 19 classes and SYNTHIA's 16 and 13."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataloader.datalist import Item, find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.images import check_files, read_label, read_train_ids
from utils.common import Parser, add_relocation_argument
from utils.errors import UserError, run
from utils.files import write_json
from utils.metrics import ConfusionMatrix, percent


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    result.add_argument("--root_dir", type=Path, default=Path("data/Cityscapes"), help="data root")
    result.add_argument("--pred_dir", type=Path, required=True, help="what inference.py wrote")
    result.add_argument(
        "--val_datalist_dir",
        type=Path,
        default=Path("dataloader/init_data/cityscapes"),
        help="folder of val.txt; where it has none, the data root's own list is used",
    )
    result.add_argument("--dataset", default="cityscapes", help="a folder of init_data")
    result.add_argument("--json", type=Path, help="also write the figures to this file")
    add_relocation_argument(result)
    return result


def main() -> None:
    args = parser().parse_args()
    info = load_dataset(args.dataset)
    listed = args.val_datalist_dir / "val.txt"
    listed = listed if listed.is_file() else None
    items = find_or_make_datalist(info, args.root_dir, "val", listed, args.relocate)
    pairs = [Item(str(args.pred_dir / f"{Path(i.image).stem}.png"), i.label, "") for i in items]
    check_files(pairs, info, "image", "label")

    confusion = ConfusionMatrix(len(info.class_names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = pool.map(lambda pair: count(pair, info), pairs)
        for one in tqdm(counted, total=len(pairs), desc="evaluate", disable=None):
            confusion.counts += one.counts
    means = mean_ious(confusion)
    print(table(confusion, info, means))
    if args.json:
        write_json(args.json, figures(confusion, info, means, len(items)), indent=1)


def count(pair: Item, info: DatasetInfo) -> ConfusionMatrix:
    """Confusion matrix of one prediction."""
    label, prediction = read_label(pair.label, info), read_train_ids(pair.image)
    if label.shape != prediction.shape:
        raise UserError(
            f"{pair.image}: is {prediction.shape[1]} x {prediction.shape[0]} pixels, its label "
            f"{label.shape[1]} x {label.shape[0]}; predict at the image's own size"
        )
    confusion = ConfusionMatrix(len(info.class_names))
    confusion.add(label, prediction)
    return confusion


def mean_ious(confusion: ConfusionMatrix) -> dict[str, float]:
    """Means over 19 classes, and over those that SYNTHIA is measured by."""
    synthia = load_dataset("SYNTHIA")
    missing = synthia.missing_classes
    return {
        "mIoU": confusion.mean_iou(),
        "mIoU16": confusion.mean_iou(missing),
        "mIoU13": confusion.mean_iou([*missing, *synthia.star_classes_without]),
    }


def table(confusion: ConfusionMatrix, info: DatasetInfo, means: dict[str, float]) -> str:
    """The figures as text, in percent."""
    rows = [*zip(info.class_names, confusion.iou(), strict=True), None, *means.items()]
    lines = ["-" * 22 if row is None else f"{row[0]:<14}{percent(row[1]):>8}" for row in rows]
    return "\n".join(lines)


def figures(
    confusion: ConfusionMatrix, info: DatasetInfo, means: dict[str, float], images: int
) -> dict:
    """The figures for --json, in percent; null where a class does not occur."""

    def value(share: float) -> float | None:
        return None if np.isnan(share) else 100 * float(share)

    return {
        **{name: value(mean) for name, mean in means.items()},
        "IoU": {n: value(v) for n, v in zip(info.class_names, confusion.iou(), strict=True)},
        "images": images,
    }


if __name__ == "__main__":
    run(main)

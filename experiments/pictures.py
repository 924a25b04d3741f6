"""Pictures of an experiment: the selected regions, and predictions beside the ground truth.

``selected`` draws target images with the regions that each round selected, outlined in the colour
of the round. ``compare`` shows image, ground truth and the predictions of several folders side by
side.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import cv2
import numpy as np

from dataloader.active_set import ActiveSet
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.images import read_image, read_label, read_superpixels, read_train_ids
from dataloader.item import Item
from dataloader.predictions import find_predictions
from utils.common import POSITIVE_INT, Parser
from utils.errors import UserError, run
from utils.files import write_png

ROUND_COLORS = ((255, 60, 60), (255, 190, 0), (70, 220, 70), (0, 200, 255), (190, 90, 255))
GAP = 4


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    kinds = result.add_subparsers(dest="kind", required=True, parser_class=type(result))
    selected = kinds.add_parser("selected", description="regions selected in each round")
    selected.add_argument(
        "--exp", type=Path, required=True, help="folder of the experiment (-p of train_ADA.py)"
    )
    compare = kinds.add_parser("compare", description="images beside their labels and predictions")
    compare.add_argument("--datadir", required=True, help="root folder of the dataset")
    compare.add_argument("--datalist", help="list of images (default: the dataset's own val list)")
    compare.add_argument(
        "--pred_dir", type=Path, nargs="+", required=True, help="folders that inference.py wrote to"
    )
    for kind in (selected, compare):
        kind.add_argument(
            "--dataset", default="cityscapes", help="name in init_data, or the path of an info.json"
        )
        kind.add_argument("--images", type=POSITIVE_INT, default=4, help="number of images to draw")
        kind.add_argument(
            "--height", type=POSITIVE_INT, default=180, help="height of each image, in pixels"
        )
        kind.add_argument("--out", type=Path, required=True, help="PNG file to write")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    info = load_dataset(args.dataset)
    if args.kind == "selected":
        rows = selected_rows(args.exp, info, args.images, args.height)
    else:
        items = find_or_make_datalist(info, args.datadir, "val", args.datalist, columns=2)
        items = items[:: max(1, len(items) // args.images)][: args.images]
        rows = [compare_row(item, info, args.pred_dir, args.height) for item in items]
    write_png(args.out, stack(rows, axis=0))
    print(f"{len(rows)} rows in {args.out}")


def selected_rows(exp: Path, info: DatasetInfo, images: int, height: int) -> list[np.ndarray]:
    """Return a row for each of the ``images`` target images with the most labelled regions."""
    files = sorted(exp.glob("datalist_*.pkl"))
    if not files:
        raise UserError(f"--exp {exp}: no datalist_XX.pkl in it; name the -p of train_ADA.py")
    rounds = [ActiveSet.load(path, ".", ".").labelled for path in files]
    items = {item.superpixel: item for item in ActiveSet.load(files[-1], ".", ".").target}
    most = sorted(rounds[-1], key=lambda path: -len(rounds[-1][path]))[:images]
    return [selected_row(items[path], info, rounds, height) for path in most]


def selected_row(
    item: Item, info: DatasetInfo, rounds: list[dict[str, list[int]]], height: int
) -> np.ndarray:
    """Return the image, the image with outlined regions, and its labelled regions, side by side."""
    image, superpixels = read_image(item.image), read_superpixels(item.superpixel)
    image, superpixels = enlarge(image, height), enlarge(superpixels, height)
    labels = info.color_table[enlarge(read_label(item.label, info), height)]
    outlined = (0.6 * image).astype(np.uint8)
    revealed = np.full_like(image, 230)
    before: set[int] = set()
    for number, labelled in enumerate(rounds):
        for region in set(labelled.get(item.superpixel, ())) - before:
            mask = superpixels == region
            outlined[mask] = image[mask]
            revealed[mask] = labels[mask]
            contours, _ = cv2.findContours(
                mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(outlined, contours, -1, ROUND_COLORS[number % len(ROUND_COLORS)], 2)
        before |= set(labelled.get(item.superpixel, ()))
    return stack([image, outlined, revealed], axis=1)


def compare_row(item: Item, info: DatasetInfo, pred_dirs: list[Path], height: int) -> np.ndarray:
    """Return image, ground truth and predictions side by side; ignored pixels are black in all."""
    label = read_label(item.label, info)
    maps = [label]
    for folder in pred_dirs:
        prediction = read_train_ids(find_predictions([item], folder)[0])
        maps.append(np.where(label == 255, 255, prediction))
    pictures = [read_image(item.image), *(info.color_table[m] for m in maps)]
    return stack([enlarge(picture, height) for picture in pictures], axis=1)


def enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    """Resize to a height by nearest neighbour, and keep the aspect ratio."""
    width = round(picture.shape[1] * height / picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)


def stack(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Join pictures of equal height (axis 1) or width (axis 0), with gaps between them."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.concatenate(parts, axis)


if __name__ == "__main__":
    run(main)

"""Pictures of an experiment: the selected regions, and predictions beside the ground truth.

``selected`` draws target images with the regions that each round selected, outlined in the colour
of the round. ``compare`` shows image, ground truth and the predictions of several folders side by
side. The columns are named above the pictures.
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
from PIL import Image, ImageDraw

from dataloader.active_set import ActiveSet
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.images import fit_label, read_image, read_label, read_superpixels, read_train_ids
from dataloader.item import Item
from dataloader.predictions import find_predictions
from dataloader.relocation import Moves
from experiments.reporting.run_files import short_names
from utils.common import add_relocation_argument
from utils.errors import UserError, run, shown
from utils.files import write_png
from utils.fonts import load_font
from utils.parser import POSITIVE_INT, Parser

ROUND_COLORS = ((255, 60, 60), (255, 190, 0), (70, 220, 70), (0, 200, 255), (190, 90, 255))
GAP = 4
HEADER = 20
"""Height of the line with the names of the columns, in pixels."""


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
        add_relocation_argument(kind)
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
        names = ["image", "selected regions", "their labels"]
        rows = selected_rows(args.exp, info, args.images, args.height, args.relocate)
    else:
        folders = [folder.resolve() for folder in args.pred_dir]
        names = ["image", "ground truth", *short_names(folders)]
        items = find_or_make_datalist(
            info, args.datadir, "val", args.datalist, args.relocate, columns=2
        )
        # where the predictions of all lie tells more than where those of a few do
        found = zip(*(find_predictions(items, folder) for folder in args.pred_dir), strict=True)
        pairs = list(zip(items, found, strict=True))[:: max(1, len(items) // args.images)]
        rows = [compare_row(*pair, info, args.height) for pair in pairs[: args.images]]
    write_png(args.out, grid(names, rows))
    print(f"{len(rows)} rows in {args.out}")


def selected_rows(
    exp: Path, info: DatasetInfo, images: int, height: int, moves: Moves = ()
) -> list[list[np.ndarray]]:
    """Return pictures for each of the ``images`` target images with the most labelled regions."""
    files = sorted(exp.glob("datalist_*.pkl"))
    if not files:
        raise UserError(f"--exp {exp}: no datalist_XX.pkl in it; name the -p of train_ADA.py")
    sets = [ActiveSet.load(path, ".", ".", moves) for path in files]
    rounds = [active.labelled for active in sets]
    if not rounds[-1]:
        raise UserError(f"--exp {exp}: no region is labelled yet, so there is nothing to show")
    items = {item.superpixel: item for item in sets[-1].target}
    most = sorted(rounds[-1], key=lambda path: -len(rounds[-1][path]))[:images]
    return [selected_row(items[path], info, rounds, height) for path in most]


def selected_row(
    item: Item, info: DatasetInfo, rounds: list[dict[str, list[int]]], height: int
) -> list[np.ndarray]:
    """Return the image, the image with outlined regions, and its labelled regions (if known)."""
    image, superpixels = read_image(item.image), read_superpixels(item.superpixel)
    image, superpixels = enlarge(image, height), enlarge(superpixels, height)
    labels = None
    if item.label:
        label = fit_label(enlarge(read_label(item.label, info), height), superpixels.shape)
        labels = info.color_table[label]
    outlined = (0.6 * image).astype(np.uint8)
    revealed = np.full_like(image, 230)
    before: set[int] = set()
    for number, labelled in enumerate(rounds):
        for region in set(labelled.get(item.superpixel, ())) - before:
            mask = superpixels == region
            outlined[mask] = image[mask]
            if labels is not None:
                revealed[mask] = labels[mask]
            contours, _ = cv2.findContours(
                mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(outlined, contours, -1, ROUND_COLORS[number % len(ROUND_COLORS)], 2)
        before |= set(labelled.get(item.superpixel, ()))
    return [image, outlined, *([revealed] if labels is not None else [])]


def compare_row(
    item: Item, predictions: Sequence[Path], info: DatasetInfo, height: int
) -> list[np.ndarray]:
    """Return image, ground truth and predictions; void pixels of the ground truth are black.

    Predictions are shown whole, also where the ground truth is void.
    """
    maps = [read_label(item.label, info)]
    maps += [read_train_ids(path) for path in predictions]
    pictures = [read_image(item.image), *(info.color_table[m] for m in maps)]
    return [enlarge(picture, height) for picture in pictures]


def enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    """Resize to a height by nearest neighbour, and keep the aspect ratio."""
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)


def grid(names: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Lay out rows of pictures of one height in columns, whose names stand above them.

    Columns are as wide as their widest picture; a column that no row has is left out.
    """
    columns = max(map(len, rows))
    widths = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(columns)]
    starts = np.cumsum([0, *(width + GAP for width in widths)]).tolist()
    height = rows[0][0].shape[0]
    shape = (HEADER + len(rows) * (height + GAP) - GAP, starts[-1] - GAP, 3)
    drawn = np.full(shape, 255, np.uint8)
    for number, row in enumerate(rows):
        top = HEADER + number * (height + GAP)
        for picture, left in zip(row, starts, strict=False):
            drawn[top : top + height, left : left + picture.shape[1]] = picture
    picture = Image.fromarray(drawn)
    pen, font = ImageDraw.Draw(picture), load_font(HEADER * 2 // 3)
    for name, left, width in zip(names, starts, widths, strict=False):
        text = shown(name)
        while len(text) > 1 and pen.textlength(text, font) > width:
            text = f"…{text[2:]}" if text.startswith("…") else f"…{text[1:]}"
        pen.text((left + width / 2, HEADER / 2), text, "black", font, anchor="mm")
    return np.asarray(picture)


if __name__ == "__main__":
    run(main)

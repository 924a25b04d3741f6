"""Achievable segmentation accuracy of superpixels on every 12th CamVid training frame.

--by also takes fast-slic (which `make bench` installs) and a plain grid, to compare with.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.other_slics import Cut, by_fast_slic, by_scikit_image
from data_preprocessing.slic import achievable_segmentation_accuracy, slic
from dataloader.dataset_info import load_dataset
from dataloader.images import read_image, read_label
from dataloader.scan import scan
from utils.common import POSITIVE, POSITIVE_INT, Parser
from utils.errors import run

EVERY = 12


def by_us(count: int, compactness: float) -> Cut:
    """The project's own."""
    return lambda image: slic(image, count, compactness)


def by_grid(count: int, _: float) -> Cut:
    """Rectangles of one size."""

    def cut(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        rows = max(1, round((count * height / width) ** 0.5))
        columns = count // rows
        y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
        return y[:, None] * columns + x

    return cut


METHODS: dict[str, Callable[[int, float], Cut]] = {
    "ours": by_us,
    "fast-slic": partial(by_fast_slic, min_size_factor=0),  # keeps all pieces, as is best
    "scikit-image": by_scikit_image,
    "grid": by_grid,
}


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--datadir", type=Path, required=True, help="root of CamVid")
    parser.add_argument("--num_segments", type=POSITIVE_INT, default=40)
    parser.add_argument("--compactness", type=POSITIVE, default=10.0)
    parser.add_argument("--by", choices=METHODS, default="ours")
    args = parser.parse_args()
    info = load_dataset("camvid")
    items = [item.below(args.datadir) for item in scan(info, args.datadir, "train").items[::EVERY]]
    cut = METHODS[args.by](args.num_segments, args.compactness)
    right = counted = 0
    counts, seconds = [], []
    for item in items:
        image, label = read_image(item.image), read_label(item.label, info)
        start = time.perf_counter()
        superpixels = cut(image)
        seconds.append(time.perf_counter() - start)
        pair = achievable_segmentation_accuracy(superpixels, label)
        right, counted = right + pair[0], counted + pair[1]
        counts.append(len(np.unique(superpixels)))
    print(
        f"{len(items)} frames, {min(counts)} to {max(counts)} regions, "
        f"accuracy {right / counted:.4f}, {np.median(seconds):.3f} s an image"
    )


if __name__ == "__main__":
    run(main)

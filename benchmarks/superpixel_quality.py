"""Measure the achievable segmentation accuracy of superpixels on every 12th CamVid training frame.

Compares the project's superpixels with those of other programs (``make bench`` installs fast-slic)
and with a regular grid.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import numpy as np

from benchmarks.other_slics import Cut, by_fast_slic, by_scikit_image
from data_preprocessing.slic import MIN_SIZE_FACTOR, SIGMA, slic
from dataloader.dataset_info import load_dataset
from dataloader.images import read_image, read_label
from dataloader.scan import scan
from utils.errors import UserError, run
from utils.parser import POSITIVE, POSITIVE_INT, Parser

EVERY = 12


def by_us(count: int, compactness: float) -> Cut:
    """Return a function that makes the project's superpixels."""
    return lambda image: slic(image, count, compactness)


def by_grid(count: int, _: float) -> Cut:
    """Return a function that cuts an image into rectangles of equal size."""

    def cut(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        rows = max(1, round((count * height / width) ** 0.5))
        columns = count // rows
        y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
        return y[:, None] * columns + x

    return cut


METHODS: dict[str, Callable[[int, float], Cut]] = {
    "ours": by_us,
    "scikit-image": partial(by_scikit_image, sigma=SIGMA, min_size_factor=MIN_SIZE_FACTOR),
    "scikit-image-default": by_scikit_image,
    "fast-slic": partial(by_fast_slic, min_size_factor=MIN_SIZE_FACTOR),
    "fast-slic-default": by_fast_slic,
    "fast-slic-all-pieces": partial(by_fast_slic, min_size_factor=0),
    "grid": by_grid,
}


def achievable_segmentation_accuracy(
    superpixels: np.ndarray, labels: np.ndarray, ignore: int = 255
) -> tuple[int, int]:
    """Return how well regions can represent the labels, if each gets its most frequent label.

    Args:
        superpixels: (H, W) integer ids, 0 or more.
        labels: (H, W) uint8 labels.
        ignore: label of ignored pixels.

    Returns:
        The number of pixels with the right label, and the number of pixels counted.
    """
    counted = labels != ignore
    pairs = superpixels[counted].astype(np.int64) * 256 + labels[counted]
    counts = np.bincount(pairs, minlength=256 * (int(superpixels.max()) + 1)).reshape(-1, 256)
    return int(counts.max(1).sum()), int(counted.sum())


def main(argv: Sequence[str] | None = None) -> None:
    """Print regions, accuracy and time of one method."""
    parser = Parser(__doc__)
    parser.add_argument("--datadir", type=Path, required=True, help="root folder of CamVid")
    parser.add_argument("--num_segments", type=POSITIVE_INT, default=40, help="regions per image")
    parser.add_argument(
        "--compactness", type=POSITIVE, default=10.0, help="weight of position against colour"
    )
    parser.add_argument("--by", choices=METHODS, default="ours", help="method to measure")
    args = parser.parse_args(argv)
    info = load_dataset("camvid")
    found = scan(info, args.datadir, "train").items
    items = [item.below(args.datadir) for item in found[::EVERY]]
    if not items:
        raise UserError(f"--datadir {args.datadir}: no CamVid training images; name CamVid's root")
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
        f"{len(items)} frames, {min(counts)} to {max(counts)} regions "
        f"({np.mean(counts):.1f} on average), accuracy {right / counted:.4f}, "
        f"{np.median(seconds):.3f} s per image"
    )


if __name__ == "__main__":
    run(main)

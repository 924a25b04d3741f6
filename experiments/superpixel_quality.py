"""Achievable segmentation accuracy of superpixels on every 12th CamVid training frame.

--by also takes fast-slic (which `make bench` installs) and a plain grid, to compare with.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from data_preprocessing.slic import achievable_segmentation_accuracy, slic
from dataloader.datalist import scan
from dataloader.datasets import load_dataset
from dataloader.images import read_image, read_label
from utils.common import POSITIVE, POSITIVE_INT, Parser
from utils.errors import run

EVERY = 12


def by_fast_slic(image: np.ndarray, count: int, compactness: float) -> np.ndarray:
    """Superpixels by the package that the published release used; all pieces kept, as is best."""
    from fast_slic import Slic

    return Slic(num_components=count, compactness=compactness, min_size_factor=0).iterate(image)


def by_scikit_image(image: np.ndarray, count: int, compactness: float) -> np.ndarray:
    """Superpixels by scikit-image, its step that makes regions connected included."""
    from skimage.segmentation import slic

    return slic(image, count, compactness, start_label=0)


def by_grid(image: np.ndarray, count: int, _: float) -> np.ndarray:
    """Rectangles of one size, 8 columns of them for 40."""
    height, width = image.shape[:2]
    rows = max(1, round((count * height / width / 1.2) ** 0.5))
    columns = count // rows
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    return y[:, None] * columns + x


METHODS = {
    "ours": slic,
    "fast-slic": by_fast_slic,
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
    items = [item.below(args.datadir) for item in scan(info, args.datadir, "train")[::EVERY]]
    right = counted = 0
    counts, seconds = [], []
    for item in items:
        image, label = read_image(item.image), read_label(item.label, info)
        start = time.perf_counter()
        superpixels = METHODS[args.by](image, args.num_segments, args.compactness)
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

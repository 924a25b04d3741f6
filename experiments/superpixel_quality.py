"""Achievable segmentation accuracy of superpixels on every 12th CamVid training frame."""

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


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--datadir", type=Path, required=True, help="root of CamVid")
    parser.add_argument("--num_segments", type=POSITIVE_INT, default=40)
    parser.add_argument("--compactness", type=POSITIVE, default=10.0)
    args = parser.parse_args()
    info = load_dataset("camvid")
    items = [item.below(args.datadir) for item in scan(info, args.datadir, "train")[::EVERY]]
    right = counted = 0
    counts, seconds = [], []
    for item in items:
        image, label = read_image(item.image), read_label(item.label, info)
        start = time.perf_counter()
        superpixels = slic(image, args.num_segments, args.compactness)
        seconds.append(time.perf_counter() - start)
        pair = achievable_segmentation_accuracy(superpixels, label)
        right, counted = right + pair[0], counted + pair[1]
        counts.append(int(superpixels.max()) + 1)
    print(
        f"{len(items)} frames, {min(counts)} to {max(counts)} regions, "
        f"accuracy {right / counted:.4f}, {np.median(seconds):.3f} s an image"
    )


if __name__ == "__main__":
    run(main)

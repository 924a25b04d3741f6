"""Edge maps of a dataset's images, for ReDAL: Gaussian blur 5 x 5, then Canny 50/150.

They go to ``edge/`` below the root, named as the superpixel maps are. A map that is there already
is kept if its image is the same, so a run that was stopped goes on where it was; maps of images
that were replaced are made again. Maps made by other programs are kept.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import cv2
import numpy as np

from data_preprocessing.each_image import (
    add_images_arguments,
    data_root,
    images_from_args,
    map_images,
)
from data_preprocessing.map_writer import MapWriter
from dataloader.edges import edge_path
from dataloader.images import read_edges
from dataloader.item import Item
from utils.errors import run
from utils.parser import Parser

BLUR = (5, 5)
LOW, HIGH = 50, 150
WRITER = MapWriter("an edge map", "Canny ", f"Canny {LOW}/{HIGH}")


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_images_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Make the maps that the command line asks for."""
    args = parser().parse_args(argv)
    items, root = images_from_args(args), data_root(args)
    WRITER.check([edge_path(item, root) for item in items], items, root, args.shard.images)
    mine = args.shard.of(items)
    shares = map_images(partial(write_edges, root=root), mine, args.workers, "edges")
    print(
        f"{len(mine)} edge maps in {root / 'edge'}; "
        f"{100 * np.mean(shares or [0]):.1f} % of the pixels are edges"
    )


def write_edges(item: Item, root: Path) -> float:
    """Write an image's edge map, unless it is there already; the share of edge pixels."""
    path = edge_path(item, root)
    WRITER.write(path, item.image, detect_edges)
    return float((read_edges(path) > 0).mean())


def detect_edges(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 255 at the edges of an image (H, W, 3) uint8 RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.Canny(cv2.GaussianBlur(grey, BLUR, 0), LOW, HIGH)


if __name__ == "__main__":
    run(main, parser)

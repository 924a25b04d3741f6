"""Edge maps of a dataset's images, for ReDAL: Gaussian blur 5 x 5, then Canny 50/150.

They go to ``edge/`` below the root, named as the superpixel maps are. Maps that are there already
are kept, so a run that was stopped goes on where it was.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from PIL import Image

from data_preprocessing.each_image import add_images_arguments, images_from_args, map_images
from dataloader.datalist import Item
from dataloader.edges import edge_path
from dataloader.images import INDEX_MODES, READ_ERRORS, read_image
from utils.common import Parser
from utils.errors import UserError, run
from utils.files import write_png

BLUR = (5, 5)
LOW, HIGH = 50, 150
NOTE = f"Canny {LOW}/{HIGH}"
PNG = b"\x89PNG\r\n\x1a\n"


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_images_arguments(result)
    return result


def main() -> None:
    args = parser().parse_args()
    items = images_from_args(args)
    shares = map_images(partial(draw, root=args.datadir), items, args.workers, "edges")
    print(
        f"{len(items)} edge maps in {args.datadir / 'edge'}; "
        f"{100 * np.mean(shares):.1f} % of the pixels are edges"
    )


def draw(item: Item, root: Path) -> float:
    """Write an image's edge map, unless it is there already; the share of edge pixels."""
    path, image = edge_path(item, root), read_image(item.image)
    edges = read_whole(path, image.shape[:2])
    if edges is None:
        edges = detect_edges(image)
        write_png(path, edges, note=NOTE)
    return float((edges > 0).mean())


def read_whole(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """The edge map of an image (H, W) that is there, ours or one made elsewhere.

    None where it is missing, or is ours but of another size or damaged.

    Raises:
        UserError: the file there is no such map, and would be lost.
    """
    try:
        with Image.open(path) as stored:
            ours, mode, edges = stored.info.get("Comment") == NOTE, stored.mode, np.asarray(stored)
    except READ_ERRORS:
        if not path.is_file() or path.read_bytes()[: len(PNG)] == PNG:
            return None
        ours, mode, edges = False, "", np.empty(0)
    if mode in INDEX_MODES and edges.shape == size:
        return edges
    if not ours:
        raise UserError(f"{path}: an edge map would overwrite this; move it, or mend the datalist")
    return None


def detect_edges(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 255 at the edges of an image (H, W, 3) uint8 RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.Canny(cv2.GaussianBlur(grey, BLUR, 0), LOW, HIGH)


if __name__ == "__main__":
    run(main)

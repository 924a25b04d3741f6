"""Region division: write the superpixel map of every image of a dataset, and the region dictionary.

Maps that are there already are kept, unless they were made with another --num_segments or
--compactness, so a run that was stopped goes on where it was.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image
from skimage.segmentation import mark_boundaries

from data_preprocessing.each_image import add_images_arguments, images_from_args, map_images
from data_preprocessing.slic import MAX_SEGMENTS, slic
from dataloader.datalist import Item
from dataloader.images import INDEX_MODES, READ_ERRORS, read_image, read_superpixels
from dataloader.regions import dictionary_path, regions_of_maps, save_regions
from utils.common import COUNT, POSITIVE, Parser, number
from utils.errors import UserError, run
from utils.files import write_png


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_images_arguments(result)
    segments = number(int, 1, MAX_SEGMENTS)
    result.add_argument("--num_segments", type=segments, default=40, help="regions an image")
    result.add_argument("--compactness", type=POSITIVE, default=10.0, help="of SLIC")
    result.add_argument("--preview", type=COUNT, default=0, help="overlays to draw")
    return result


def main() -> None:
    args = parser().parse_args()
    items = images_from_args(args)
    check_places(items, args.datadir)
    segment = partial(divide, num_segments=args.num_segments, compactness=args.compactness)
    made = map_images(segment, items, args.workers, "superpixels")
    regions = dict(zip((item.superpixel for item in items), made, strict=True))
    save_regions(args.datadir, args.split, regions)
    counts = [len(areas) for areas in regions.values()]
    print(
        f"{len(counts)} superpixel maps of {min(counts)} to {max(counts)} regions; "
        f"dictionary {dictionary_path(args.datadir, args.split)}"
    )
    if args.preview:
        count = min(args.preview, len(items))
        preview([items[index * len(items) // count] for index in range(count)], args.datadir)


def check_places(items: Sequence[Item], root: str) -> None:
    """Refuse a list whose maps would be written elsewhere than below the root, or over other files.

    Raises:
        UserError: names the first such map.
    """
    inputs = {path for item in items for path in (item.image, item.label)}
    folder = os.path.abspath(root)
    for path in (item.superpixel for item in items):
        if not Path(path).is_relative_to(folder):
            raise UserError(f"{path}: the superpixel map lies outside --datadir {root}")
        if path in inputs or Path(path).suffix != ".png" or _is_other_picture(path):
            raise UserError(f"{path}: a superpixel map would overwrite this; mend the datalist")


def _is_other_picture(path: str) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode not in INDEX_MODES
    except READ_ERRORS:  # absent, or a map that is damaged
        return False


def divide(item: Item, num_segments: int, compactness: float) -> dict[int, int]:
    """Make one superpixel map, unless it is there already; its region ids and areas.

    The map's PNG comment holds the settings. A map without one was made elsewhere, and is kept.
    """
    settings = f"SLIC num_segments={num_segments} compactness={compactness:g}"
    path = Path(item.superpixel)
    if not up_to_date(path, item.image, settings):
        write_png(path, slic(read_image(item.image), num_segments, compactness), note=settings)
    return regions_of_maps([path])[str(path)]


def up_to_date(path: Path, image_path: str, settings: str) -> bool:
    """Whether a whole map of the image's size is there, made with these settings or elsewhere."""
    try:
        with Image.open(path) as stored, Image.open(image_path) as image:
            stored.load()
            return stored.size == image.size and stored.info.get("Comment", settings) == settings
    except READ_ERRORS:
        return False


def preview(items: Sequence[Item], root: Path) -> None:
    """Draw the region borders over images, into superpixel/preview."""
    folder = root / "superpixel" / "preview"
    for item in items:
        borders = mark_boundaries(
            read_image(item.image), read_superpixels(item.superpixel), color=(1, 1, 0)
        )
        write_png(folder / f"{Path(item.image).stem}.png", (borders * 255).astype(np.uint8))
    print(f"{len(items)} previews in {folder}")


if __name__ == "__main__":
    run(main)

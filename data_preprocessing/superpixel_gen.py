"""Region division: write the superpixel map of every image of a dataset, and the region dictionary.

A map that is there already is kept if its image and the settings are the same, so a run that was
stopped goes on where it was; maps of images that were replaced are made again. Maps made by other
programs are kept.
"""

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import numpy as np
from skimage.segmentation import mark_boundaries

from data_preprocessing.each_image import (
    add_images_arguments,
    data_root,
    images_from_args,
    map_images,
)
from data_preprocessing.map_writer import MapWriter
from data_preprocessing.shards import Parts
from data_preprocessing.slic import MAX_SEGMENTS, slic
from dataloader.checks.superpixel_maps import warn_of_other_maps
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.ignore_mask import (
    NO_REGION,
    Masks,
    count_masked,
    find_masks,
    mask_of,
    read_regions,
)
from dataloader.images import read_image, read_superpixels
from dataloader.item import Item
from dataloader.regions import dictionary_path, regions_of_maps
from utils.errors import UserError, run, shown
from utils.files import write_png
from utils.parser import COUNT, POSITIVE, Parser, number
from utils.progress import progress

log = logging.getLogger(__name__)

HATCH, MASKED = 12, (200, 0, 0)
"""Distance, in pixels, and RGB colour of the stripes over masked pixels of a preview."""


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_images_arguments(result)
    segments = number(int, 1, MAX_SEGMENTS)
    result.add_argument(
        "--num_segments",
        type=segments,
        default=40,
        help="regions per image: at most this many, and at least two thirds of it",
    )
    result.add_argument(
        "--compactness",
        type=POSITIVE,
        default=10.0,
        help="weight of position against colour; larger values give squarer regions",
    )
    result.add_argument(
        "--preview",
        type=COUNT,
        default=0,
        help="number of images to draw with their region borders, and their ignore masks hatched, "
        "into superpixel/preview below the data root",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Make the maps that the command line asks for."""
    args = parser().parse_args(argv)
    items, root = images_from_args(args), data_root(args)
    mine = args.shard.of(items)
    masks = masks_if_good(mine, root, load_dataset(args.dataset))
    writer = superpixel_writer(args.num_segments, args.compactness)
    paths = [Path(item.superpixel) for item in items]
    writer.check(paths, items, root, args.shard.images)
    divide = partial(divide_image, writer, args.num_segments, args.compactness)
    made = map_images(divide, mine, args.workers, "superpixels")
    regions = dict(zip((item.superpixel for item in mine), made, strict=True))
    parts = Parts(root, args.split, items, writer.settings)
    lacking = parts.join(args.shard, regions)
    counts = [len(areas) for areas in made]
    span = f" of {min(counts)} to {max(counts)} regions" if counts else ""
    print(f"{len(counts)} superpixel maps{span}; dictionary {dictionary_path(root, args.split)}")
    warn_of_other_maps(regions)
    if lacking:
        print_lacking(lacking, len(items), parts)
    if masks:
        masked, pixels = count_masked(mine, masks)
        print(f"ignore_mask: {100 * masked / pixels:.1f} % of the pixels are never asked for")
    count = min(args.preview, len(items))
    previews = {items[index * len(items) // count] for index in range(count)}
    if args.preview:
        draw_previews([item for item in mine if item in previews], root, masks)


def print_lacking(lacking: int, total: int, parts: Parts) -> None:
    """Say why the dictionary is not written yet."""
    print(
        f"it will be written by the last shard: {lacking} of {total} images have no entry for it "
        f"in {parts.folder} yet"
    )
    if others := parts.others():
        log.warning(
            "%d of the files there are of another list of images or of maps with other settings; "
            "do all machines see the same data, with the same flags?",
            others,
        )


def masks_if_good(items: Sequence[Item], root: Path, info: DatasetInfo) -> Masks:
    """The masks of the images; bad ones are told of, as sources of the same dataset need none."""
    try:
        return find_masks(items, root, info)
    except UserError as error:
        note = f"{error} (a source needs no mask; as a target, train_ADA.py refuses it)"
        log.warning("%s", shown(note))
        return {}


def superpixel_writer(num_segments: int, compactness: float) -> MapWriter:
    """The writer of maps with these settings."""
    # Maps of earlier versions have the comment "SLIC num_segments=..."; they are made again.
    settings = f"SLIC by scikit-image, num_segments={num_segments}, compactness={compactness:g}"
    return MapWriter("a superpixel map", "SLIC ", settings)


def divide_image(
    writer: MapWriter, num_segments: int, compactness: float, item: Item
) -> dict[int, int]:
    """Write an image's superpixel map, unless it is there; its region ids and their areas."""
    path = Path(item.superpixel)
    writer.write(path, item.image, lambda pixels: slic(pixels, num_segments, compactness))
    return regions_of_maps([path])[str(path)]


def draw_previews(items: Sequence[Item], root: Path, masks: Masks) -> None:
    """Draw the region borders over images, into ``superpixel/preview``, named as the maps are.

    What is never asked for (:func:`dataloader.ignore_mask.read_regions`) is hatched in red.
    """
    folder = root / "superpixel" / "preview"
    for item in progress(items, desc="previews", unit="image"):
        image, superpixels = read_image(item.image), read_superpixels(item.superpixel)
        drawn = (mark_boundaries(image, superpixels, color=(1, 1, 0)) * 255).astype(np.uint8)
        if masks:
            masked = read_regions(item.superpixel, mask_of(item, masks)) == NO_REGION
            stripes = np.add(*np.indices(masked.shape)) % HATCH < HATCH // 2
            drawn[masked & stripes] = MASKED
        write_png(folder / preview_name(item, root), drawn)
    print(f"{len(items)} previews in {folder}")


def preview_name(item: Item, root: Path) -> Path:
    """Path of an image's preview below their folder: its map's, so that no two are the same."""
    path = Path(os.path.relpath(item.superpixel, os.path.abspath(root)))
    return path.relative_to("superpixel") if path.is_relative_to("superpixel") else path


if __name__ == "__main__":
    run(main, parser)

"""Pixels of target images that are never asked for: the masks that ``ignore_mask`` names.

:func:`read_regions` leaves masked pixels, and regions of which more than half is masked, out of a
superpixel map. Whatever looks at the regions of a target image (their areas, features, labels, what
people are shown) reads them there. Training scales and flips masks with their images, and joins
them afterwards (:class:`dataloader.datasets.TrainingSet`).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dataloader import path_templates
from dataloader.checks.files import spread
from dataloader.dataset_info import DatasetInfo
from dataloader.image_files import READ_ERRORS, reason
from dataloader.images import count_values, read_head, read_mask, read_superpixels
from dataloader.item import Item, image_key
from utils.errors import UserError, shown
from utils.files import map_files
from utils.resources import resource_problem

log = logging.getLogger(__name__)

Masks = Mapping[str, str]
"""Image path -> path of its mask; empty for a dataset without masks."""

NO_REGION = -1
MOST = 0.9  # of all pixels; a mask of more is refused
MANY = 0.5  # of all pixels; a mask of more is warned of
LOOKED_AT = 32  # masks of a dataset of which the content is read before a run


def mask_of(item: Item, masks: Masks | None) -> str | None:
    """Path of an image's mask; None for a dataset without masks."""
    return masks[item.image] if masks else None


def find_masks(items: Iterable[Item], root: str | Path, info: DatasetInfo) -> dict[str, str]:
    """The masks of images, which must be there, be of their images' sizes, and make sense.

    Args:
        items: the images.
        root: the data root.
        info: the dataset; without ``ignore_mask`` in it, the result is empty.

    Raises:
        UserError: a mask is missing, cannot be read or has another size than its image, an image's
            path is not of the template ``image``, so that its mask is not known, or the masks leave
            less than a tenth of the pixels.
    """
    if info.ignore_mask is None:
        return {}
    items = list(items)
    masks = {
        item.image: str(Path(root).absolute() / _mask_path(item, root, info)) for item in items
    }
    _check_heads(masks)
    _check_share(masks, info)
    return masks


def _mask_path(item: Item, root: str | Path, info: DatasetInfo) -> str:
    """Path of an image's mask below the root."""
    if not path_templates.placeholders(info.ignore_mask):
        return info.ignore_mask
    key = image_key(item, root)
    for text in info.splits.values():
        if names := path_templates.parse(info.image, text, key, any_suffix=True):
            return path_templates.fill(info.ignore_mask, text, names)
    raise UserError(
        f"{shown(item.image)}: its ignore mask is not known, as its path below {root} is not like "
        f'image in {info.path} ("{info.image}"); mend either, or give ignore_mask one PNG'
    )


def _check_heads(masks: Masks) -> None:
    """Refuse masks that cannot be read, or are not of their images' sizes."""

    def problem(image: str) -> str:
        mask = masks[image]
        try:
            size = read_head(mask, "mask")
        except READ_ERRORS as error:
            if resource_problem(error):
                raise
            return f"{mask}: ignore mask cannot be read ({reason(error)})"
        image_size = read_head(image, "image")
        if size == image_size:
            return ""
        return (
            f"{mask}: ignore mask of {size[0]} x {size[1]} pixels, but {shown(image)} has "
            f"{image_size[0]} x {image_size[1]}"
        )

    problems = list(dict.fromkeys(filter(None, map_files(problem, masks))))
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(
            f"{problems[0]}{more}; each image needs a mask of its size: one PNG for all, or a "
            "template with {stem} for one each, black where nothing is ignored"
        )


def _masked(path: str) -> tuple[int, int]:
    """Masked pixels of a mask, and all of its pixels."""
    mask = read_mask(path)
    return int(mask.sum()), mask.size


def _check_share(masks: Masks, info: DatasetInfo) -> None:
    """Look at some masks: could they be inverted, or empty?"""
    paths = spread(sorted(set(masks.values())), LOOKED_AT)
    counts = np.array(map_files(_masked, paths))
    share = counts[:, 0].sum() / counts[:, 1].sum() if len(counts) else 0.0
    found = f"{info.path}: ignore_mask leaves out {100 * share:.1f} % of the pixels"
    hint = f"pixels that are not black are ignored ({paths[0] if paths else ''})"
    if share > MOST:
        raise UserError(f"{found}; {hint}: is it inverted?")
    if share > MANY:
        log.warning("%s; %s: is it inverted?", found, hint)
    if not share:
        log.warning("%s; %s, and none is", found, hint)


def read_regions(superpixel: str | Path, mask: str | Path | None = None) -> np.ndarray:
    """Read the regions of an image, as its mask leaves them.

    Args:
        superpixel: path of the superpixel map.
        mask: path of the image's mask, if it has one.

    Returns:
        (H, W) region ids: uint8 without a mask; int16 with one, and :data:`NO_REGION` where the
        pixel is masked, or more than half of its superpixel is.

    Raises:
        UserError: a file cannot be read, or their sizes differ.
    """
    superpixels = read_superpixels(superpixel)
    if not mask:
        return superpixels
    masked = read_mask(mask)
    if masked.shape != superpixels.shape:
        raise UserError(f"{mask}: ignore mask is not of the size of {superpixel}; mend the mask")
    area = count_values(superpixels, 256)
    hidden = count_values(superpixels[masked], 256)
    ids = np.where(2 * hidden > area, NO_REGION, np.arange(256)).astype(np.int16)
    regions = ids[superpixels]
    regions[masked] = NO_REGION
    return regions


def count_masked(items: Sequence[Item], masks: Masks) -> tuple[int, int]:
    """How many pixels of images belong to no region, and how many there are."""

    def count(item: Item) -> tuple[int, int]:
        regions = read_regions(item.superpixel, masks[item.image])
        return int(np.count_nonzero(regions == NO_REGION)), regions.size

    ignored, pixels = zip(*map_files(count, items), strict=True)
    return sum(ignored), sum(pixels)

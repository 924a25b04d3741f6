"""Labels that lie over their images turned or mirrored, told by edges of the images.

A size tells a quarter turn, but not a half one: of a photo that is turned by its EXIF orientation
while its label was drawn as the camera stored it, or of a renderer that writes rows from below.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from dataloader.dataset_info import DatasetInfo
from dataloader.file_checks import spread
from dataloader.image_files import open_image, orientation
from dataloader.images import fit_label, read_image, read_label
from dataloader.item import Item, shown

log = logging.getLogger(__name__)

LOOKED_AT = 8
HEADS = 64  # files of which the EXIF orientation is looked at
BETTER = 1.5  # edges below the borders of right labels are 2 to 3 times those below turned ones
BORDER = 30  # pixels of border that tell something
APART = 4  # rows, and columns, that are looked at

FLIPS = {
    "turned by 180 degrees": np.s_[::-1, ::-1],
    "mirrored": np.s_[:, ::-1],
    "upside down": np.s_[::-1],
}


def warn_if_labels_turned(items: Sequence[Item], info: DatasetInfo) -> None:
    """Warn if most labels of some images fit better when they are turned or mirrored.

    Images that have an EXIF orientation are looked at apart from the others.

    Args:
        items: images with labels, which can be read.
        info: their dataset.
    """
    groups: dict[bool, list[Item]] = {False: [], True: []}
    for item in spread(items, HEADS):
        with open_image(item.image) as image:
            groups[orientation(image) != 1].append(item)
    for by_exif, group in groups.items():
        looked_at = spread(group, LOOKED_AT)
        with ThreadPoolExecutor(LOOKED_AT) as pool:
            found = list(pool.map(lambda item: better_flip(item, info), looked_at))
        turned = [(item, flip) for item, flip in zip(looked_at, found, strict=True) if flip]
        if 2 * len(turned) > len(looked_at):
            item, flip = turned[0]
            log.warning(
                "%s: fits %s better when it is %s (%d of %d labels looked at are such); %s",
                *(shown(item.label), shown(item.image), flip, len(turned), len(looked_at)),
                "the image is shown as its EXIF orientation says: draw the label over it so"
                if by_exif
                else "save the labels as the images are",
            )


def better_flip(item: Item, info: DatasetInfo) -> str:
    """Which of :data:`FLIPS` brings a label's borders to its image's edges; "" if none does."""
    grey = cv2.cvtColor(read_image(item.image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    label = fit_label(read_label(item.label, info), grey.shape)
    edges = [np.abs(step) for step in _steps(grey)]

    def strength(flip: tuple[slice, ...] | slice) -> float:
        borders = [step != 0 for step in _steps(label[flip])]
        if sum(map(np.count_nonzero, borders)) < BORDER:
            return 0
        return sum(float(e[b].sum()) for e, b in zip(edges, borders, strict=True))

    best = max(FLIPS, key=lambda name: strength(FLIPS[name]))
    return best if strength(FLIPS[best]) > BETTER * strength(np.s_[:]) else ""


def _steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences from pixel to pixel, along some rows and along some columns."""
    return np.diff(values[::APART], axis=1), np.diff(values[:, ::APART], axis=0)

"""Labels that lie over their images turned or mirrored, told by edges of the images.

A size tells a quarter turn, but not a half one: of a photo that is turned by its EXIF orientation
while its label was drawn as the camera stored it, or of a renderer that writes rows from below. Of
square images it tells neither, nor columns written as rows, as between MATLAB and NumPy.
"""

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from dataloader.checks.files import spread
from dataloader.dataset_info import DatasetInfo
from dataloader.image_files import open_image, orientation
from dataloader.images import fit_label, read_image, read_label
from dataloader.item import Item
from utils.errors import shown
from utils.files import map_files

log = logging.getLogger(__name__)

LOOKED_AT = 8
THREADS = 4  # a photo of 12 megapixels takes 100 MB
HEADS = 64  # files of which the EXIF orientation is looked at
BETTER = 1.5  # edges below the borders of right labels are 2 to 3 times those below turned ones
BORDER = 100  # pixels of border that tell something
APART = 4  # rows, and columns, that are looked at

AS_IT_IS = ""
FLIPS = {
    AS_IT_IS: np.s_[:],
    "turned by 180 degrees": np.s_[::-1, ::-1],
    "mirrored": np.s_[:, ::-1],
    "upside down": np.s_[::-1],
}
QUARTER_TURNS = {  # of a label whose rows have become its columns
    "transposed": np.s_[:],
    "transposed and turned by 180 degrees": np.s_[::-1, ::-1],
    "turned by 90 degrees to the right": np.s_[:, ::-1],
    "turned by 90 degrees to the left": np.s_[::-1],
}


def warn_if_labels_turned(items: Sequence[Item], info: DatasetInfo) -> bool:
    """Warn if most labels of some images fit better when they are turned, mirrored or transposed.

    Images that have an EXIF orientation are looked at apart from the others.

    Args:
        items: images with labels, which can be read.
        info: their dataset.

    Returns:
        whether there was a warning.
    """
    warned = False
    groups: dict[bool, list[Item]] = {False: [], True: []}
    for item in spread(items, HEADS):
        with open_image(item.image) as image:
            groups[orientation(image) != 1].append(item)
    for by_exif, group in groups.items():
        looked_at = spread(group, LOOKED_AT)
        found = map_files(lambda item: better_flip(item, info), looked_at, threads=THREADS)
        turned = [(item, flip) for item, flip in zip(looked_at, found, strict=True) if flip]
        if 2 * len(turned) > len(looked_at):
            item, flip = turned[0]
            warned = True
            log.warning(
                "%s: fits %s better when it is %s (%d of %d labels looked at are such); %s",
                *(shown(item.label), shown(item.image), flip, len(turned), len(looked_at)),
                "the image is shown as its EXIF orientation says: draw the label over it so"
                if by_exif
                else "save the labels as the images are",
            )
    return warned


def better_flip(item: Item, info: DatasetInfo) -> str:
    """Which of :data:`FLIPS` alone brings a label's borders to its image's edges; "" if none does.

    Of square images :data:`QUARTER_TURNS`, too. Where textured houses lie above a
    smooth road, all borders that reach them are stronger there, turned by 180 degrees as well as
    upside down; so the best is compared with each of the others.
    """
    grey = cv2.cvtColor(read_image(item.image), cv2.COLOR_RGB2GRAY)
    edges = list(map(np.abs, edge_steps(grey, APART)))
    strengths = {}
    for name, turned in placements(read_label(item.label, info), grey.shape).items():
        borders = [step != 0 for step in edge_steps(turned, APART)]
        if sum(map(np.count_nonzero, borders)) < BORDER:
            return AS_IT_IS
        strengths[name] = sum(int(e[b].sum()) for e, b in zip(edges, borders, strict=True))
    best = max(strengths, key=strengths.__getitem__)
    second = max(strength for name, strength in strengths.items() if name != best)
    return best if strengths[best] > BETTER * second else AS_IT_IS


def placements(values: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A map in all ways in which it may lie over an image, by what is done to it.

    Args:
        values: (H, W).
        shape: that of the image, (H, W), to which maps are brought. Only a square one leaves open
            whether rows have become columns.
    """
    upright = fit_label(values, shape)
    placed = {name: upright[flip] for name, flip in FLIPS.items()}
    if shape[0] == shape[1]:
        across = fit_label(values.T, shape)
        placed |= {name: across[flip] for name, flip in QUARTER_TURNS.items()}
    return placed


def edge_steps(values: np.ndarray, apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences (int16) from pixel to pixel, along every ``apart``-th row and column."""
    rows, columns = values[::apart].astype(np.int16), values[:, ::apart].astype(np.int16)
    return np.diff(rows, axis=1), np.diff(columns, axis=0)

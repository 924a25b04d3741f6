"""A prediction drawn over its image, with the names of the classes."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.images import count_values
from utils.fonts import load_font


def draw_overlay(
    image: np.ndarray, labels: np.ndarray, info: DatasetInfo, opacity: float
) -> np.ndarray:
    """Colour the classes over an image; a legend below it names those that occur, largest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 train ids; ignored pixels (255) show the image alone.
        info: the dataset, for names and colours.
        opacity: of the colours, 0 to 1.

    Returns:
        (H + legend, W, 3) uint8.
    """
    drawn = cv2.addWeighted(image, 1 - opacity, info.color_table[labels], opacity, 0)
    drawn[labels == IGNORE] = image[labels == IGNORE]
    areas = count_values(labels, 256)[: len(info.class_names)]
    present = [int(c) for c in np.argsort(-areas, kind="stable") if areas[c]]
    return np.concatenate([drawn, _legend(present, info, image.shape[1])])


def _legend(classes: list[int], info: DatasetInfo, width: int) -> np.ndarray:
    """(h, width, 3) uint8: a coloured box and the name of each class, in as many rows as needed."""
    size = max(10, width // 60)
    font = load_font(size)
    places, left, top = [], size, size // 2
    for c in classes:
        needed = round(font.getlength(info.class_names[c])) + 3 * size
        if left > size and left + needed > width:
            left, top = size, top + 2 * size
        places.append((left, top))
        left += needed
    picture = Image.new("RGB", (width, top + 2 * size), "white")
    pen = ImageDraw.Draw(picture)
    for c, (x, y) in zip(classes, places, strict=True):
        pen.rectangle((x, y, x + size, y + size), fill=tuple(info.palette[c]), outline="black")
        pen.text((x + 1.5 * size, y + size / 2), info.class_names[c], "black", font, anchor="lm")
    return np.asarray(picture)

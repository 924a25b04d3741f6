"""Pictures of the asked regions, and their outlines as polygons."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

THUMBNAIL_WIDTH = 640
PICTURE_WIDTH = 960
DIMMED = 0.6
"""Brightness of pixels outside of the asked regions."""


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The outer borders of a mask's parts, the largest first.

    The corners lie a sixth of a pixel inside of the border, so that whoever fills the polygon
    finds the same pixels, whichever way borders are rounded. Holes are filled.

    Args:
        mask: (H, W) bool.

    Returns:
        Each part's corners as (n, 2) float, x and y in pixels; (0, 0) is the image's corner.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = mask[top : top + height, left : left + width].astype(np.uint8)
    large = np.kron(box, np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = [(part.reshape(-1, 2) + 0.5) / 3 + (left, top) for part in found]
    return [np.round(part, 3) for part in sorted(parts, key=polygon_area, reverse=True)]


def polygon_area(part: np.ndarray) -> float:
    """The area of a polygon, (n, 2) float, in square pixels."""
    return cv2.contourArea(part.astype(np.float32))


def draw_regions(image: np.ndarray, numbers: np.ndarray, width: int, text_size: int) -> np.ndarray:
    """The image with the asked regions at full brightness, outlined and numbered.

    Args:
        image: (H, W, 3) uint8 RGB.
        numbers: (H, W) uint8 region numbers, 0 outside of all asked regions.
        width: of the picture, in pixels.
        text_size: of the numbers, in pixels.

    Returns:
        (height, width, 3) uint8 RGB, in the image's proportions.
    """
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    shrinks = width < image.shape[1]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    numbers = cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST)
    drawn = cv2.LUT(image, (np.arange(256) * DIMMED).astype(np.uint8))
    cv2.copyTo(image, (numbers > 0).astype(np.uint8), drawn)
    line = max(2, width // 640)
    places = {}
    for number in np.unique(numbers[numbers > 0]).tolist():
        mask = (numbers == number).astype(np.uint8)
        left, top, columns, rows = cv2.boundingRect(mask)
        mask = mask[top : top + rows, left : left + columns]
        borders, _ = cv2.findContours(
            mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top)
        )
        # white on black is seen on any background, and with any eyes
        cv2.drawContours(drawn, borders, -1, (0, 0, 0), line + 2)
        cv2.drawContours(drawn, borders, -1, (255, 255, 255), line)
        x, y = inside(mask)
        places[number] = left + x, top + y
    return write_numbers(drawn, places, text_size)


def inside(mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel of a mask, (H, W) uint8, that is farthest from its border."""
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def write_numbers(picture: np.ndarray, places: dict[int, tuple[int, int]], size: int) -> np.ndarray:
    """Numbers in black boxes at their places, moved into the picture where they stand out."""
    drawn = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size)
    for number, (x, y) in places.items():
        half = pen.textlength(str(number), font) / 2 + size / 4, size * 0.65
        x, y = (
            min(max(v, h), max(extent - 1 - h, h))
            for v, h, extent in zip((x, y), half, drawn.size, strict=True)
        )
        box = (x - half[0], y - half[1], x + half[0], y + half[1])
        pen.rectangle(box, "black", "white")
        pen.text((x, y), str(number), "white", font, anchor="mm")
    return np.asarray(drawn)

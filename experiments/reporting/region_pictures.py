"""Pictures of the selected regions over their images, and what is written below them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from annotation.drawing import inside, write_numbers
from dataloader.images import fit_label, read_image, read_superpixels
from experiments.reporting.chosen import ChosenRegion
from utils.errors import UserError, shown
from utils.files import atomic_write

LONG_SIDE = 720
"""Longer side of a picture, in pixels."""
QUALITY = 78
LISTED = 24
"""How many regions of one image are described below its picture."""
DIMMED, EARLIER = 0.55, 0.8
"""Brightness of pixels outside of all selected regions, and in those of earlier rounds."""
COLORS = ((86, 180, 233), (230, 159, 0), (0, 190, 140), (204, 121, 167), (240, 228, 66))
"""RGB of the strategies, in turn; of Okabe and Ito, on dark and bright images alike."""
DASHES = ((1, 0), (7, 5), (2, 4), (12, 4), (4, 8))
"""Lengths of dash and gap of the strategies' outlines, in pixels."""


class Style(NamedTuple):
    """How the outlines of a strategy are drawn in a round: RGB colour, and dash and gap."""

    color: tuple[int, int, int]
    dash: tuple[int, int]


def style_of(strategy: int, round_place: int, rounds: int) -> Style:
    """Return the style of a strategy (its number) in a round: later rounds are lighter."""
    color = np.array(COLORS[strategy % len(COLORS)], float)
    light = 0.55 * round_place / max(1, rounds - 1)
    mixed = color + (255 - color) * light
    return Style(tuple(mixed.round().astype(int).tolist()), DASHES[strategy % len(DASHES)])


def images_of_round(chosen: Sequence[ChosenRegion], number: int | None, count: int) -> list[str]:
    """Return the superpixel paths of the images to show of a round.

    Each strategy in turn gives the image in which it selected most pixels.
    """
    pixels: dict[str | None, dict[str, int]] = {}
    for one in chosen:
        if one.selection.round == number:
            of = pixels.setdefault(one.selection.strategy, {})
            path = one.item.superpixel
            of[path] = of.get(path, 0) + (one.pixels or 1)
    queues = [sorted(of, key=lambda path, of=of: -of[path]) for of in pixels.values()]
    turns = chain.from_iterable(zip_longest(*queues))
    return list(dict.fromkeys(path for path in turns if path is not None))[:count]


def draw_image(
    image: np.ndarray,
    superpixels: np.ndarray,
    now: Mapping[int, tuple[int, Style]],
    earlier: Mapping[int, Style],
) -> np.ndarray:
    """Draw the selected regions of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
        superpixels: (H, W) uint8 region ids.
        now: region id -> its number and style, of the round that is shown.
        earlier: region id -> style, of the rounds before it.

    Returns:
        (h, w, 3) uint8 RGB, not larger than :data:`LONG_SIDE`.
    """
    scale = LONG_SIDE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    superpixels = fit_label(superpixels, size[::-1])
    light = np.full(superpixels.shape, DIMMED, np.float32)
    light[np.isin(superpixels, list(earlier))] = EARLIER
    light[np.isin(superpixels, list(now))] = 1
    drawn = (image * light[..., None]).astype(np.uint8)
    for region, style in earlier.items():
        outline(drawn, superpixels == region, style, 2)
    places = {}
    for region, (number, style) in now.items():
        mask = superpixels == region
        outline(drawn, mask, style, 3)
        if mask.any():
            places[number] = inside(mask.astype(np.uint8))
    return write_numbers(drawn, places, LONG_SIDE // 32)


def outline(picture: np.ndarray, mask: np.ndarray, style: Style, width: int) -> None:
    """Draw the outline of a mask (H, W) bool onto a picture, dashed on a black line."""
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, borders, -1, (0, 0, 0), width + 2)
    dash, gap = style.dash
    for border in borders:
        points = border.reshape(-1, 2)
        if not gap:
            cv2.polylines(picture, [points], True, style.color, width)
            continue
        for start in range(0, len(points), dash + gap):
            cv2.polylines(picture, [points[start : start + dash]], False, style.color, width)


def round_cards(
    chosen: Sequence[ChosenRegion],
    strategies: Sequence[str | None],
    number: int | None,
    count: int,
    folder: Path,
    problems: list[str],
) -> Iterator[dict[str, Any]]:
    """Write the pictures of a round, and yield what the page says of each.

    Args:
        chosen: the selected regions of a run.
        strategies: names of all strategies of the report, whose place chooses the style.
        number: of the round; None for the regions whose round is not known.
        count: how many images to show.
        folder: for the pictures, ``<round>_<n>.jpg``.
        problems: takes a line for each image that cannot be shown.
    """
    rounds = sorted({one.selection.round for one in chosen if one.selection.round is not None})
    of_image: dict[str, list[ChosenRegion]] = {}
    for one in chosen:
        of_image.setdefault(one.item.superpixel, []).append(one)

    def style(one: ChosenRegion) -> Style:
        by = one.selection
        place = 0 if by.round is None else rounds.index(by.round)
        return style_of(strategies.index(by.strategy), place, len(rounds))

    for place, path in enumerate(images_of_round(chosen, number, count)):
        regions = of_image[path]
        now = in_order([one for one in regions if one.selection.round == number])
        before = [] if number is None else [o for o in regions if (o.selection.round or 0) < number]
        numbered = {one.region: (n, style(one)) for n, one in now.items()}
        try:
            image, superpixels = read_image(regions[0].item.image), read_superpixels(path)
        except UserError as error:
            problems.append(error.line)
            continue
        superpixels = fit_label(superpixels, image.shape[:2])
        drawn = draw_image(image, superpixels, numbered, {o.region: style(o) for o in before})
        name = f"{'any' if number is None else f'{number:02d}'}_{place:02d}.jpg"
        with atomic_write(folder / name) as file:
            Image.fromarray(drawn).save(file, "JPEG", quality=QUALITY)
        yield _card(name, drawn.shape, now)


def in_order(regions: Sequence[ChosenRegion]) -> dict[int, ChosenRegion]:
    """Return number -> region of one image and round: as people know them, or as selected."""
    if all(one.asked_as for one in regions):
        numbers = {one.asked_as.number: one for one in regions}
        return dict(sorted(numbers.items()))
    return dict(enumerate(regions, 1))


def _card(name: str, shape: Sequence[int], now: Mapping[int, ChosenRegion]) -> dict[str, Any]:
    """What the page says of a picture, and of the regions in it."""
    first = next(iter(now.values()))
    listed = list(now.items())[:LISTED]
    return {
        "file": name,
        "width": shape[1],
        "height": shape[0],
        "image": shown(first.image),
        "asked_as": first.asked_as and first.asked_as.image,
        "regions": [describe(n, one) for n, one in listed],
        "more": len(now) - len(listed),
    }


def describe(number: int, one: ChosenRegion) -> dict[str, Any]:
    """Return what the page says of a region; None for what is not known."""
    by = one.selection
    most = None
    if one.by_class is not None and one.pixels:
        most = 100 * int(one.by_class[:-1].max()) / one.pixels
    return {
        "number": number,
        "strategy": by.strategy,
        "score": None if by.score is None else f"{by.score:.4g}",
        "predicted": one.predicted,
        "rank": by.reason.rank,
        "among": by.reason.among,
        "pixels": one.pixels,
        "label": one.label,
        "label_percent": most,
        "known": one.by_class is not None,
        "asked": one.state == "asked",
    }

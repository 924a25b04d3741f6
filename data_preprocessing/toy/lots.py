"""Lots beside the street: houses, walls, fences, parks, side streets.

A lot lies behind the edge of the street at ``x`` and reaches from ``z`` to ``z + length``, in
metres.
"""

from typing import NamedTuple

import numpy as np

from data_preprocessing.toy.canvas import (
    BUILDING,
    FENCE,
    ROAD,
    VEGETATION,
    WALL,
    Paint,
    grid,
    moved,
    rectangle,
)
from data_preprocessing.toy.pen import Pen, box
from data_preprocessing.toy.scenery import tree

STOREY = 3.1
DEPTH = 14.0


class House(NamedTuple):
    """Where a house stands, and its height under the roof, in metres."""

    x: float
    z: float
    length: float
    storeys: int

    @property
    def side(self) -> float:
        """-1 on the left of the street, +1 on its right."""
        return float(np.sign(self.x))

    @property
    def height(self) -> float:
        """Height under the roof."""
        return self.storeys * STOREY + 0.8


def building(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a detached house of two to five storeys."""
    house = House(x, z, length, int(pen.rng.integers(2, 6)))
    _house(pen, house, pen.paint("facade", BUILDING, "brick" if pen.chance(0.5) else "plaster"))


def terrace(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a row of narrow houses of their own colours."""
    count = max(2, int(length / 5))
    storeys = int(pen.rng.integers(2, 4))
    brick = pen.paint("facade", BUILDING, "brick")
    for number in reversed(range(count)):
        painted = pen.paint("facade", BUILDING, "plaster") if pen.chance(0.4) else brick
        _house(pen, House(x, z + number * length / count, length / count, storeys), painted)


def _house(pen: Pen, house: House, facade: Paint) -> None:
    """Draw a house: roof, gable and facade with windows, a cornice, shops or a door."""
    canvas, (x, z, length, storeys) = pen.canvas, house
    glass, trim = pen.paint("glass", BUILDING), pen.paint("trim", BUILDING)
    height, side = house.height, house.side
    if pen.chance(0.6):
        _roof(pen, house, facade)
    canvas.side(x, rectangle(z, z + length, 0, height), facade)
    canvas.front(z, rectangle(x, x + DEPTH * side, 0, height), facade)
    columns = max(1, int(length / pen.rng.uniform(1.8, 3.2)))
    fill = pen.rng.uniform(0.4, 0.75)
    windows = grid(
        z + 0.4, z + length - 0.4, STOREY + 0.4, height - 0.4, columns, storeys - 1, fill
    )
    canvas.side(x, moved(windows, 0.0, -0.12), trim)
    canvas.side(x, windows, glass)
    _reflections(pen, x, windows, glass)
    gable_windows = grid(
        x + 2 * side, x + 12 * side, STOREY + 0.4, height - 0.4, 3, storeys - 1, 0.4
    )
    canvas.front(z, gable_windows, glass)
    if pen.chance(0.6):
        _shops(pen, house, max(1, columns // 2), glass)
    else:
        canvas.side(x, grid(z + 0.4, z + length - 0.4, 0.9, STOREY, columns, 1, fill), glass)
    middle = z + length * pen.rng.uniform(0.2, 0.8)
    canvas.side(x, rectangle(middle - 0.6, middle + 0.6, 0, 2.3), pen.paint("door", BUILDING))
    canvas.side(x, rectangle(z, z + length, 0, 0.4), trim.shaded(0.7))
    canvas.side(x, rectangle(z, z + length, height - 0.4, height), trim)


def _roof(pen: Pen, house: House, facade: Paint) -> None:
    """Draw a pitched roof, whose gable is visible, with a chimney."""
    (x, z, length, _), height, depth = house, house.height, DEPTH * house.side
    roof, ridge = pen.paint("roof", BUILDING, "brick"), height + pen.rng.uniform(2, 4)
    if pen.chance(0.6):
        box(pen, x + depth * 0.4, z + length / 2, 0.9, (height, ridge + 1.2), 0.9, facade)
    slope = [(x, height, z), (x, height, z + length), (x + depth / 2, ridge, z + length)]
    pen.canvas.slope(np.array([*slope, (x + depth / 2, ridge, z)]), roof)
    gable = np.array([(x, height), (x + depth, height), (x + depth / 2, ridge)])
    pen.canvas.front(z, gable, facade)


def _reflections(pen: Pen, x: float, windows: np.ndarray, glass: Paint) -> None:
    """Let some windows mirror the sky, and darken some."""
    chosen = pen.rng.random(len(windows))
    sky = glass.tinted(pen.canvas.weather.sky_low).shaded(0.75)
    for which, paint in ((chosen < 0.2, sky), (chosen > 0.8, glass.shaded(0.6))):
        if which.any():
            pen.canvas.side(x, windows[which], paint)


def _shops(pen: Pen, house: House, count: int, glass: Paint) -> None:
    """Draw shop windows under a coloured board."""
    x, z, length, _ = house
    board = pen.paint("shop", BUILDING)
    panes = grid(z + 0.3, z + length - 0.3, 0.4, STOREY - 0.3, count, 1, 0.8)
    pen.canvas.side(x, panes, glass.shaded(0.7))
    pen.canvas.side(x, moved(panes * [1, 0.5], 0, 0.3), board.shaded(pen.rng.uniform(0.5, 0.9)))
    pen.canvas.side(x, rectangle(z, z + length, STOREY - 0.4, STOREY + 0.3), board)
    letters = grid(z + 0.8, z + length - 0.8, STOREY - 0.2, STOREY + 0.15, count * 5, 1, 0.6)
    pen.canvas.side(x, letters, pen.paint("trim", BUILDING))


def wall(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a brick wall with trees behind it."""
    _grove(pen, x, z, length)
    height = pen.rng.uniform(1.9, 2.9)
    paint = pen.paint("wall", WALL, "brick")
    pen.canvas.front(z, rectangle(*sorted((x, x + DEPTH * np.sign(x))), 0, height), paint)
    pen.canvas.side(x, rectangle(z, z + length, 0, height), paint)
    pen.canvas.side(x, rectangle(z, z + length, height - 0.2, height), paint.shaded(1.15))


def fence(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a wooden fence in front of trees."""
    _grove(pen, x, z, length)
    height, boards = pen.rng.uniform(1.4, 2.0), max(1, int(length / 0.7))
    paint = pen.paint("fence", FENCE)
    pen.canvas.side(x, rectangle(z, z + length, 0, height), paint.shaded(0.55))
    pen.canvas.side(x, grid(z, z + length, 0.05, height, boards, 1, 0.66), paint)
    for rail in (0.4, height - 0.25):
        pen.canvas.side(x, rectangle(z, z + length, rail, rail + 0.12), paint.shaded(0.8))


def park(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw trees and sometimes a hedge."""
    _grove(pen, x, z, length)
    if pen.chance(0.5):
        hedge = pen.paint("leaves", VEGETATION, "leaves")
        middle = x + 0.6 * np.sign(x)
        box(pen, middle, z, 1.2, (0, pen.rng.uniform(0.9, 1.6)), length, hedge)


def side_street(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a road that joins from the side; the pavement continues across it."""
    road = pen.paint("road", ROAD, "asphalt")
    pen.canvas.ground(rectangle(*sorted((x, 80 * np.sign(x))), z, z + length), road)


def _grove(pen: Pen, x: float, z: float, length: float) -> None:
    for along in np.arange(length, 0, -5.0):
        middle = x + np.sign(x) * pen.rng.uniform(2.5, 6)
        tree(pen, middle, z + along)

"""The street itself and its furniture: ground, houses, trees, poles, lights and signs.

Objects are drawn at (x, z), the position of their middle and of their near end, in metres.
"""

from dataclasses import dataclass

import numpy as np

from data_preprocessing.toy.canvas import (
    BUILDING,
    FENCE,
    IGNORED,
    LIGHT,
    NEAR,
    POLE,
    ROAD,
    SIDEWALK,
    SIGN,
    TERRAIN,
    VEGETATION,
    WALL,
    Paint,
    grid,
    moved,
    rectangle,
)
from data_preprocessing.toy.pen import Pen, box, contact_shadow, disc, limb

FAR = 170.0  # metres; where the ground ends in haze
STOREY = 3.1
CLUMPS = ((0.5, 0.72), (0.8, 0.85), (0.8, 0.95), (1.3, 1.0), (1.7, 1.14))  # of a crown: rise, shade


@dataclass(frozen=True)
class Street:
    """Widths in metres: half the road, the strip of grass beside it, the pavement."""

    road: float
    verge: float
    pavement: float

    @property
    def edge(self) -> float:
        """Distance of the lots from the road's middle."""
        return self.road + self.verge + self.pavement


def ground(pen: Pen, street: Street) -> None:
    """Draw land, pavements, kerbs, verges, the road with markings, and the houses' shadow."""
    canvas = pen.canvas
    canvas.ground(rectangle(-80, 80, NEAR, FAR), pen.paint("grass", TERRAIN, "grass"))
    pavement = pen.paint("sidewalk", SIDEWALK, "slabs")
    canvas.ground(rectangle(-street.edge, street.edge, NEAR, FAR), pavement)
    if street.verge:
        reach = street.road + street.verge
        canvas.ground(rectangle(-reach, reach, NEAR, FAR), pen.paint("grass", TERRAIN, "grass"))
    kerb = street.road + 0.25
    canvas.ground(rectangle(-kerb, kerb, NEAR, FAR), pen.paint("kerb", SIDEWALK))
    road = pen.paint("road", ROAD, "asphalt")
    canvas.ground(rectangle(-street.road, street.road, NEAR, FAR), road)
    mark = pen.paint("marking", ROAD)
    start = pen.rng.uniform(-4, 2)
    dashes = grid(-0.09, 0.09, start, start + 20 * 6, 1, 20, 1.0)
    dashes[:, 2:, 1] -= 3.0
    canvas.ground(dashes, mark)
    for side in (-1, 1):
        line = side * (street.road - 2.3)
        canvas.ground(rectangle(line - 0.07, line + 0.07, NEAR, FAR), mark)
    if pen.chance(0.3):
        _crossing(pen, street, pen.rng.uniform(9, 26))
    if canvas.look.sun > 0.5:
        reach = canvas.sun_side * (street.edge - pen.rng.uniform(2, 7))
        canvas.shadow(rectangle(*sorted((reach, canvas.sun_side * street.edge)), NEAR, FAR))


def _crossing(pen: Pen, street: Street, z: float) -> None:
    stripes = int(street.road / 0.55)
    across = grid(-street.road, street.road, z, z + 3, stripes, 1, 1.0)
    across[:, 1:3, 0] -= street.road / stripes
    pen.canvas.ground(across, pen.paint("crossing", ROAD))


def skyline(pen: Pen) -> None:
    """Draw the end of the street in the distance: houses behind trees."""
    canvas = pen.canvas
    for left in np.arange(-90, 90, 12.0):
        height = pen.rng.uniform(6, 17)
        facade = pen.paint("facade", BUILDING, "plaster")
        canvas.front(FAR - 5, rectangle(left, left + 13, 0, height), facade)
    for middle in np.arange(-80, 80, 9.0):
        middle += pen.rng.uniform(-4, 4)
        outline = _ragged(pen, middle, 2, pen.rng.uniform(5, 9), pen.rng.uniform(3, 8))
        canvas.front(FAR - 10, outline, pen.paint("leaves", VEGETATION, "leaves"))


# --- lots beside the street, from z to z + length at its edge x --------------------------------


def building(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a house: gable and facade with windows, a plinth, a cornice, a roof."""
    canvas, side = pen.canvas, np.sign(x)
    storeys = int(pen.rng.integers(2, 6))
    height, depth = storeys * STOREY + 0.8, 14 * side
    facade = pen.paint("facade", BUILDING, "brick" if pen.chance(0.5) else "plaster")
    glass, trim = pen.paint("glass", BUILDING), pen.paint("trim", BUILDING)
    if pen.chance(0.6):  # a pitched roof, whose gable is visible
        roof, ridge = pen.paint("roof", BUILDING), height + pen.rng.uniform(2, 4)
        slope = [(x, height, z), (x, height, z + length), (x + depth / 2, ridge, z + length)]
        canvas.slope(np.array([*slope, (x + depth / 2, ridge, z)]), roof)
        gable = np.array([(x, height), (x + depth, height), (x + depth / 2, ridge)])
        canvas.front(z, gable, facade)
    canvas.side(x, rectangle(z, z + length, 0, height), facade)
    canvas.front(z, rectangle(x, x + depth, 0, height), facade)
    columns = max(1, int(length / pen.rng.uniform(2.2, 3.2)))
    windows = grid(
        z + 0.4, z + length - 0.4, STOREY + 0.4, height - 0.4, columns, storeys - 1, 0.56
    )
    canvas.side(x, moved(windows, 0.0, -0.12), trim)
    canvas.side(x, windows, glass)
    gable_windows = grid(
        x + 2 * side, x + 12 * side, STOREY + 0.4, height - 0.4, 3, storeys - 1, 0.4
    )
    canvas.front(z, gable_windows, glass)
    shops = grid(z + 0.3, z + length - 0.3, 0.4, STOREY, max(1, columns // 2), 1, 0.74)
    canvas.side(x, shops, glass.shaded(0.8))
    middle = z + length * pen.rng.uniform(0.2, 0.8)
    canvas.side(x, rectangle(middle - 0.6, middle + 0.6, 0, 2.3), pen.paint("door", BUILDING))
    canvas.side(x, rectangle(z, z + length, 0, 0.4), trim.shaded(0.7))
    canvas.side(x, rectangle(z, z + length, height - 0.4, height), trim)


def wall(pen: Pen, x: float, z: float, length: float) -> None:
    """Draw a brick wall with trees behind it."""
    _grove(pen, x, z, length)
    height = pen.rng.uniform(1.9, 2.9)
    paint = pen.paint("wall", WALL, "brick")
    pen.canvas.front(z, rectangle(*sorted((x, x + 14 * np.sign(x))), 0, height), paint)
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


# --- furniture: at (x, z) on the pavement -----------------------------------------------------


def tree(pen: Pen, x: float, z: float) -> None:
    """Draw a trunk and a crown of a few ragged clumps, lighter at the top."""
    canvas, rng = pen.canvas, pen.rng
    stem, spread = rng.uniform(1.8, 2.8), rng.uniform(1.2, 2.0)
    trunk = pen.paint("trunk", VEGETATION)
    leaves = pen.paint("leaves", VEGETATION, "leaves")
    canvas.shadow(disc(x - canvas.sun_side * canvas.look.sun * 2, z, spread, spread))
    canvas.front(z, limb((x, 0), (x, stem + 0.6), rng.uniform(0.22, 0.4)), trunk)
    clumps = _ragged(pen, 0, 0, spread * 0.8, spread * 0.75, count=len(CLUMPS))
    clumps[..., 0] += x + rng.uniform(-0.55, 0.55, (len(CLUMPS), 1)) * spread
    for clump, (rise, shade) in zip(clumps, CLUMPS, strict=True):
        canvas.front(z, moved(clump, 0, stem + rise * spread), leaves.shaded(shade))


def bush(pen: Pen, x: float, z: float) -> None:
    """Draw a round shrub."""
    leaves = pen.paint("leaves", VEGETATION, "leaves")
    contact_shadow(pen, x, z, 1.0, 0.6)
    pen.canvas.front(z, _ragged(pen, x, 0.55, 0.7, 0.6), leaves)


def lamp(pen: Pen, x: float, z: float) -> None:
    """Draw a street lamp that leans over the road."""
    paint, height = pen.paint("pole", POLE), pen.rng.uniform(5.5, 7.5)
    over = x - 1.6 * np.sign(x)
    contact_shadow(pen, x, z, 0.2, 0.2)
    pen.canvas.front(z, limb((x, 0), (x, height), 0.2), paint)
    pen.canvas.front(z, limb((x, height - 0.1), (over, height + 0.1), 0.14), paint)
    pen.canvas.front(
        z, rectangle(over - 0.35, over + 0.35, height, height + 0.18), paint.shaded(1.3)
    )


def traffic_light(pen: Pen, x: float, z: float) -> None:
    """Draw a pole with a box of three lamps, one of them lit."""
    pole, case = pen.paint("pole", POLE), pen.paint("box", LIGHT)
    pen.canvas.front(z, limb((x, 0), (x, 3.6), 0.2), pole)
    pen.canvas.front(z, rectangle(x - 0.3, x + 0.3, 2.5, 3.9), case)
    lit = pen.rng.integers(3)
    for i, color in enumerate([(60, 220, 110), (250, 190, 50), (240, 50, 40)]):
        shine = Paint(color, LIGHT).shaded(1.0 if i == lit else 0.3)
        pen.canvas.front(z, disc(x, 2.75 + 0.45 * i, 0.18, 0.18), shine)


def sign(pen: Pen, x: float, z: float) -> None:
    """Draw a round, square or triangular sign on a pole."""
    board, mark = pen.paint("sign", SIGN), pen.paint("sign_mark", SIGN)
    height, corners = pen.rng.uniform(2.2, 2.9), int(pen.rng.choice([3, 4, 14]))
    pen.canvas.front(z, limb((x, 0), (x, height), 0.15), pen.paint("pole", POLE))
    turned = disc(0, 0, 1, 1, corners)[:, ::-1]  # a corner on top
    if corners == 4:
        turned = rectangle(-0.8, 0.8, -0.8, 0.8)
    pen.canvas.front(z, moved(turned * 0.5, x, height), board)
    pen.canvas.front(z, moved(turned * 0.27, x, height), mark)


def litter_bin(pen: Pen, x: float, z: float) -> None:
    """Draw a litter bin, which has no train id."""
    box(pen, x, z, 0.6, (0.1, 1.0), 0.6, pen.paint("bin", IGNORED))


def bonnet(pen: Pen) -> None:
    """Draw the bonnet of the ego vehicle, at the bottom of the picture."""
    shares = np.linspace(0, 1, 25)
    arch = 1.0 - pen.rng.uniform(0.05, 0.1) * np.sqrt(np.maximum(0, 1 - (2 * shares - 1) ** 4))
    outline = np.stack([np.r_[shares, 1, 0], np.r_[arch, 1.1, 1.1]], axis=-1)
    pen.canvas.screen(outline, pen.paint("hood", IGNORED, "metal"))


def _ragged(
    pen: Pen, x: float, y: float, width: float, height: float, count: int = 1
) -> np.ndarray:
    """Return (count, 18, 2) outlines of clumps of leaves."""
    rough = pen.rng.uniform(0.8, 1.15, (count, 18, 1))
    return moved(disc(0, 0, 1, 1, 18) * rough * [width, height], x, y)

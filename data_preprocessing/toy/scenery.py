"""The street itself and its furniture: ground, skyline, trees, poles, lights, signs, railings.

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
    Paint,
    grid,
    moved,
    rectangle,
)
from data_preprocessing.toy.pen import Pen, box, contact_shadow, disc, limb

FAR = 170.0  # metres; where the ground ends in haze
CLUMPS = ((0.5, 0.62), (0.8, 0.8), (0.9, 0.95), (1.3, 1.04), (1.7, 1.2))  # of a crown: rise, shade
CLUMP_PARTS = 7


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
    _repairs(pen, street, road)
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
    if canvas.weather.sun > 0.5:
        _shadows_of_houses(pen, street)


def _shadows_of_houses(pen: Pen, street: Street) -> None:
    """Darken the ground beside the houses on the sun's side, some of which are higher."""
    weather, edge = pen.canvas.weather, pen.canvas.sun_side * street.edge
    z = NEAR
    while z < FAR:
        length = pen.rng.uniform(9, 24)
        reach = pen.rng.uniform(1.4, 4.5) * weather.shadow_length
        end = edge - pen.canvas.sun_side * min(reach, 2 * street.edge)
        pen.canvas.shadow(rectangle(*sorted((end, edge)), z, z + length))
        z += length + pen.rng.uniform(0, 3)


def _repairs(pen: Pen, street: Street, road: Paint) -> None:
    """Draw patches of another asphalt, seams, and manhole covers."""
    canvas, rng = pen.canvas, pen.rng
    for _ in range(int(rng.integers(0, 7))):
        x, z = rng.uniform(-street.road + 1, street.road - 1), rng.uniform(1, 50)
        patch = rectangle(
            x - rng.uniform(0.3, 1), x + rng.uniform(0.3, 1), z, z + rng.uniform(1, 9)
        )
        canvas.ground(patch, road.shaded(rng.uniform(0.75, 1.2)))
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(-street.road, street.road), rng.uniform(1, 30)
        seam = rectangle(x - 0.03, x + 0.03, z, z + rng.uniform(4, 40))
        canvas.ground(seam, road.shaded(0.55))
    for _ in range(int(rng.integers(0, 3))):
        x, z = rng.uniform(-street.road, street.road), rng.uniform(3, 25)
        canvas.ground(disc(x, z, 0.32, 0.32), road.shaded(0.6))


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
        outline = ragged(pen, middle, 2, pen.rng.uniform(5, 9), pen.rng.uniform(3, 8))
        canvas.front(FAR - 10, outline, pen.paint("leaves", VEGETATION, "leaves"))


# --- furniture: at (x, z) on the pavement -----------------------------------------------------


def tree(pen: Pen, x: float, z: float) -> None:
    """Draw a trunk and a ragged crown, lighter at the top, or bare branches."""
    canvas, rng, weather = pen.canvas, pen.rng, pen.canvas.weather
    stem, spread = rng.uniform(1.8, 2.8), rng.uniform(1.2, 2.0)
    trunk, bare = pen.paint("trunk", VEGETATION), pen.chance(canvas.look.bare)
    fallen = x - canvas.sun_side * weather.sun * weather.shadow_length * 1.4
    size = spread * (0.45 if bare else 0.8)
    spots = ragged(pen, fallen, z, size, size, count=5)
    canvas.shadow(spots + rng.uniform(-0.6, 0.6, (5, 1, 2)) * spread)
    if bare:
        canvas.front(z, _branches(rng, x, stem + rng.uniform(0.5, 2)), trunk)
        return
    canvas.front(z, limb((x, 0), (x, stem + 0.6), rng.uniform(0.22, 0.4)), trunk)
    leaves = pen.paint("leaves", VEGETATION, "leaves")
    for rise, shade in CLUMPS:
        parts = ragged(pen, x, stem, spread * 0.42, spread * 0.38, count=CLUMP_PARTS)
        offsets = rng.uniform(-1, 1, (CLUMP_PARTS, 1, 2)) * [0.95 * spread, 0.45 * spread]
        canvas.front(z, moved(parts + offsets, 0, rise * spread), leaves.shaded(shade))


def _branches(rng: np.random.Generator, x: float, stem: float) -> np.ndarray:
    """Return (n, 4, 2) bars: a trunk that forks again and again."""
    bars, tips = [limb((x, 0), (x, stem), 0.3)], [(x, stem, np.pi / 2, 1.7, 0.16)]
    for _ in range(4):
        grown = []
        for left, low, angle, length, width in tips:
            for turn in rng.uniform(-0.75, 0.75, 3 if length > 1 else 2):
                towards = angle + turn
                end = left + length * np.cos(towards), low + length * np.sin(towards)
                bars.append(limb((left, low), end, width))
                grown.append((*end, towards, length * rng.uniform(0.6, 0.85), width * 0.65))
        tips = grown
    return np.stack(bars)


def bush(pen: Pen, x: float, z: float) -> None:
    """Draw a round shrub."""
    leaves = pen.paint("leaves", VEGETATION, "leaves")
    contact_shadow(pen, x, z, 1.0, 0.6)
    pen.canvas.front(z, ragged(pen, x, 0.55, 0.7, 0.6), leaves)


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


def railing(pen: Pen, x: float, z: float) -> None:
    """Draw a metal railing between pavement and road."""
    paint, side = pen.paint("railing", FENCE), pen.canvas.side
    side(x, grid(z, z + 6.0, 0.1, 1.0, 40, 1, 0.3), paint.shaded(0.9))
    for rail in (0.12, 0.95):
        side(x, rectangle(z, z + 6.0, rail, rail + 0.08), paint)


def litter_bin(pen: Pen, x: float, z: float) -> None:
    """Draw a litter bin, which has no train id."""
    box(pen, x, z, 0.6, (0.1, 1.0), 0.6, pen.paint("bin", IGNORED))


def bonnet(pen: Pen) -> None:
    """Draw the bonnet of the ego vehicle, at the bottom of the picture."""
    shares = np.linspace(0, 1, 25)
    arch = 1.0 - pen.rng.uniform(0.05, 0.1) * np.sqrt(np.maximum(0, 1 - (2 * shares - 1) ** 4))
    outline = np.stack([np.r_[shares, 1, 0], np.r_[arch, 1.1, 1.1]], axis=-1)
    pen.canvas.screen(outline, pen.paint("hood", IGNORED, "metal"))


def ragged(pen: Pen, x: float, y: float, width: float, height: float, count: int = 1) -> np.ndarray:
    """Return (count, 18, 2) outlines of clumps of leaves."""
    rough = pen.rng.uniform(0.8, 1.15, (count, 18, 1))
    return moved(disc(0, 0, 1, 1, 18) * rough * [width, height], x, y)

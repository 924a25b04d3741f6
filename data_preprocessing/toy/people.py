"""People of the toy city, and what they ride: flat figures that face the camera.

Objects are drawn at (x, z), the position of their middle and their distance, in metres.
"""

import numpy as np

from data_preprocessing.toy.canvas import (
    BICYCLE,
    MOTORCYCLE,
    PERSON,
    RIDER,
    Paint,
    moved,
    rectangle,
)
from data_preprocessing.toy.pen import Pen, contact_shadow, disc, limb

Outlines = list[tuple[np.ndarray, Paint]]

FRAME_BARS = (  # of a cycle, from (x, y) to (x, y) in metres
    ((-0.58, 0.36), (-0.2, 0.85)),
    ((-0.2, 0.85), (0.42, 0.85)),
    ((0.42, 1.05), (0.58, 0.36)),
    ((-0.05, 0.36), (0.42, 0.85)),
    ((-0.05, 0.36), (-0.22, 0.92)),
    ((-0.58, 0.36), (-0.05, 0.36)),
)
TANK = np.array([(-0.75, 0.75), (-0.5, 0.35), (0.3, 0.35), (0.55, 0.75), (0.3, 1.0), (-0.7, 0.9)])


def figure(pen: Pen, x: float, z: float, outlines: Outlines, turn: float) -> None:
    """Draw flat outlines (x from the figure's middle, y) at x, narrowed by ``turn``."""
    for outline, paint in outlines:
        pen.canvas.front(z, moved(outline * [turn, 1], x, 0), paint)


def person(pen: Pen, x: float, z: float) -> None:
    """Draw a standing or walking person."""
    number = pen.new_instance()
    cloth, trousers, skin = (
        pen.paint(name, PERSON, instance=number) for name in ("cloth", "trousers", "skin")
    )
    stride, size = pen.rng.uniform(0.02, 0.32), pen.rng.uniform(0.88, 1.08)
    hair = skin.tinted((52, 40, 32))
    outlines = [
        (limb((0.09, 0.85), (stride, 0.0), 0.2), trousers.shaded(0.85)),
        (limb((-0.09, 0.85), (-stride, 0.0), 0.2), trousers),
        (limb((0.24, 1.38), (0.2 + stride / 2, 0.8), 0.15), cloth.shaded(0.8)),
        (limb((-0.24, 1.38), (-0.2 - stride / 2, 0.8), 0.15), cloth.shaded(0.8)),
        (np.array([(-0.21, 0.8), (0.21, 0.8), (0.27, 1.42), (-0.27, 1.42)]), cloth),
        (disc(0, 1.62, 0.14, 0.17), hair if pen.chance(0.5) else skin),
        (disc(0, 1.7, 0.14, 0.1), hair),
    ]
    contact_shadow(pen, x, z, 0.5, 0.35)
    outlines = [(outline * size, paint) for outline, paint in outlines]
    figure(pen, x, z, outlines, turn=pen.rng.uniform(0.8, 1.0))


def group(pen: Pen, x: float, z: float) -> None:
    """Draw two or three people side by side."""
    for number in range(int(pen.rng.integers(2, 4))):
        person(pen, x + 0.65 * number - 0.6, z + pen.rng.uniform(0, 0.8))


def _cycle(pen: Pen, kind: int) -> Outlines:
    """Return the outlines of a bicycle or motorcycle that faces right."""
    motor = kind == MOTORCYCLE
    frame, tyre = pen.paint("car" if motor else "cycle", kind), pen.paint("tyre", kind)
    radius, spokes = (0.32, tyre.shaded(1.6)) if motor else (0.36, tyre.shaded(3.4))
    outlines = []
    for middle in (-0.58, 0.58):
        outlines.append((disc(middle, radius, radius, radius), tyre))
        outlines.append((disc(middle, radius, radius * 0.66, radius * 0.66), spokes))
    outlines += [(limb(*bar, width=0.1), frame) for bar in FRAME_BARS]
    if motor:
        outlines += [(TANK, frame), (rectangle(-0.3, 0.2, 0.22, 0.5), tyre.shaded(2.5))]
    return [*outlines, (limb((0.3, 1.08), (0.52, 1.08), 0.09), tyre)]


def _with_rider(pen: Pen, x: float, z: float, kind: int) -> None:
    number = pen.new_instance()
    cloth, trousers, skin = (
        pen.paint(name, RIDER, instance=number) for name in ("cloth", "trousers", "skin")
    )
    helmet = pen.paint("car" if kind == MOTORCYCLE else "cloth", RIDER, instance=number)
    outlines = [
        *_cycle(pen, kind),
        (limb((-0.2, 1.0), (0.2, 0.72), 0.22), trousers),
        (limb((0.2, 0.75), (0.02, 0.3), 0.18), trousers),
        (np.array([(-0.34, 0.92), (-0.02, 0.92), (0.26, 1.42), (-0.1, 1.56)]), cloth),
        (limb((0.12, 1.42), (0.42, 1.1), 0.14), cloth.shaded(0.8)),
        (disc(0.17, 1.66, 0.14, 0.17), skin),
        (disc(0.15, 1.74, 0.16, 0.12), helmet),
    ]
    contact_shadow(pen, x, z, 0.7, 1.2)
    figure(pen, x, z, outlines, turn=pen.rng.uniform(0.35, 0.9) * pen.rng.choice([-1, 1]))


def cyclist(pen: Pen, x: float, z: float) -> None:
    """Draw a rider on a bicycle."""
    _with_rider(pen, x, z, BICYCLE)


def motorcyclist(pen: Pen, x: float, z: float) -> None:
    """Draw a rider on a motorcycle."""
    _with_rider(pen, x, z, MOTORCYCLE)


def parked_bicycle(pen: Pen, x: float, z: float) -> None:
    """Draw a bicycle on its stand."""
    figure(pen, x, z, _cycle(pen, BICYCLE), pen.rng.uniform(0.6, 1.0))


def parked_motorcycle(pen: Pen, x: float, z: float) -> None:
    """Draw a motorcycle on its stand."""
    contact_shadow(pen, x, z, 0.8, 1.0)
    figure(pen, x, z, _cycle(pen, MOTORCYCLE), pen.rng.uniform(0.6, 1.0))

"""Vehicles of the toy city: one small draw function each.

Objects are drawn at (x, z), the position of their middle and of their near end, in metres.
"""

import numpy as np

from data_preprocessing.toy.canvas import (
    BUS,
    CAR,
    ROAD,
    TRAIN,
    TRUCK,
    Paint,
    grid,
    moved,
    rectangle,
)
from data_preprocessing.toy.pen import Pen, box, contact_shadow, disc, limb

RED_LAMP, WHITE_LAMP = (230, 40, 36), (250, 244, 214)


def goes_ahead(x: float) -> bool:
    """Return True if a vehicle at ``x`` shows its rear; traffic keeps to the right."""
    return x > 0


def car(pen: Pen, x: float, z: float) -> None:
    """Draw a hatchback or saloon."""
    width, length, roof, boot = pen.rng.uniform([1.7, 3.9, 1.4, 0.15], [1.85, 4.6, 1.6, 0.8])
    body = pen.paint("car", CAR, "metal", pen.new_instance())
    glass = body.tinted(pen.paint("glass", CAR).color)
    hull, panes = _outlines(length, roof, boot)
    if not goes_ahead(x):
        hull, panes = (moved(outline * [-1, 1], length, 0) for outline in (hull[::-1], panes))
    contact_shadow(pen, x, z, width, length)
    for i in reversed(range(len(hull) - 1)):  # sheets across the car, from its far end
        flat = i in (1, 3, 5)
        pen.canvas.slope(_sheet(x, width, z, hull[i : i + 2]), body.shaded(1.1 if flat else 0.9))
        if i in (2, 4):
            pen.canvas.slope(_sheet(x, width - 0.24, z, hull[i : i + 2]), glass)
    face = pen.near_face(x, width)
    if face is not None:
        pen.canvas.side(face, moved(hull, z, 0), body)
        pen.canvas.side(face, moved(panes, z, 0), glass)
    _wheels(pen, x, z, width, [0.8, length - 0.8], 0.33, body)
    _lamps(pen, x, z, width, 0.7, body)
    pen.canvas.front(z, rectangle(x - 0.26, x + 0.26, 0.45, 0.56), body.tinted((214, 214, 206)))


def parked_cars(pen: Pen, x: float, z: float) -> None:
    """Draw three cars, bumper to bumper."""
    for number in (2, 1, 0):
        car(pen, x, z + 5.3 * number)


def truck(pen: Pen, x: float, z: float) -> None:
    """Draw a lorry: a cab and a tall load on big wheels."""
    load = pen.paint("truck", TRUCK, "metal", pen.new_instance())
    cab = pen.paint("car", TRUCK, "metal", load.instance)
    dark = load.tinted((46, 46, 50))
    contact_shadow(pen, x, z, 2.4, 7.5)
    if goes_ahead(x):  # its rear is visible: doors, bumper
        box(pen, x, z + 5.6, 2.3, (0.5, 2.6), 1.8, cab)
        box(pen, x, z, 2.4, (0.5, 1.0), 5.4, dark)
        box(pen, x, z, 2.4, (0.95, 3.4), 5.4, load)
        pen.canvas.front(z, rectangle(x - 0.04, x + 0.04, 1.0, 3.3), load.shaded(0.6))
        pen.canvas.front(z, grid(x - 1.2, x + 1.2, 1.0, 3.4, 2, 1, 0.86), load.shaded(0.93))
    else:  # its front: windscreen, grille
        box(pen, x, z + 2.0, 2.4, (0.95, 3.4), 5.4, load)
        box(pen, x, z, 2.3, (0.45, 2.6), 1.8, cab)
        glass = load.tinted(pen.paint("glass", TRUCK).color)
        pen.canvas.front(z, rectangle(x - 1.0, x + 1.0, 1.6, 2.4), glass)
        pen.canvas.front(z, rectangle(x - 0.7, x + 0.7, 0.7, 1.2), dark)
    _wheels(pen, x, z, 2.4, [1.0, 2.2, 6.3], 0.5, load)
    _lamps(pen, x, z, 2.3, 0.75, load)


def bus(pen: Pen, x: float, z: float) -> None:
    """Draw a town bus with a band of windows."""
    _coach(pen, x, z, 9.0, 3.0, pen.paint("bus", BUS, "metal", pen.new_instance()), 0.5)
    body = Paint((40, 40, 44), BUS)
    pen.canvas.front(z, rectangle(x - 0.7, x + 0.7, 2.65, 2.9), body)
    pen.canvas.front(z, rectangle(x - 0.4, x + 0.4, 2.7, 2.84), body.tinted((240, 170, 40)))


def train(pen: Pen, x: float, z: float) -> None:
    """Draw a tram of three cars on rails in the road, with a stripe and a current collector."""
    for rail in (x - 0.75, x + 0.75):
        rails = pen.paint("rail", ROAD)
        pen.canvas.ground(rectangle(rail - 0.07, rail + 0.07, 0.8, z + 60), rails)
    body = pen.paint("train", TRAIN, "metal")
    for wagon in (2, 1, 0):
        _coach(pen, x, z + 9.3 * wagon, 9.0, 3.4, body, 0.0)
    pen.canvas.front(z, rectangle(x - 1.25, x + 1.25, 0.75, 1.05), body.tinted((206, 202, 190)))
    pen.canvas.front(z, limb((x - 0.5, 3.4), (x + 0.1, 4.3), 0.1), body.tinted((50, 50, 52)))
    pen.canvas.front(z, limb((x - 0.7, 4.3), (x + 0.7, 4.3), 0.1), body.tinted((50, 50, 52)))


def _coach(
    pen: Pen, x: float, z: float, length: float, height: float, body: Paint, wheel: float
) -> None:
    """Draw a long body with windows, the common part of bus and tram."""
    contact_shadow(pen, x, z, 2.5, length)
    box(pen, x, z, 2.5, (0.3, height), length, body)
    box(pen, x, z, 2.5, (height - 0.35, height), length, body.shaded(0.82))
    glass = body.tinted(pen.paint("glass", body.train_id).color)
    face = pen.near_face(x, 2.5)
    if face is not None:
        pen.canvas.side(face, grid(z + 0.2, z + length - 0.2, 1.35, height - 0.5, 6, 1, 0.9), glass)
    pen.canvas.front(z, rectangle(x - 1.1, x + 1.1, 1.4, height - 0.5), glass)
    if wheel:
        _wheels(pen, x, z, 2.5, [1.6, length - 1.8], wheel, body)
    _lamps(pen, x, z, 2.4, 0.8, body)


def _outlines(length: float, roof: float, boot: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a car's hull (8, 2) and side windows (4, 2) as (z, y), with the rear at z = 0."""
    hull = [
        (0, 0.28),  # rear bumper
        (0, 0.85),
        (boot, 0.95),
        (boot + 0.5, roof),  # top of the rear window
        (length - 1.9, roof),  # top of the windscreen
        (length - 1.1, 0.95),
        (length, 0.75),
        (length, 0.28),  # front bumper
    ]
    panes = [
        (boot + 0.2, 0.98),
        (boot + 0.6, roof - 0.1),
        (length - 1.95, roof - 0.1),
        (length - 1.35, 0.98),
    ]
    return np.array(hull), np.array(panes)


def _sheet(x: float, width: float, z: float, edge: np.ndarray) -> np.ndarray:
    """Return the (4, 3) corners of a sheet across a car, along an edge (2, 2) of its outline."""
    (start, low), (end, high) = edge
    left, right = x - width / 2, x + width / 2
    corners = [(left, low, start), (right, low, start), (right, high, end), (left, high, end)]
    return moved(np.array(corners), 0, 0, z)


def _wheels(
    pen: Pen, x: float, z: float, width: float, at: list[float], radius: float, body: Paint
) -> None:
    """Draw tyres: discs ``at`` metres along the visible side, two blocks under the near end."""
    tyre = body.tinted(pen.paint("tyre", body.train_id).color)
    face = pen.near_face(x, width)
    if face is not None:
        centers = np.array([[[z + along, radius]] for along in at])
        pen.canvas.side(face, centers + disc(0, 0, radius, radius), tyre)
        pen.canvas.side(face, centers + disc(0, 0, radius / 2, radius / 2), tyre.shaded(3.2))
    pen.canvas.front(z, _pair(x, width / 2 - 0.2, radius / 2, 0.12, radius / 2), tyre)


def _lamps(pen: Pen, x: float, z: float, width: float, y: float, body: Paint) -> None:
    """Draw two lamps on the near end: red on the rear, white on the front."""
    lamp = body.tinted(RED_LAMP if goes_ahead(x) else WHITE_LAMP)
    pen.canvas.front(z, _pair(x, width / 2 - 0.2, y, 0.15, 0.1), lamp)


def _pair(x: float, apart: float, y: float, width: float, height: float) -> np.ndarray:
    """Return (2, 4, 2) rectangles with these half sizes, ``apart`` to the left and right of x."""
    one = rectangle(x - width, x + width, y - height, y + height)
    return np.stack([moved(one, -apart, 0), moved(one, apart, 0)])

"""One street scene of the toy city: place the objects, paint them, and simulate the camera.

A street consists of rows of objects parallel to the road: lots, pavements, parking lanes, lanes. A
row that is farther from the camera sideways can never hide a nearer one, so rows are painted from
outside in, and each row from far to near.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from data_preprocessing.toy import lots, people, scenery, vehicles
from data_preprocessing.toy.canvas import Camera, Canvas
from data_preprocessing.toy.looks import Look, Menu
from data_preprocessing.toy.pen import Pen
from data_preprocessing.toy.scenery import Street

DrawThing = Callable[[Pen, float, float], None]


class Scene(NamedTuple):
    """RGB image (H, W, 3) uint8, train ids (H, W) uint8, and instance numbers (H, W) uint16."""

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray


# kind of object: its draw function, and its length along the row in metres
THINGS: dict[str, tuple[DrawThing, float]] = {
    "nothing": (lambda pen, x, z: None, 5.0),
    "tree": (scenery.tree, 3.0),
    "bush": (scenery.bush, 1.5),
    "lamp": (scenery.lamp, 1.0),
    "traffic_light": (scenery.traffic_light, 1.0),
    "sign": (scenery.sign, 1.0),
    "railing": (scenery.railing, 6.0),
    "bin": (scenery.litter_bin, 1.0),
    "person": (people.person, 0.8),
    "group": (people.group, 1.6),
    "parked_bicycle": (people.parked_bicycle, 1.0),
    "parked_motorcycle": (people.parked_motorcycle, 1.6),
    "cyclist": (people.cyclist, 2.5),
    "motorcyclist": (people.motorcyclist, 3.0),
    "car": (vehicles.car, 4.8),
    "cars": (vehicles.parked_cars, 16.5),
    "truck": (vehicles.truck, 8.0),
    "bus": (vehicles.bus, 9.5),
    "train": (vehicles.train, 30.0),
}
LOTS = {
    "building": lots.building,
    "terrace": lots.terrace,
    "wall": lots.wall,
    "fence": lots.fence,
    "park": lots.park,
    "side_street": lots.side_street,
}
LAST_THING = 65.0  # metres; farther objects are smaller than a few pixels


def draw_scene(look: Look, size: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw a random street; ``size`` is (H, W) in pixels."""
    camera = Camera(
        x=rng.uniform(*look.camera_x),
        height=rng.uniform(*look.camera_height),
        focal=rng.uniform(*look.focal),
        vanish_x=rng.uniform(0.3, 0.7),
        horizon=rng.uniform(*look.horizon),
    )
    street = Street(
        road=rng.uniform(*look.road),
        verge=rng.uniform(1.0, 2.2) * (rng.random() < look.verge),
        pavement=rng.uniform(*look.pavement),
    )
    weather = look.weathers[rng.integers(len(look.weathers))]
    pen = Pen(Canvas(size, camera, look, weather, sun_side=int(rng.choice([-1, 1]))), rng)
    scenery.skyline(pen)
    scenery.ground(pen, street)
    for side in (-1, 1):
        line_with_lots(pen, side * street.edge, look.lots)
    fill_rows(pen, street, look)
    if rng.random() < look.hood:
        scenery.bonnet(pen)
    canvas = pen.canvas
    image = photograph(canvas.colors(rng), look, rng)
    return Scene(image, canvas.labels(), canvas.instances())


def line_with_lots(pen: Pen, x: float, menu: Menu) -> None:
    """Draw houses, walls, fences, parks and side streets along ``x``, without gaps."""
    placed, z = [], pen.rng.uniform(-12, 0)
    while z < scenery.FAR - 60:
        length = pen.rng.uniform(9, 18)
        placed.append((LOTS[pick(menu, pen.rng)], z, length))
        z += length
    for draw, start, length in reversed(placed):
        draw(pen, x, start, length)


def fill_rows(pen: Pen, street: Street, look: Look) -> None:
    """Draw everything between the lots."""
    kerb, walk = street.road + 0.7, street.edge - 0.3 * street.pavement
    lane = (street.road - 2.2) / 2
    rows = [
        (-walk, look.walk, 5.0),
        (walk, look.walk, 5.0),
        (-kerb, look.kerb, 6.0),
        (kerb, look.kerb, 6.0),
        (-street.road + 1.1, look.parking, 7.0),
        (street.road - 1.1, look.parking, 7.0),
        (-lane, look.oncoming, 10.0),
        (lane, look.lane, 9.0),
    ]
    camera_x = pen.canvas.camera.x
    placed = [(row[0], *thing) for row in rows for thing in fill_row(pen.rng, row[1], row[2])]
    for x, z, kind in sorted(placed, key=lambda entry: (-abs(entry[0] - camera_x), -entry[1])):
        THINGS[kind][0](pen, x + pen.rng.uniform(-0.2, 0.2), z)


def fill_row(rng: np.random.Generator, menu: Menu, first: float) -> list[tuple[float, str]]:
    """Return random objects (z, kind) one after the other, from about z = ``first`` on."""
    row, z = [], first + rng.uniform(0, 4)
    while z < LAST_THING:
        kind = pick(menu, rng)
        row.append((z, kind))
        z += THINGS[kind][1] + rng.exponential(3.0)
    return row


def pick(menu: Menu, rng: np.random.Generator) -> str:
    """Draw a kind of object at random, by the weights of the menu."""
    weights = np.array(list(menu.values()))
    return list(menu)[rng.choice(len(menu), p=weights / weights.sum())]


def photograph(color: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Simulate lens and sensor of the look on a (H, W, 3) float32 view; return uint8."""
    height, width = color.shape[:2]
    cast = np.array(look.cast, np.float32)
    color = cast + (color - cast) * look.contrast
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    color = color * (rng.uniform(*look.exposure) * (1 - look.vignette * (x**2 + y**2) / 2))
    color = color.astype(np.float32)
    if look.blur:
        color = cv2.GaussianBlur(color, (0, 0), look.blur * width / 256)
    grey = rng.standard_normal((height, width, 1), np.float32)
    tint = rng.standard_normal((height, width, 3), np.float32)
    color += look.noise * (0.8 * grey + 0.6 * tint)
    return np.clip(np.round(color), 0, 255).astype(np.uint8)

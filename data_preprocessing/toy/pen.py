"""The pen that draws the toy city, and basic shapes that many objects consist of."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_preprocessing.toy.canvas import Canvas, Paint, moved, rectangle


@dataclass
class Pen:
    """A canvas, a random generator, and paints in the colours of the canvas's look."""

    canvas: Canvas
    rng: np.random.Generator
    instances: int = 0

    def paint(self, name: str, train_id: int, material: str = "plain", instance: int = 0) -> Paint:
        """Return a random colour ``name`` of the look, with a little random brightness."""
        colors = self.canvas.look.colors[name]
        color = np.array(colors[self.rng.integers(len(colors))]) * self.rng.uniform(0.92, 1.08)
        return Paint(tuple(color), train_id, material, instance)

    def new_instance(self) -> int:
        """Return the next instance number in this picture."""
        self.instances += 1
        return self.instances

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def near_face(self, x: float, width: float) -> float | None:
        """Return x of the side of a body that the camera sees, or None if it sees neither."""
        camera = self.canvas.camera.x
        left, right = x - width / 2, x + width / 2
        return left if camera < left else right if camera > right else None


def box(pen: Pen, x: float, z: float, width: float, y: tuple, length: float, paint: Paint) -> None:
    """Draw an upright block: the side that the camera sees, then its near end."""
    face = pen.near_face(x, width)
    if face is not None:
        pen.canvas.side(face, rectangle(z, z + length, *y), paint)
    pen.canvas.front(z, rectangle(x - width / 2, x + width / 2, *y), paint)


def disc(x: float, y: float, width: float, height: float, corners: int = 14) -> np.ndarray:
    """Return the (corners, 2) outline of an ellipse with radii ``width`` and ``height``."""
    return moved(_circle(corners) * [width, height], x, y)


@lru_cache
def _circle(corners: int) -> np.ndarray:
    angle = np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def limb(start: tuple, end: tuple, width: float) -> np.ndarray:
    """Return the (4, 2) outline of a straight bar from start to end."""
    start, end = np.array(start, float), np.array(end, float)
    along = (end - start) / max(1e-6, np.hypot(*(end - start)))
    across = np.array([-along[1], along[0]]) * width / 2
    return np.array([start - across, start + across, end + across, end - across])


def contact_shadow(pen: Pen, x: float, z: float, width: float, length: float) -> None:
    """Draw the shadow under an object; in the sun, it extends to one side."""
    weather = pen.canvas.weather
    reach = -pen.canvas.sun_side * weather.sun * weather.shadow_length
    left, right = x - width / 2 + min(0, reach), x + width / 2 + max(0, reach)
    pen.canvas.shadow(rectangle(left, right, z - 0.15, z + length))

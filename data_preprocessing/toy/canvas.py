"""A pinhole camera in a small street, and the canvas on which image and label are painted.

Street coordinates are metres: x to the right of the road's middle, y up from the ground, z ahead
of the camera. A picture is a single map of surface numbers. Colours, labels and instances are
looked up in it, so they always agree.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from data_preprocessing.toy.looks import MATERIALS, Look
from data_preprocessing.toy.weather import Color, Weather

# train ids
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR = range(8, 14)
TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(14, 19)
IGNORED = 255
NEAR = 0.8  # metres; nearer points are cut off
SUBPIXEL_BITS = 3
OVERSAMPLING = 2
NOWHERE, ACROSS, GROUND, FRONT = range(4)  # the plane of a surface: none, x = c, y = c, z = c


@dataclass(frozen=True)
class Camera:
    """The camera: ``x`` and ``height`` in metres, the rest as fractions of the image's size."""

    x: float
    height: float
    focal: float  # focal length, as a fraction of the width
    vanish_x: float  # column of the vanishing point, as a fraction of the width
    horizon: float  # row of the horizon, as a fraction of the height


@dataclass(frozen=True)
class Paint:
    """The paint of a surface: RGB colour (0..255), train id, material and instance number."""

    color: Color
    train_id: int
    material: str = "plain"
    instance: int = 0

    def shaded(self, factor: float) -> "Paint":
        """Return the same paint, darker (factor below 1) or lighter."""
        return self.tinted(tuple(channel * factor for channel in self.color))

    def tinted(self, color: Color) -> "Paint":
        """Return the same paint in another colour."""
        return Paint(color, self.train_id, self.material, self.instance)


class Canvas:
    """Paints polygons one over the other; draw from far to near."""

    def __init__(
        self, size: tuple[int, int], camera: Camera, look: Look, weather: Weather, sun_side: int
    ):
        """Create a canvas of ``size`` (H, W); ``sun_side`` is +1 for a sun on the right, or -1."""
        self.size, self.camera, self.look, self.weather = size, camera, look, weather
        self.sun_side = sun_side
        self.fine_size = height, width = tuple(OVERSAMPLING * side for side in size)
        self.focal = camera.focal * width
        self.center = np.array([camera.vanish_x * width, camera.horizon * height])
        self.surfaces = [(Paint((0, 0, 0), SKY), NOWHERE, 0.0)]
        self.polygons: list[np.ndarray] = []  # of surface 1, 2, ...
        self.shadows: list[np.ndarray] = []

    def side(self, x: float, points: np.ndarray, paint: Paint) -> None:
        """Paint polygons in the plane of constant ``x``; ``points`` is (..., N, 2) of (z, y)."""
        z, y = points[..., 0], points[..., 1]
        faces_sun = (self.camera.x - x) * self.sun_side > 0
        light = 1.0 + 0.1 * self.weather.sun if faces_sun else 1.0 - 0.45 * self.weather.sun
        where = np.stack([np.full_like(z, x), y, z], axis=-1)
        self._paint(where, paint.shaded(light), ACROSS, x - self.camera.x)

    def front(self, z: float, points: np.ndarray, paint: Paint) -> None:
        """Paint polygons that face the camera; ``points`` is (..., N, 2) of (x, y)."""
        if z > NEAR:
            x, y = points[..., 0], points[..., 1]
            where = np.stack([x, y, np.full_like(x, z)], axis=-1)
            self._paint(where, paint.shaded(1.0 - 0.2 * self.weather.sun), FRONT, z)

    def ground(self, points: np.ndarray, paint: Paint) -> None:
        """Paint polygons on the ground; ``points`` is (..., N, 2) of (x, z)."""
        self._paint(_on_ground(points), paint, GROUND, -self.camera.height)

    def slope(self, corners: np.ndarray, paint: Paint) -> None:
        """Paint a sloping (N, 3) polygon (roof, windscreen), textured as if it faced the camera."""
        self._paint(corners, paint, FRONT, max(NEAR, float(corners[:, 2].mean())))

    def shadow(self, points: np.ndarray) -> None:
        """Darken the ground inside a polygon, (N, 2) of (x, z)."""
        self.shadows.append(_on_ground(points))

    def screen(self, points: np.ndarray, paint: Paint) -> None:
        """Paint a part of the ego vehicle: (N, 2) of (column, row), as fractions of the image."""
        corners = points * self.fine_size[::-1] - self.center
        where = np.concatenate([corners / self.focal, np.ones((len(points), 1))], axis=1)
        where = where * [1, -1, 1] + [self.camera.x, self.camera.height, 0]
        self._paint(where, paint, FRONT, 1.0)

    def labels(self) -> np.ndarray:
        """Return (H, W) uint8 train ids."""
        return self._sample(np.array([s[0].train_id for s in self.surfaces], np.uint8))

    def instances(self) -> np.ndarray:
        """Return (H, W) uint16 instance numbers, 0 for classes without instances."""
        return self._sample(np.array([s[0].instance for s in self.surfaces], np.uint16))

    def colors(self, rng: np.random.Generator) -> np.ndarray:
        """Return (H, W, 3) float32 RGB, 0..255, with textures, shadows, haze and sky."""
        weather = self.weather
        color = np.array([s[0].color for s in self.surfaces], np.float32)[self.ids]
        u, v, depth = self._surface_points()
        ground = self._lookup([s[1] == GROUND for s in self.surfaces], np.float32)
        shadow = self._rasterise(self.shadows, np.ones(len(self.shadows)), np.float32)
        shadow = cv2.GaussianBlur(shadow, (0, 0), 0.8 + weather.shadow_blur) * ground
        light = 1.0 + self.look.texture * self._texture(u, v, depth)
        light *= 1.0 - weather.shadow * shadow
        haze = 1.0 - np.exp(-depth / weather.haze_distance)
        color *= (light * (1.0 - haze))[..., None]
        color += haze[..., None] * np.array(weather.haze, np.float32)
        is_sky = self.ids == 0
        color[is_sky] = self._sky(rng)[is_sky]
        return cv2.resize(color, self.size[::-1], interpolation=cv2.INTER_AREA)

    @cached_property
    def ids(self) -> np.ndarray:
        """The finished picture, oversampled: (h, w) int32 indices of ``surfaces``; 0 is sky."""
        return self._rasterise(self.polygons, np.arange(1, len(self.surfaces)), np.int32)

    def _paint(self, where: np.ndarray, paint: Paint, axis: int, offset: float) -> None:
        self.polygons.append(where)
        self.surfaces.append((paint, axis, offset))

    def _rasterise(self, polygons: list[np.ndarray], values: np.ndarray, dtype: type) -> np.ndarray:
        """Fill (..., N, 3) polygons one after the other into an empty map, each with its value."""
        points = np.concatenate([where.reshape(-1, 3) for where in polygons])
        # Moving a corner to NEAR is an exact cut for planes along z, and others start beyond it.
        z = np.maximum(points[:, 2:], NEAR)
        relative = points[:, :2] - [self.camera.x, self.camera.height]
        pixels = self.center + self.focal * relative * [1, -1] / z - 0.5
        fixed = np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)
        target, start = np.zeros(self.fine_size, dtype), 0
        for where, value in zip(polygons, values.tolist(), strict=True):
            stop = start + where.size // 3
            corners = fixed[start:stop].reshape(-1, where.shape[-2], 2)
            cv2.fillPoly(target, list(corners), value, shift=SUBPIXEL_BITS)
            start = stop
        return target

    def _sample(self, table: np.ndarray) -> np.ndarray:
        return table[self.ids[1::OVERSAMPLING, 1::OVERSAMPLING]]

    def _lookup(self, values: list, dtype: type) -> np.ndarray:
        return np.array(values, dtype)[self.ids]

    def _surface_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return two coordinates in each pixel's surface and its depth, (h, w) float32, in metres.

        A pixel's ray (right, up, 1) meets the plane of its surface at depth t = offset / ray.
        """
        height, width = self.ids.shape
        right = ((np.arange(width) + 0.5 - self.center[0]) / self.focal).astype(np.float32)
        up = ((self.center[1] - np.arange(height) - 0.5) / self.focal).astype(np.float32)
        right, up = np.broadcast_arrays(right[None, :], up[:, None])
        axis = self._lookup([s[1] for s in self.surfaces], np.uint8)
        offset = self._lookup([s[2] for s in self.surfaces], np.float32)
        ray = np.choose(axis, [np.ones_like(up), right, up, np.ones_like(up)])
        depth = np.clip(offset / np.where(np.abs(ray) < 1e-4, 1e-4, ray), NEAR, 1e3)
        x, y = right * depth + self.camera.x, up * depth + self.camera.height
        return np.where(axis == ACROSS, depth, x), np.where(axis == GROUND, depth, y), depth

    def _texture(self, u: np.ndarray, v: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return the relative change of brightness (h, w): grain, stains, joints of bricks."""
        rows = [MATERIALS[s[0].material] for s in self.surfaces]
        grain, size, joint, length, course = (
            self._lookup([row[i] for row in rows], np.float32) for i in range(5)
        )
        tile = _noise_tile()
        shift = (self.ids * 37 % 101).astype(np.float32)  # surfaces are not copies of each other
        fine = _at(tile, u / size * 4 + shift, v / size * 4)
        stains = _at(tile, u * 1.3 + shift, v * 1.3)
        row = v / course
        count = np.floor(row)
        column = u / length + 0.5 * (count - 2 * np.floor(count / 2))  # every other row is shifted
        along = column - np.floor(column)
        in_joint = (row - count < 0.16) | (along < 0.16 * course / length)
        near = 1.0 / (1.0 + (depth / 30.0) ** 2)  # far patterns are finer than a pixel
        return grain * (fine * (0.4 + 0.6 * near) + 0.6 * stains) - joint * near * in_joint

    def _sky(self, rng: np.random.Generator) -> np.ndarray:
        """Return the sky (h, w, 3), from the top colour to that of the horizon, with clouds."""
        height, width = self.fine_size
        weather, horizon = self.weather, max(1.0, self.center[1])
        y, x = np.mgrid[:height, :width].astype(np.float32) * (300 / width)
        cloud = _at(_noise_tile(), x * 0.7 + rng.uniform(0, 200), y * 1.8 + rng.uniform(0, 200))
        low, high = weather.cloud_range
        cover = np.clip((cloud - low) / (high - low), 0, 1)[..., None]
        rise = np.clip(1 - np.arange(height) / horizon, 0, 1).astype(np.float32)[:, None] ** 1.3
        top, bottom, white = (
            np.array(c, np.float32) for c in (weather.sky_top, weather.sky_low, weather.cloud)
        )
        sky = (bottom + rise * (top - bottom))[:, None]
        return sky + cover * (white - sky)


def rectangle(left: float, right: float, low: float, high: float) -> np.ndarray:
    """Return the (4, 2) corners of a rectangle."""
    return np.array([[left, low], [right, low], [right, high], [left, high]], float)


def grid(
    left: float, right: float, low: float, high: float, columns: int, rows: int, fill: float
) -> np.ndarray:
    """Return (columns * rows, 4, 2) rectangles in a grid; sides are ``fill`` of the cell's."""
    width, height = (right - left) / columns, (high - low) / rows
    centers = np.stack(
        np.meshgrid(
            left + width * (np.arange(columns) + 0.5), low + height * (np.arange(rows) + 0.5)
        ),
        axis=-1,
    ).reshape(-1, 1, 2)
    return centers + rectangle(-width, width, -height, height) * fill / 2


def moved(points: np.ndarray, *by: float) -> np.ndarray:
    """Return points (..., n) moved by n lengths, one per coordinate."""
    return points + np.array(by)


def _on_ground(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], np.zeros_like(points[..., 0]), points[..., 1]], axis=-1)


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """Return (256, 256) float32 noise of many scales that tiles seamlessly; mean 0, deviation 1."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((256, 256)))
    spectrum /= np.maximum(frequency, 1 / 64) ** 1.2
    noise = np.fft.irfft2(spectrum)
    noise -= noise.mean()
    return (noise / noise.std()).astype(np.float32)


def _at(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate a tile, repeated without end, at (x, y)."""
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

"""The weathers of the toy city: light, shadows, sky and air."""

from dataclasses import dataclass

Color = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Weather:
    """The light of one picture; colours are RGB 0..255, lengths metres."""

    sun: float  # 0 (overcast) to 1: how much darker surfaces away from the sun are
    shadow: float  # darkness of shadows on the ground
    shadow_length: float  # of an object as high as a person, in the sun
    shadow_blur: float
    sky_top: Color
    sky_low: Color
    cloud: Color
    cloud_range: Range  # noise values at which clouds begin and are opaque
    haze: Color
    haze_distance: float


NOON = Weather(
    sun=0.8,
    shadow=0.45,
    shadow_length=1.4,
    shadow_blur=0.0,
    sky_top=(62, 130, 225),
    sky_low=(178, 214, 245),
    cloud=(250, 250, 252),
    cloud_range=(0.7, 1.5),
    haze=(190, 214, 240),
    haze_distance=330.0,
)
SUMMER_HAZE = Weather(
    sun=0.6,
    shadow=0.4,
    shadow_length=1.6,
    shadow_blur=0.5,
    sky_top=(120, 178, 236),
    sky_low=(236, 242, 248),
    cloud=(250, 250, 250),
    cloud_range=(0.2, 2.0),
    haze=(222, 230, 238),
    haze_distance=190.0,
)
LOW_SUN = Weather(
    sun=1.0,
    shadow=0.55,
    shadow_length=4.0,
    shadow_blur=0.3,
    sky_top=(132, 178, 232),
    sky_low=(252, 236, 206),
    cloud=(255, 240, 220),
    cloud_range=(0.5, 1.8),
    haze=(236, 222, 200),
    haze_distance=240.0,
)
BRIGHT_CLOUD = Weather(
    sun=0.25,
    shadow=0.35,
    shadow_length=1.0,
    shadow_blur=1.5,
    sky_top=(226, 232, 240),
    sky_low=(246, 247, 248),
    cloud=(206, 214, 224),
    cloud_range=(0.0, 2.2),
    haze=(226, 230, 234),
    haze_distance=220.0,
)
GREY_DAY = Weather(
    sun=0.12,
    shadow=0.38,
    shadow_length=1.4,
    shadow_blur=2.5,
    sky_top=(186, 190, 194),
    sky_low=(222, 221, 216),
    cloud=(158, 163, 170),
    cloud_range=(0.0, 2.4),
    haze=(176, 180, 182),
    haze_distance=130.0,
)

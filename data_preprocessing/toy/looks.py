"""The looks of the toy city: a clean computer game, a cartoon, and a grainy camera on a grey day.

All show the same kinds of objects. They differ in light, colours, textures, lens, sensor and
camera position, and in class frequencies: the source has no trains, and few riders and bicycles.
"""

from dataclasses import dataclass, replace

from data_preprocessing.toy.weather import (
    BRIGHT_CLOUD,
    GREY_DAY,
    LOW_SUN,
    NOON,
    SUMMER_HAZE,
    Color,
    Range,
    Weather,
)

Menu = dict[str, float]  # kind of object -> relative frequency

# material: grain (strength, size in metres), joints (strength, length and height of a brick)
MATERIALS: dict[str, tuple[float, float, float, float, float]] = {
    "plain": (0.03, 1.0, 0.0, 1.0, 1.0),
    "asphalt": (0.10, 0.5, 0.0, 1.0, 1.0),
    "slabs": (0.07, 0.6, 0.30, 1.2, 0.9),
    "brick": (0.12, 1.0, 0.35, 1.0, 0.42),
    "plaster": (0.08, 2.5, 0.0, 1.0, 1.0),
    "leaves": (0.24, 0.7, 0.0, 1.0, 1.0),
    "grass": (0.20, 0.4, 0.0, 1.0, 1.0),
    "metal": (0.04, 1.5, 0.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Look:
    """How one domain looks; colours are RGB 0..255, lengths metres."""

    weathers: tuple[Weather, ...]  # each picture has one of them
    # surfaces
    texture: float
    bare: float  # probability that a tree has no leaves
    colors: dict[str, list[Color]]
    # camera and street, drawn at random for each picture
    camera_x: Range  # 0 is the middle of the road, positive the right-hand lane
    camera_height: Range
    focal: Range
    horizon: Range
    hood: float  # probability that the bonnet of the ego vehicle is visible
    road: Range  # half the width
    pavement: Range
    verge: float  # probability of a strip of grass between road and pavement
    # sensor
    contrast: float  # factor of differences from `cast`
    cast: Color
    exposure: Range
    vignette: float
    blur: float  # standard deviation, in pixels of a picture 256 pixels wide
    noise: float
    # frequencies of objects in each row of the street
    lots: Menu
    kerb: Menu
    walk: Menu
    parking: Menu
    lane: Menu
    oncoming: Menu


SOURCE = Look(
    weathers=(NOON, NOON, SUMMER_HAZE, LOW_SUN, BRIGHT_CLOUD),
    texture=0.6,
    bare=0.25,
    colors={
        "road": [(108, 108, 112), (118, 116, 114), (86, 86, 92), (140, 138, 136)],
        "marking": [(244, 244, 240), (246, 210, 70)],
        "crossing": [(244, 244, 240)],
        "rail": [(90, 90, 95)],
        "sidewalk": [(206, 196, 178), (198, 190, 184), (168, 160, 152), (150, 146, 144)],
        "kerb": [(226, 222, 212)],
        "grass": [(96, 178, 62), (112, 186, 74)],
        "facade": [
            (232, 212, 168),
            (214, 146, 104),
            (196, 190, 186),
            (236, 226, 208),
            (222, 178, 124),
            (168, 156, 150),
            (190, 112, 88),
            (142, 84, 62),
            (116, 98, 84),
            (246, 244, 238),
        ],
        "shop": [(204, 44, 44), (34, 92, 176), (36, 120, 70), (238, 190, 50), (50, 46, 52)],
        "trim": [(250, 246, 238)],
        "glass": [(84, 132, 178), (70, 112, 156), (52, 66, 84)],
        "door": [(120, 62, 40), (46, 84, 104)],
        "roof": [(176, 82, 56), (120, 92, 88)],
        "wall": [(214, 190, 150), (190, 176, 160)],
        "fence": [(148, 102, 64), (236, 236, 232)],
        "railing": [(120, 124, 130), (60, 64, 70), (220, 220, 222)],
        "pole": [(136, 140, 146), (92, 96, 100)],
        "box": [(40, 44, 46), (232, 188, 40)],
        "sign": [(212, 36, 36), (28, 88, 200), (244, 206, 36), (30, 140, 70)],
        "sign_mark": [(250, 250, 250)],
        "leaves": [(58, 142, 44), (74, 156, 52), (46, 122, 50), (44, 84, 40), (140, 150, 62)],
        "trunk": [(112, 78, 50)],
        "skin": [(232, 184, 150), (150, 102, 74)],
        "cloth": [
            (220, 50, 50),
            (40, 90, 210),
            (240, 190, 40),
            (60, 170, 90),
            (240, 240, 240),
            (150, 60, 170),
        ],
        "trousers": [(44, 58, 110), (60, 60, 66), (140, 110, 80)],
        "car": [
            (210, 36, 34),
            (34, 84, 196),
            (240, 196, 36),
            (240, 240, 240),
            (52, 160, 96),
            (240, 120, 30),
            (36, 38, 44),
            (176, 178, 182),
            (96, 104, 116),
        ],
        "truck": [(238, 238, 234), (60, 120, 200), (220, 130, 40)],
        "bus": [(240, 180, 30), (40, 150, 90), (220, 60, 50)],
        "train": [(200, 40, 50)],
        "cycle": [(30, 30, 34), (190, 40, 40)],
        "tyre": [(26, 26, 28)],
        "bin": [(60, 110, 70)],
        "hood": [(40, 40, 44)],
    },
    camera_x=(0.2, 2.6),
    camera_height=(1.3, 2.1),
    focal=(0.72, 0.98),
    horizon=(0.38, 0.54),
    hood=0.15,
    road=(5.4, 7.0),
    pavement=(3.0, 4.8),
    verge=0.5,
    contrast=1.0,
    cast=(128, 128, 128),
    exposure=(0.75, 1.15),
    vignette=0.0,
    blur=0.0,
    noise=1.2,
    lots={"building": 5, "terrace": 3, "park": 1.6, "wall": 0.9, "fence": 0.9, "side_street": 0.8},
    kerb={
        "tree": 2.6,
        "lamp": 2,
        "traffic_light": 1.4,
        "sign": 1.6,
        "railing": 0.7,
        "bin": 0.3,
        "nothing": 2.5,
    },
    walk={"person": 2.5, "group": 0.5, "bush": 0.3, "parked_bicycle": 0.04, "nothing": 3},
    parking={"car": 3.5, "cars": 1.2, "truck": 0.25, "parked_motorcycle": 0.35, "nothing": 4},
    lane={
        "car": 4,
        "truck": 0.6,
        "bus": 0.6,
        "person": 0.2,
        "motorcyclist": 0.12,
        "cyclist": 0.03,
        "nothing": 3,
    },
    oncoming={"car": 4, "truck": 0.7, "bus": 0.6, "motorcyclist": 0.08, "nothing": 2},
)

CARTOON = replace(
    SOURCE,
    weathers=(replace(NOON, sun=0.3, shadow=0.0, haze_distance=1e6),),
    texture=0.0,
    bare=0.0,
    colors={kind: colors[:2] for kind, colors in SOURCE.colors.items()},
    camera_x=(1.2, 1.8),
    camera_height=(1.5, 1.7),
    focal=(0.8, 0.9),
    horizon=(0.44, 0.48),
    hood=0.0,
    exposure=(1.0, 1.0),
    noise=0.0,
    lots={"building": 5, "park": 1.6, "wall": 0.9, "fence": 0.9},
)
"""The source without what makes drawings resemble photographs."""

TARGET = Look(
    weathers=(GREY_DAY,),
    texture=1.0,
    bare=0.4,
    colors={
        "road": [(92, 92, 96), (104, 100, 98), (84, 86, 92)],
        "marking": [(186, 186, 180), (170, 170, 166)],
        "crossing": [(180, 180, 174)],
        "rail": [(58, 56, 58)],
        "sidewalk": [(122, 118, 116), (132, 124, 118), (110, 110, 112)],
        "kerb": [(146, 144, 140)],
        "grass": [(112, 116, 74), (120, 112, 78), (94, 104, 66)],
        "facade": [
            (134, 96, 82),
            (150, 140, 128),
            (118, 114, 112),
            (164, 154, 136),
            (112, 82, 72),
            (96, 98, 104),
            (142, 126, 102),
        ],
        "shop": [(110, 58, 54), (58, 72, 104), (66, 88, 74), (150, 132, 84), (54, 52, 56)],
        "trim": [(150, 146, 140), (104, 98, 94)],
        "glass": [(52, 58, 64), (70, 76, 82), (120, 126, 130)],
        "door": [(62, 50, 44), (52, 60, 58)],
        "roof": [(88, 62, 56), (72, 70, 74)],
        "wall": [(124, 116, 106), (118, 92, 80)],
        "fence": [(82, 84, 80), (98, 84, 70)],
        "railing": [(84, 88, 88), (120, 122, 122)],
        "pole": [(92, 96, 96), (74, 78, 76)],
        "box": [(36, 40, 40)],
        "sign": [(150, 52, 50), (54, 76, 128), (168, 146, 70), (176, 174, 170)],
        "sign_mark": [(190, 188, 182)],
        "leaves": [(70, 80, 46), (86, 84, 48), (60, 72, 50), (104, 90, 50)],
        "trunk": [(70, 60, 52)],
        "skin": [(176, 142, 124), (112, 84, 70)],
        "cloth": [
            (48, 50, 58),
            (66, 58, 54),
            (96, 94, 92),
            (84, 52, 52),
            (54, 64, 84),
            (120, 112, 100),
        ],
        "trousers": [(42, 46, 60), (48, 46, 46), (74, 70, 66)],
        "car": [
            (44, 46, 50),
            (128, 130, 132),
            (174, 174, 172),
            (78, 84, 94),
            (56, 64, 84),
            (96, 48, 46),
        ],
        "truck": [(160, 158, 152), (86, 98, 112), (116, 104, 88)],
        "bus": [(150, 128, 72), (104, 74, 70), (140, 142, 142)],
        "train": [(140, 110, 74), (112, 62, 58), (96, 112, 104)],
        "cycle": [(44, 46, 48), (80, 60, 58)],
        "tyre": [(34, 34, 36)],
        "bin": [(70, 76, 66)],
        "hood": [(58, 60, 64)],
    },
    camera_x=(1.4, 3.4),
    camera_height=(1.1, 1.45),
    focal=(0.86, 1.0),
    horizon=(0.36, 0.46),
    hood=0.6,
    road=(4.7, 5.8),
    pavement=(3.0, 4.6),
    verge=0.3,
    contrast=0.86,
    cast=(112, 120, 124),
    exposure=(1.0, 1.3),
    vignette=0.22,
    blur=0.55,
    noise=7.0,
    lots={"building": 5, "terrace": 3, "park": 1.4, "wall": 1.1, "fence": 1.0, "side_street": 0.7},
    kerb={
        "tree": 2.6,
        "lamp": 2,
        "traffic_light": 1.3,
        "sign": 1.8,
        "parked_bicycle": 1.2,
        "railing": 0.7,
        "bin": 0.3,
        "nothing": 2,
    },
    walk={"person": 3, "group": 0.6, "parked_bicycle": 0.9, "bush": 0.3, "nothing": 2.5},
    parking={"car": 3.5, "cars": 1.2, "truck": 0.2, "parked_motorcycle": 0.4, "nothing": 3},
    lane={
        "car": 2.5,
        "truck": 0.4,
        "bus": 0.4,
        "person": 0.4,
        "motorcyclist": 0.4,
        "cyclist": 2.6,
        "nothing": 3,
    },
    oncoming={"car": 2.5, "truck": 0.3, "bus": 0.4, "train": 1.0, "cyclist": 1.0, "nothing": 2.5},
)

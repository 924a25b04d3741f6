"""CVAT's "Segmentation mask 1.1": a ZIP (or folder) of coloured PNGs and a list of the colours."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from annotation.answers import Collector
from annotation.classes import NO_ANSWER, ClassList
from annotation.masks import codes_of_colors, open_map, pack_colors, paint_known
from annotation.package import PackageImage
from annotation.untrusted import Entry, shorten
from dataloader.dataset_info import free_name
from utils.errors import UserError

BACKGROUND = "background"
BLACK = (0, 0, 0)
LABEL_MAP = "labelmap.txt"
MASK_FOLDER = "SegmentationClass"


class MaskArchiveWriter:
    """Builds the ZIP of "Segmentation mask 1.1" image by image."""

    def __init__(self, classes: ClassList):
        self.classes = classes
        self.maps: dict[str, bytes] = {}

    def add(self, image: PackageImage, guess: np.ndarray) -> None:
        """Add the first guess of an image, (H, W) uint8 codes."""
        stream = io.BytesIO()
        Image.fromarray(self.classes.color_table[guess]).save(stream, "PNG")
        self.maps[image.name] = stream.getvalue()

    def to_bytes(self) -> bytes:
        """The file, with the lists of classes and images."""
        names = [c.name for c in self.classes.classes]
        lines = ["# label:color_rgb:parts:actions", f"{free_name(BACKGROUND, names)}:0,0,0::"]
        lines += [f"{c.name}:{','.join(map(str, c.color))}::" for c in self.classes.classes]
        members = {
            LABEL_MAP: "".join(f"{line}\n" for line in lines).encode(),
            "ImageSets/Segmentation/default.txt": "".join(f"{n}\n" for n in self.maps).encode(),
            **{f"{MASK_FOLDER}/{name}.png": data for name, data in self.maps.items()},
        }
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in members.items():  # a fixed time: equal packages are equal files
                archive.writestr(zipfile.ZipInfo(name), data)
        return stream.getvalue()


def is_of_mask_archive(entry: Entry) -> bool:
    """Whether a file lies in a folder of maps, by classes or by objects."""
    return any(part.startswith("Segmentation") for part in PurePosixPath(entry.name).parts)


def read_mask_archives(entries: Sequence[Entry], source: str, collector: Collector) -> None:
    """Take the coloured maps of "Segmentation mask 1.1"; colours are those of its labelmap.txt.

    A folder may hold several unpacked archives, each with its own colours.
    """
    paths = {PurePosixPath(entry.name): entry for entry in entries}
    maps = {path.parent: entry for path, entry in paths.items() if path.name == LABEL_MAP}
    inside: dict[PurePosixPath, list[Entry]] = {folder: [] for folder in maps}
    for path, entry in paths.items():
        if MASK_FOLDER not in path.parts or entry.suffix != ".png":
            continue
        folder = next((parent for parent in path.parents if parent in maps), None)
        if folder is None:
            raise UserError(
                f"{source}: {shorten(entry.name)} has no {LABEL_MAP} in the folders around it, "
                "which tells its colours; name each archive by itself"
            )
        inside[folder].append(entry)
    for folder, label_map in maps.items():
        _read_mask_archive(label_map, inside[folder], source, collector)


def _read_mask_archive(
    label_map: Entry, entries: Sequence[Entry], source: str, collector: Collector
) -> None:
    colors = _read_label_map(label_map.read(), f"{source}: {shorten(label_map.name)}")
    nothing = _unpainted(colors, source, collector)
    for entry in entries:
        image = collector.find(entry.name, entry.path)
        if image is None:
            continue
        place = f"{source}: {shorten(entry.name)}"
        picture = open_map(entry.read(), image, place, collector)
        if picture is None:
            continue
        with collector.canvas(image, place) as canvas:
            values = picture.rgb()
            used = set(np.unique(pack_colors(values)).tolist())
            codes = {
                color: NO_ANSWER if color == nothing else canvas.code_of(name)
                for color, name in colors.items()
                if (color[0] << 16 | color[1] << 8 | color[2]) in used
            }
            known = {c: NO_ANSWER if code is None else code for c, code in codes.items()}
            paint_known(codes_of_colors(values, known), values, canvas)


def _unpainted(
    colors: Mapping[tuple[int, int, int], str], source: str, collector: Collector
) -> tuple[int, int, int] | None:
    """The colour of what nobody drew: black, else that of "background"; None if neither is listed.

    CVAT gives what nobody drew the colour of a label "background", if there is one.
    """
    code_of, black = collector.classes.code_of, colors.get(BLACK, BACKGROUND)
    if black != BACKGROUND:
        if code_of(black) is None:
            return BLACK
        collector.remarks.append(
            f"{source}: {shorten(black)!r} is black there, as is what nobody drew; if parts were "
            "left out, give that label another colour, and export again"
        )
        return None
    nothing = (
        BLACK
        if BLACK in colors
        else next((c for c, name in colors.items() if name == BACKGROUND), None)
    )
    drawn = [name for color, name in colors.items() if color != nothing]
    if nothing and code_of(BACKGROUND) is not None and BACKGROUND not in map(str.casefold, drawn):
        collector.remarks.append(
            f"{source}: class {BACKGROUND!r} and what nobody drew have one colour there, which is "
            'not taken; if the class was drawn, export "CVAT for images 1.1" instead'
        )
    return nothing


def _read_label_map(data: bytes, place: str) -> dict[tuple[int, int, int], str]:
    """Colour -> class name; a name may hold colons."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
        colors = {}
        for line in filter(None, map(str.strip, lines)):
            if line.startswith("#"):
                continue
            name, color, _, _ = line.rsplit(":", 3)
            red, green, blue = (int(v) for v in color.split(","))
            if colors.setdefault((red, green, blue), name) != name:
                raise UserError(
                    f"{place}: {shorten(name)} has the colour of "
                    f"{shorten(colors[red, green, blue])}; give each label its own colour, and "
                    "export again"
                )
    except ValueError as error:
        raise UserError(
            f"{place}: expected lines such as road:128,64,128:: ; export it again"
        ) from error
    return colors

"""CVAT's "Segmentation mask 1.1": a ZIP (or folder) of coloured PNGs and a list of the colours."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from annotation.answers import Collector
from annotation.classes import NO_ANSWER, ClassList
from annotation.masks import codes_of_colors, open_map, paint_known, rgb_values
from annotation.package import PackageImage
from annotation.untrusted import Entry, shown
from utils.errors import UserError

BACKGROUND = "background"
LABEL_MAP = "labelmap.txt"
MASK_FOLDER = "SegmentationClass"


class MaskArchiveWriter:
    """Builds the ZIP of "Segmentation mask 1.1" image by image.

    Args:
        file: to write to.
        classes: of the package.
    """

    def __init__(self, file: Any, classes: ClassList):
        self.archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self.classes = classes
        self.names: list[str] = []

    def add(self, image: PackageImage, guess: np.ndarray) -> None:
        """Add the first guess of an image, (H, W) uint8 codes."""
        stream = io.BytesIO()
        Image.fromarray(self.classes.color_table[guess]).save(stream, "PNG")
        self._write(f"{MASK_FOLDER}/{image.name}.png", stream.getvalue())
        self.names.append(image.name)

    def close(self) -> None:
        """Write the lists of classes and images, and end the file."""
        lines = ["# label:color_rgb:parts:actions", f"{BACKGROUND}:0,0,0::"]
        lines += [f"{c.name}:{','.join(map(str, c.color))}::" for c in self.classes.classes]
        self._write(LABEL_MAP, ("\n".join(lines) + "\n").encode())
        self._write(
            "ImageSets/Segmentation/default.txt",
            "".join(f"{name}\n" for name in self.names).encode(),
        )
        self.archive.close()

    def _write(self, name: str, data: bytes) -> None:
        """A member with a fixed time, so that equal packages are equal files."""
        self.archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def read_mask_archive(entries: Sequence[Entry], source: str, collector: Collector) -> None:
    """Take the coloured maps of "Segmentation mask 1.1"; colours are those of its labelmap.txt."""
    (label_map,) = [e for e in entries if PurePosixPath(e.name).name == LABEL_MAP][:1]
    colors = _read_label_map(label_map.read(), f"{source}: {LABEL_MAP}")
    for entry in entries:
        if PurePosixPath(entry.name).parent.name != MASK_FOLDER or entry.suffix != ".png":
            continue
        image = collector.find(entry.name)
        if image is None:
            continue
        place = f"{source}: {shown(entry.name)}"
        picture = open_map(entry, image, place, collector)
        if picture is None:
            continue
        with collector.canvas(image, place) as canvas:
            values = rgb_values(picture)
            used = set(map(tuple, np.unique(values.reshape(-1, 3), axis=0).tolist()))
            codes = {
                color: NO_ANSWER if name == BACKGROUND else canvas.code_of(name)
                for color, name in colors.items()
                if color in used
            }
            known = {c: NO_ANSWER if code is None else code for c, code in codes.items()}
            paint_known(codes_of_colors(values, known), values, canvas)


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
            colors[red, green, blue] = name
    except ValueError as error:
        raise UserError(
            f"{place}: expected lines such as road:128,64,128:: ; export it again"
        ) from error
    return colors

"""Writing maps of images so that a run can be repeated, and nothing of other origin is lost."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.image_files import open_image
from dataloader.images import INDEX_MODES, READ_ERRORS, read_head, read_image
from dataloader.item import Item
from dataloader.provenance import make_note, note_of
from utils.errors import UserError
from utils.files import map_files, remove_temporaries, write_png

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class MapWriter:
    """Writes one kind of map, never over a file that was not made here.

    A map made here (its PNG comment starts with ``tool``) is kept if it is whole and its comment
    names these settings and this image, else made again. A map made elsewhere, of the image's
    size, is kept. Anything else in its place is a mistake, and refused.

    Attributes:
        what: the kind of map with its article, for error lines: "a superpixel map".
        tool: first words of the comment of such maps.
        settings: the whole comment without the image's digest; starts with ``tool``.
    """

    what: str
    tool: str
    settings: str

    def check(
        self,
        paths: Sequence[Path],
        items: Sequence[Item],
        root: Path,
        share: slice = slice(None),
    ) -> None:
        """Refuse output paths that are outside ``root``, listed twice, or taken by another file.

        Temporary files that a killed run left of them are removed.

        Args:
            paths: where each item's map is to be.
            items: the images.
            root: root folder of the dataset.
            share: those of the maps that are to be written.

        Raises:
            UserError: names the first such path.
        """
        folder, uses = os.path.abspath(root), Counter(paths)
        inputs = {Path(path) for item in items for path in (item.image, item.label)}
        paths, images = paths[share], [item.image for item in items[share]]
        foreign = map_files(self._is_foreign, paths, images)
        for path, is_foreign in zip(paths, foreign, strict=True):
            if not path.is_relative_to(folder):
                raise UserError(
                    f"{path}: {self.what} would lie outside --datadir {root}; if that cannot be "
                    "written, let a folder of links to the images and labels be the data root"
                )
            if path.suffix.lower() != ".png":
                raise UserError(f"{path}: {self.what} is a PNG file; mend the datalist")
            if uses[path] > 1:
                raise UserError(f"{path}: {self.what} of {uses[path]} images; mend the datalist")
            if is_foreign or path in inputs:
                raise UserError(
                    f"{path}: {self.what} would overwrite this; move it, or mend the datalist"
                )
        names = defaultdict(list)
        for path in paths:
            names[path.parent].append(path.name)
        for parent, ours in names.items():
            remove_temporaries(parent, ours)

    def _is_foreign(self, path: Path, image: str) -> bool:
        """Whether a file is there that is neither a map made here nor one that may be kept."""
        try:
            with open_image(path) as stored:
                if note_of(stored).startswith(self.tool):
                    return False
                is_map = stored.format == "PNG" and stored.mode in INDEX_MODES
                return not (is_map and read_head(path, "map") == read_head(image, "image"))
        except READ_ERRORS:  # absent, a map that was cut off, or not a picture at all
            return path.is_file() and not _is_png(path)

    def write(self, path: Path, image: str, make: Callable[[np.ndarray], np.ndarray]) -> None:
        """Write the map that ``make`` returns, unless the one that is there is to be kept.

        Args:
            path: where it is to be, accepted by :meth:`check`.
            image: the image that it is made from.
            make: image (H, W, 3) uint8 -> map (H, W) uint8.
        """
        pixels = read_image(image)
        note = make_note(self.settings, pixels)
        if not self._is_current(path, image, note):
            write_png(path, make(pixels), note=note)

    def _is_current(self, path: Path, image: str, note: str) -> bool:
        try:
            with open_image(path) as stored:
                stored.load()
                made_elsewhere = not note_of(stored).startswith(self.tool)
                return read_head(path, "map") == read_head(image, "image") and (
                    made_elsewhere or note_of(stored) == note
                )
        except READ_ERRORS:
            return False


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE

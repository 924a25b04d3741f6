"""What a file says of an image, drawn pixel by pixel, and the regions that were asked for there."""

from collections import Counter
from pathlib import Path

import numpy as np

from annotation.classes import NO_ANSWER, ClassList
from annotation.package import Package, PackageImage, Region
from dataloader.images import digest, read_image, read_superpixels
from utils.errors import UserError


class AskedImage:
    """All regions of one image that were asked for, in whatever round.

    Attributes:
        package, entry: the latest package that has the image, and its entry of it.
        regions: region id -> the latest package and its entry of the region.
    """

    def __init__(self, package: Package, entry: PackageImage):
        self.package, self.entry = package, entry
        self.regions: dict[int, tuple[Package, Region]] = {}
        self._maps: dict[Path, tuple[Package, PackageImage]] = {}

    def add(self, package: Package, entry: PackageImage) -> None:
        """Add what a later package asks for."""
        self.package, self.entry = package, entry
        self.regions |= {region.id: (package, region) for region in entry.regions}
        self._maps[package.folder] = (package, entry)

    @property
    def packages(self) -> int:
        """How many packages have the image."""
        return len(self._maps)

    def round_rank(self, region: int) -> int:
        """How many packages with the image come before the latest one with a region."""
        return list(self._maps).index(self.regions[region][0].folder)

    def is_guess(self, region: int, codes: np.ndarray) -> bool:
        """Whether a region's codes are just what the package suggests."""
        return digest(codes) == self.regions[region][1].first_guess

    def is_region_map(self, values: np.ndarray) -> bool:
        """Whether a label map holds the numbers of several asked regions, as in ``regions/``."""
        return values.max() > 1 and any(
            np.array_equal(values, package.read_numbers(entry))
            for package, entry in self._maps.values()
        )

    def is_photo(self, data: bytes) -> bool:
        """Whether a file is the image itself, as it lies in a package for people to label."""
        path = self._photo
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data

    def has_pixels(self, rgb: np.ndarray) -> bool:
        """Whether a picture, (H, W, 3) uint8, is the image itself in a file that was saved anew."""
        return self._photo.is_file() and np.array_equal(rgb, read_image(self._photo))

    @property
    def _photo(self) -> Path:
        return self.package.folder / "images" / self.entry.file

    def region_ids(self) -> np.ndarray:
        """(H, W) int16: the id of the asked region of each pixel, -1 outside of all.

        Raises:
            UserError: the superpixel map has been made anew since the package was written.
        """
        path, expected = self.entry.superpixel, self.entry.superpixel_sha256
        if Path(path).is_file() and digest(read_superpixels(path)) != expected:
            raise UserError(
                f"{path}: is not the superpixel map that the labelling package was made with; "
                "restore it"
            )
        ids = np.full(self.entry.size, -1, np.int16)
        for package, entry in self._maps.values():
            numbers = package.read_numbers(entry)
            table = np.full(256, -1, np.int16)
            table[[r.number for r in entry.regions]] = [r.id for r in entry.regions]
            ids = np.where(numbers > 0, table[numbers], ids)
        return ids


class Canvas:
    """What one file says of one image: the code of each pixel, later shapes over earlier ones."""

    def __init__(self, image: AskedImage, classes: ClassList, source: str):
        self.image = image
        self.source = source
        self.size = image.entry.size
        self.region_ids = image.region_ids()
        self.unknown: Counter[str] = Counter()
        self.overpainted = 0
        self.background: int | None = None
        self._classes = classes
        self._codes = np.full(self.size, NO_ANSWER, np.uint8)

    def code_of(self, name: str) -> int | None:
        """The code of a class name; None if it is no answer, or unknown, which is remembered."""
        code = self._classes.code_of(name)
        if code is None:
            self.unknown[name] += 1
        return None if code == NO_ANSWER else code

    def paint(self, code: int, mask: np.ndarray) -> None:
        """Give the pixels of a (H, W) bool mask a code."""
        before = self._codes[mask & (self.region_ids >= 0)]
        self.overpainted += int(np.count_nonzero((before != NO_ANSWER) & (before != code)))
        self._codes[mask] = code

    def paint_codes(self, codes: np.ndarray) -> None:
        """Give pixels the codes of a (H, W) uint8 map, where it holds any."""
        for code in np.unique(codes[codes != NO_ANSWER]).tolist():
            self.paint(code, codes == code)

    def skip_all(self) -> None:
        """Mark all asked regions of the image as to be skipped."""
        self.paint(self._classes.skip, self.region_ids >= 0)

    def regions(self) -> dict[int, np.ndarray]:
        """Region id -> codes of its pixels, in row-major order."""
        places = np.flatnonzero(self.region_ids >= 0)
        ids, codes = self.region_ids.ravel()[places], self._codes.ravel()[places]
        return {region: codes[ids == region] for region in self.image.regions}

    def is_around(self, code: int) -> bool:
        """Whether most pixels that nobody asked for have a code, and some that were asked for."""
        outside, alike = self.region_ids < 0, self._codes == code
        most = np.count_nonzero(alike & outside) > 0.8 * np.count_nonzero(outside)
        return bool(most and alike[~outside].any())

    def outside(self) -> int:
        """How many pixels are answered that nobody asked for."""
        return int(np.count_nonzero((self._codes != NO_ANSWER) & (self.region_ids < 0)))

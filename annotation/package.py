"""A labelling package: the folder that goes to people, and its manifest ``package.json``.

    index.html        what to label where; opens without a server
    package.json      the manifest, which answers are read with
    classes.csv       names, codes and colours
    images/           the images themselves, for a labelling tool
    pictures/         the same with the asked regions outlined and numbered, and thumbnails
    regions/          which pixels belong to which numbered region, 0 to none
    coco.json  cvat_images.xml  cvat_masks.zip  label_studio.json  masks/  masks_color/

Files of one image share a name, which is safe for any tool and the same in every round.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from annotation.classes import NO_ANSWER, ClassList
from dataloader.images import digest, read_superpixels
from dataloader.item import Item, image_key
from dataloader.regions import Regions, region_areas
from dataloader.walk import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.files import read_json, write_json

MANIFEST = "package.json"
VERSION = 1
MOST_REGIONS = 255  # of an image, as 8-bit maps of their numbers hold them
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}(-|__)", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """An asked region: its number in the picture, id in the superpixel map, and pixels.

    ``first_guess`` is a digest of the codes that the package suggests for its pixels, None where it
    suggests nothing; ``guessed_class`` names the most frequent of them.
    """

    number: int
    id: int
    pixels: int
    first_guess: str | None = None
    guessed_class: str | None = None


@dataclass(frozen=True)
class PackageImage:
    """One image of a package.

    Args:
        name: of its files in the package, without suffix.
        file: of the image in ``images/``.
        key: path of the image relative to the data root, which names it in every round.
        superpixel: path of its superpixel map.
        superpixel_sha256, numbers_sha256: digests of its region ids, and of the region numbers in
            ``regions/``.
        height, width: in pixels.
        regions: that are asked for, by number.
    """

    name: str
    file: str
    key: str
    superpixel: str
    superpixel_sha256: str
    numbers_sha256: str
    height: int
    width: int
    regions: tuple[Region, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """Pixels of all asked regions."""
        return sum(region.pixels for region in self.regions)

    def numbers(self, regions: np.ndarray) -> np.ndarray:
        """(H, W) uint8: the number of the asked region of each pixel, 0 outside of all.

        Args:
            regions: (H, W) region ids, see :func:`dataloader.ignore_mask.read_regions`.
        """
        table = np.zeros(257, np.uint8)  # the last entry is that of pixels of no region, -1
        for region in self.regions:
            table[region.id] = region.number
        return table[regions]


@dataclass(frozen=True)
class Package:
    """What ``package.json`` says.

    Args:
        folder: where it lies.
        dataset: its name.
        classes: that may be answered.
        images: with asked regions.
        namesakes: keys of other images of the target whose file names may stand for one of these.
    """

    folder: Path
    dataset: str
    classes: ClassList
    images: tuple[PackageImage, ...]
    namesakes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``round_00`` and so on."""
        return self.folder.name

    @cached_property
    def regions(self) -> int:
        """How many regions are asked for."""
        return sum(len(image.regions) for image in self.images)

    @cached_property
    def pixels(self) -> int:
        """Pixels of all asked regions."""
        return sum(image.pixels for image in self.images)

    def read_numbers(self, image: PackageImage) -> np.ndarray:
        """(H, W) uint8: region numbers, 0 outside of all asked regions.

        Raises:
            UserError: the map is not the one that the package was written with.
        """
        path = self.folder / "regions" / f"{image.name}.png"
        numbers = read_superpixels(path)
        if numbers.shape != image.size or digest(numbers) != image.numbers_sha256:
            raise UserError(f"{path}: is not the region map that {MANIFEST} tells of; restore it")
        return numbers

    def save(self) -> None:
        """Write the manifest."""
        content = {
            "format": "d2ada labelling package",
            "version": VERSION,
            "dataset": self.dataset,
            **self.classes.to_json(),
            "images": [asdict(image) for image in self.images],
            "namesakes": list(self.namesakes),
        }
        write_json(self.folder / MANIFEST, content, indent=1)

    @classmethod
    def load(cls, folder: Path) -> "Package":
        """Read a manifest.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = folder / MANIFEST
        data = read_json(path, "write the package anew with annotation/export.py")
        try:
            if data["version"] != VERSION:
                raise ValueError("version")
            images = tuple(map(_image_of, data["images"]))
            namesakes = tuple(map(str, data.get("namesakes", ())))
            return cls(folder, str(data["dataset"]), ClassList.from_json(data), images, namesakes)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: is no manifest of a labelling package (at {error}); restore it"
            ) from error


def _image_of(entry: Mapping[str, Any]) -> PackageImage:
    """An image of the manifest; TypeError or ValueError if it is none."""
    image = PackageImage(**{**entry, "regions": tuple(Region(**r) for r in entry["regions"])})
    numbers = [image.height, image.width]
    numbers += [value for r in image.regions for value in (r.number, r.id, r.pixels)]
    if not all(type(n) is int and n >= 0 for n in numbers) or safe_name(image.name) != image.name:
        raise ValueError(f"image {image.name!r}")
    return image


def safe_name(text: str) -> str:
    """Text with everything but ASCII letters, digits, ".", "-" and "_" replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[:80]


def describe(item: Item, ids: Sequence[int], regions: np.ndarray, root: str | Path) -> PackageImage:
    """The entry of one image, without what depends on its files and first guess.

    Args:
        item: the image.
        ids: of the asked regions.
        regions: (H, W) region ids, see :func:`dataloader.ignore_mask.read_regions`.
        root: the data root.

    Raises:
        UserError: an asked region is not among the regions, or there are too many.
    """
    areas = region_areas(regions)
    check_region_counts({item.superpixel: dict.fromkeys(ids, 0)})
    for region in ids:
        if region not in areas:
            raise UserError(
                f"{item.superpixel}: has no region {region}, which was selected, or it is masked; "
                "restore the superpixel maps and masks of the selection"
            )
    key = image_key(item, root)
    name_digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:8]
    return PackageImage(
        name=f"{safe_name(Path(item.image).stem)[:60]}_{name_digest}",
        file="",
        key=key,
        superpixel=item.superpixel,
        superpixel_sha256=digest(read_superpixels(item.superpixel)),
        numbers_sha256="",
        height=regions.shape[0],
        width=regions.shape[1],
        regions=tuple(Region(n, i, areas[i]) for n, i in enumerate(sorted(ids), 1)),
    )


def possible_stems(name: str) -> Iterator[str]:
    """What the file name of an image without suffix may have been, before tools changed it.

    Label Studio puts a prefix before names of files that are uploaded, and again in an export;
    others put their suffix behind that of the image.
    """
    once = UPLOAD_PREFIX.sub("", name)
    for tried in dict.fromkeys((name, once, UPLOAD_PREFIX.sub("", once))):
        stem = tried.rpartition(".")[0]
        yield from (tried, stem)
        if PurePosixPath(stem).suffix.lower() in IMAGE_SUFFIXES:
            yield PurePosixPath(stem).stem


def find_namesakes(
    items: Iterable[Item], images: Sequence[PackageImage], root: str | Path
) -> tuple[str, ...]:
    """Keys of items that are not among the images, but whose file names may stand for one."""
    keys = {image.key for image in images}
    stems = {Path(key).stem for key in keys}
    found = (i for i in items if not stems.isdisjoint(possible_stems(Path(i.image).name)))
    return tuple(key for item in found if (key := image_key(item, root)) not in keys)


def with_guess(
    image: PackageImage, numbers: np.ndarray, guess: np.ndarray, classes: ClassList
) -> PackageImage:
    """The entry with the digest of its region numbers, and what is suggested for its regions.

    Args:
        image: the entry.
        numbers: (H, W) uint8 region numbers.
        guess: (H, W) uint8 codes, :data:`NO_ANSWER` where nothing is suggested.
        classes: of the package.
    """
    names = {c.code: c.name for c in classes.classes}
    regions = []
    for region in image.regions:
        codes = guess[numbers == region.number]
        counts = np.bincount(codes[codes != NO_ANSWER], minlength=1)
        if counts.any():
            name = names[int(counts.argmax())]
            region = replace(region, first_guess=digest(codes), guessed_class=name)
        regions.append(region)
    return replace(image, numbers_sha256=digest(numbers), regions=tuple(regions))


def check_region_counts(regions: Regions) -> None:
    """Raise a :class:`UserError` if all regions of an image could not be asked for at once."""
    for superpixel, areas in regions.items():
        if len(areas) > MOST_REGIONS:
            raise UserError(
                f"{superpixel}: {len(areas)} regions, but people can be asked for at most "
                f"{MOST_REGIONS} of an image; run superpixel_gen.py"
            )


def check_package(
    folder: Path,
    items: Iterable[Item],
    asked: Mapping[str, Sequence[int]],
    regions: Regions,
    root: str | Path,
) -> None:
    """Check that a package asks for just the regions that a round selected.

    Args:
        folder: of the package.
        items: images of the target.
        asked: superpixel path -> ids of the regions to be labelled.
        regions: superpixel path -> region id -> pixels.
        root: the data root.

    Raises:
        UserError: it is of an earlier run, or damaged.
    """
    found = {
        (image.key, r.id, r.pixels) for image in Package.load(folder).images for r in image.regions
    }
    wanted = {
        (image_key(item, root), region, regions[item.superpixel][region])
        for item in items
        for region in asked.get(item.superpixel, ())
    }
    if found != wanted:
        raise UserError(
            f"{folder}: is a labelling package of an earlier run ({len(found)} regions, of which "
            f"{len(found & wanted)} are among the {len(wanted)} that this one selected); move it "
            "away, and go on with --resume"
        )


def load_packages(folder: Path, named: Sequence[Path] | None = None) -> list[Package]:
    """The packages below ``EXP/annotation``, by round, or those that are named.

    Raises:
        UserError: one is damaged, or their classes or maps are not the same.
    """
    found = named or (path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))
    by_round = sorted(found, key=lambda path: (len(path.name), path.name))
    packages = [Package.load(path) for path in by_round]
    maps: dict[str, str] = {}
    for package in packages:
        if package.classes != packages[0].classes:
            difference = package.classes.difference(packages[0].classes)
            difference = f" ({difference})" if difference else ""
            raise UserError(
                f"{package.folder}: its classes are not those of {packages[0].folder}"
                f"{difference}; remove the package if it is of another run, "
                "or give info.json the earlier classes, and export it again"
            )
        for image in package.images:
            if maps.setdefault(image.key, image.superpixel_sha256) != image.superpixel_sha256:
                raise UserError(
                    f"{package.folder}: {image.key} has another superpixel map than in an earlier "
                    "package; remove the package that does not belong to this run"
                )
    return packages

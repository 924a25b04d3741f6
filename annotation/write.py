"""Writing a labelling package."""

import csv
import io
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from annotation.classes import NO_ANSWER, ClassList
from annotation.coco import CocoWriter
from annotation.cvat import CvatWriter, cvat_labels
from annotation.cvat_masks import MaskArchiveWriter
from annotation.drawing import PICTURE_WIDTH, THUMBNAIL_WIDTH, draw_regions
from annotation.label_studio import labelling_interface, make_task
from annotation.package import (
    MANIFEST,
    Package,
    PackageImage,
    describe,
    find_namesakes,
    with_guess,
)
from annotation.page import write_page
from dataloader.dataset_info import DatasetInfo
from dataloader.ignore_mask import Masks, mask_of, read_regions
from dataloader.image_files import ORIENTATION, is_deep, open_image
from dataloader.images import read_image
from dataloader.item import Item
from utils.errors import UserError
from utils.files import atomic_write, copy_file, remove_folder, write_json, write_png, write_text

log = logging.getLogger(__name__)

FORMATS = ("coco", "cvat", "label_studio", "masks")
JPEG_QUALITY = 88


def write_package(
    folder: Path,
    items: Sequence[Item],
    asked: Mapping[str, Sequence[int]],
    info: DatasetInfo,
    guess: Callable[[str], np.ndarray] | None,
    formats: Collection[str] = FORMATS,
    root: str | Path = ".",
    masks: Masks | None = None,
) -> Package:
    """Write the folder that goes to people; it appears whole or not at all.

    Args:
        folder: to be made; ``EXP/annotation/round_NN``.
        items: images of the target, also those without asked regions.
        asked: superpixel path -> ids of the regions to be labelled.
        info: the target dataset.
        guess: image path -> (H, W) uint8 train ids at the image's own size, to be corrected; None
            for no first guess.
        formats: of :data:`FORMATS`.
        root: the data root; images are named by their path below it, the same in every round.
        masks: image path -> mask of pixels that are never asked for, if the dataset has masks.

    Raises:
        UserError: the folder is there already, nothing is asked for, or the images, superpixel
            maps and predictions do not belong together.
    """
    if folder.exists():
        raise UserError(
            f"{folder}: is there already, perhaps with answers in it; remove it, or name another"
        )
    chosen = [item for item in items if asked.get(item.superpixel)]
    if not chosen:
        raise UserError(f"{folder}: no regions were selected, so there is nothing to label")
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    remove_folder(new)
    try:
        writer = _Writer(new, _classes(folder.parent, folder.name, info), formats, folder.name)
        for item in chosen:
            prediction = guess(item.image) if guess else None
            regions = read_regions(item.superpixel, mask_of(item, masks))
            writer.add(item, asked[item.superpixel], regions, prediction, root)
        writer.finish(info, find_namesakes(items, writer.images, root))
        try:
            new.rename(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        remove_folder(new)
    package = Package.load(folder)
    write_page(package, {})
    return package


def _classes(folder: Path, name: str, info: DatasetInfo) -> ClassList:
    """The classes for a new package below ``EXP/annotation``, in the colours of the first there.

    All packages of a run are read by one list; a palette may be changed between rounds.
    """
    classes = ClassList.of_dataset(info)
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}"))[:1]:
        earlier = Package.load(path.parent).classes
        difference = classes.difference(earlier)
        if difference:
            log.warning(
                "%s: its classes are not those of %s (%s), so that no answers can be imported; "
                "give info.json the earlier classes, remove this package, and export it again",
                *(name, path.parent, difference),
            )
        classes = classes if difference else earlier
    return classes


class _Writer:
    """Writes a package image by image, so that no more than one is in memory."""

    def __init__(self, folder: Path, classes: ClassList, formats: Collection[str], name: str):
        self.folder, self.classes, self.formats, self.name = folder, classes, formats, name
        self.images: list[PackageImage] = []
        self.coco, self.cvat = CocoWriter(classes), CvatWriter(classes)
        self.tasks: list[dict[str, Any]] = []
        self.cvat_masks = MaskArchiveWriter(classes)

    def add(
        self,
        item: Item,
        ids: Sequence[int],
        regions: np.ndarray,
        prediction: np.ndarray | None,
        root: str | Path,
    ) -> None:
        """Add an image with its (H, W) region ids."""
        picture = read_image(item.image)
        if picture.shape[:2] != regions.shape:
            raise UserError(
                f"{item.superpixel}: is not of the size of {item.image}; run superpixel_gen.py"
            )
        image = describe(item, ids, regions, root)
        numbers = image.numbers(regions)
        guess = self._first_guess(item, numbers, prediction)
        image = with_guess(image, numbers, guess, self.classes)
        image = replace(image, file=self._copy_image(item, image.name, picture))
        write_png(self.folder / "regions" / f"{image.name}.png", numbers)
        self._draw(image, picture, numbers)
        self._add_to_formats(image, numbers, guess)
        self.images.append(image)

    def _first_guess(
        self, item: Item, numbers: np.ndarray, prediction: np.ndarray | None
    ) -> np.ndarray:
        """(H, W) uint8 codes of the prediction within the asked regions."""
        if prediction is None:
            return np.full(numbers.shape, NO_ANSWER, np.uint8)
        if prediction.shape != numbers.shape:
            height, width = prediction.shape[:2]
            raise UserError(
                f"{item.image}: its prediction is {width} x {height} pixels, the image is not; "
                "predict it anew, or use --no-prefill"
            )
        can_be_guessed = self.classes.answerable.copy()
        can_be_guessed[[self.classes.void, self.classes.skip]] = False
        return np.where((numbers > 0) & can_be_guessed[prediction], prediction, NO_ANSWER).astype(
            np.uint8
        )

    def _copy_image(self, item: Item, name: str, picture: np.ndarray) -> str:
        """Copy an image, as PNG unless browsers show the file just as it is read here."""
        suffixes = {"PNG": ".png", "JPEG": ".jpg"}
        with open_image(item.image) as image:
            image.load()  # the orientation may be told at the file's end
            upright = image.getexif().get(ORIENTATION, 1) == 1
            shown_alike = upright and image.mode == "RGB" and not is_deep(image)
            suffix = suffixes.get(image.format) if shown_alike else None
        if suffix:
            copy_file(item.image, self.folder / "images" / f"{name}{suffix}")
            return f"{name}{suffix}"
        write_png(self.folder / "images" / f"{name}.png", picture)
        return f"{name}.png"

    def _draw(self, image: PackageImage, picture: np.ndarray, numbers: np.ndarray) -> None:
        large = max(PICTURE_WIDTH, image.width)
        for suffix, width, text_size in (
            ("", large, large // 40),
            ("_small", THUMBNAIL_WIDTH, THUMBNAIL_WIDTH // 22),
        ):
            drawn = Image.fromarray(draw_regions(picture, numbers, width, text_size))
            with atomic_write(self.folder / "pictures" / f"{image.name}{suffix}.jpg") as file:
                drawn.save(file, "JPEG", quality=JPEG_QUALITY)

    def _add_to_formats(self, image: PackageImage, numbers: np.ndarray, guess: np.ndarray) -> None:
        if "coco" in self.formats:
            self.coco.add(image, numbers, guess)
        if "cvat" in self.formats:
            self.cvat.add(image, numbers, guess)
            self.cvat_masks.add(image, guess)
        if "label_studio" in self.formats:
            # below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, which is EXP/annotation
            path = quote(f"{self.name}/images/{image.file}")
            address = f"/data/local-files/?d={path}"
            self.tasks.append(make_task(image, numbers, guess, self.classes, address))
        if "masks" in self.formats:
            write_png(self.folder / "masks" / f"{image.name}.png", guess)
            colors = self.classes.color_table[guess]
            write_png(self.folder / "masks_color" / f"{image.name}.png", colors)

    def finish(self, info: DatasetInfo, namesakes: tuple[str, ...]) -> None:
        """Write the files that hold all images."""
        if "coco" in self.formats:
            write_json(self.folder / "coco.json", self.coco.content)
        if "cvat" in self.formats:
            with atomic_write(self.folder / "cvat_images.xml") as file:
                file.write(self.cvat.to_bytes())
            with atomic_write(self.folder / "cvat_masks.zip") as file:
                file.write(self.cvat_masks.to_bytes())
            write_json(self.folder / "cvat_labels.json", cvat_labels(self.classes), indent=1)
        if "label_studio" in self.formats:
            write_json(self.folder / "label_studio.json", self.tasks)
            write_text(self.folder / "label_studio.xml", labelling_interface(self.classes))
        write_text(self.folder / "classes.csv", self._class_table())
        images = tuple(self.images)
        Package(self.folder, info.name, self.classes, images, namesakes).save()

    def _class_table(self) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["name", "id", "red", "green", "blue", "label_id"])
        for c in self.classes.classes:
            table.writerow([c.name, c.code, *c.color, "" if c.label_id is None else c.label_id])
        return text.getvalue()

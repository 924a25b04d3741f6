"""The oracle: the one place that knows where the labels of target regions come from.

``GroundTruth`` reveals label files of the target, as the paper's experiments do. ``Annotations``
takes what people answered: the label maps that ``annotation/import.py`` writes to
``EXP/annotation/labels``, and its ``answers.json``, which says which regions are answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataloader.checks.files import check_files, spread
from dataloader.class_counts import count_classes
from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.datasets import Sample
from dataloader.domain import Domain
from dataloader.ignore_mask import read_regions
from dataloader.images import digest, fit_label, read_label, read_superpixels
from dataloader.item import Item, image_key
from utils.errors import UserError
from utils.files import map_files, read_json

ANSWERS = "answers.json"
REMEDY = "restore it, or remove the folder and import the answers again"
STORING_TAKES = 60.0  # seconds, at most, to write the answers that an import has read
LOOKED_AT = 20  # superpixel maps that are compared with those that people were asked by
ANSWERED, VOID, SKIPPED, MISSING = "answered", "void", "skipped", "missing"
"""What became of a region: no class fits any of a void one, a skipped one is left out for good."""


class Answer(NamedTuple):
    """What people said of a region.

    Attributes:
        status: :data:`ANSWERED`, :data:`VOID` or :data:`SKIPPED`.
        labelled: pixels that have a class.
    """

    status: str
    labelled: int


def read_answers_file(folder: Path) -> dict[str, Any]:
    """What ``answers.json`` in a folder of answers says; no images if it is absent.

    Raises:
        UserError: it is damaged.
    """
    path = folder / ANSWERS
    if not path.is_file():
        return {"images": {}}
    content = read_json(path, REMEDY)
    try:
        images = content["images"].values()
        whole = all(isinstance(image["label"], str) for image in images) and all(
            int(region) >= 0
            and entry["status"] in (ANSWERED, VOID, SKIPPED)
            and type(entry["labelled"]) is int
            for image in images
            for region, entry in image["regions"].items()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path}: is damaged; {REMEDY}")
    return content


class GroundTruth:
    """Label files of the target, revealed inside of the regions asked for.

    Args:
        domain: the target, with its regions.
    """

    def __init__(self, domain: Domain):
        self.domain = domain
        self._pixels: dict[tuple[str, int], np.ndarray] = {}

    def answers(self, superpixel: str) -> Mapping[int, Answer]:
        """What people said of an image's regions: nothing, as they are not asked."""
        return {}

    def sample(self, item: Item, regions: Sequence[int]) -> Sample:
        """The training sample of an image with these regions labelled."""
        return Sample(item, self.domain.info, regions, mask=self.domain.mask(item))

    def labels(self, item: Item, regions: Sequence[int]) -> np.ndarray:
        """(H, W) uint8 train ids inside of these regions of an image, 255 elsewhere."""
        superpixels, label = self._regions_and_label(item)
        return np.where(np.isin(superpixels, list(regions)), label, np.uint8(IGNORE))

    def _regions_and_label(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Regions and whole label of an image, each (H, W)."""
        sample = self.sample(item, ())
        superpixels = read_regions(item.superpixel, sample.mask)
        return superpixels, fit_label(read_label(sample.item.label, sample.info), superpixels.shape)

    def labelled_pixels(self, regions: Mapping[str, Sequence[int]]) -> int:
        """Pixels that labelled regions, superpixel path -> region ids, count for."""
        return self.domain.area(regions)

    def pixels_by_class(
        self, regions: Iterable[tuple[str, int]]
    ) -> dict[tuple[str, int], np.ndarray]:
        """Pixels of labelled regions by class; files are read once for each region.

        Args:
            regions: (superpixel path, region id) of each.

        Returns:
            Each region -> (C + 1,) int64 pixels by train id, those without a class last.

        Raises:
            UserError: a label or a superpixel map cannot be read.
        """
        regions = list(regions)
        new: dict[str, list[int]] = {}
        for path, region in regions:
            if (path, region) not in self._pixels:
                new.setdefault(path, []).append(region)

        def look(item: Item) -> None:
            counts = count_classes(*self._regions_and_label(item), self.domain.info.num_classes)
            for region in new[item.superpixel]:
                self._pixels[item.superpixel, region] = counts[region].copy()

        map_files(look, [item for item in self.domain.items if item.superpixel in new])
        return {region: self._pixels[region] for region in regions}


class Annotations(GroundTruth):
    """What people answered so far.

    Args:
        domain: the target, with its regions; it needs no label files.
        folder: ``EXP/annotation/labels``, or a copy of it; empty or absent before the first import.
        name: what messages call it (default: ``folder``).

    Raises:
        UserError: ``answers.json`` is damaged or of other superpixel maps, or a label map is gone
            or cannot be read.
    """

    def __init__(self, domain: Domain, folder: Path, name: Path | None = None):
        super().__init__(domain)
        self.folder = folder
        self.name = name or folder
        self.info: DatasetInfo = replace(domain.info, label_reader="index")  # as imports write them
        self._maps: dict[str, str] = {}
        self._answers: dict[str, dict[int, Answer]] = {}
        self._read(read_answers_file(folder))
        for path in self._maps.values():
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file; {REMEDY}")
        answered = [self.sample(i, ()).item for i in domain.items if i.superpixel in self._maps]
        check_files(answered, self.info, "image", "label")

    def _read(self, content: Mapping) -> None:
        key_of = {image_key(item, self.domain.root): item.superpixel for item in self.domain.items}
        known = [(key_of[key], image) for key, image in content["images"].items() if key in key_of]
        for superpixel, image in known:
            self._maps[superpixel] = str(self.folder / image["label"])
            self._answers[superpixel] = {
                int(region): Answer(entry["status"], entry["labelled"])
                for region, entry in image["regions"].items()
            }
        for superpixel, image in spread(known, LOOKED_AT):
            expected, found = image.get("superpixel_sha256"), Path(superpixel).is_file()
            if expected and found and digest(read_superpixels(superpixel)) != expected:
                raise UserError(
                    f"{self.name / ANSWERS}: has answers for regions of another superpixel map "
                    f"than {superpixel}; restore the maps, or move the folder away if it is of an "
                    "earlier run"
                )

    @property
    def state(self) -> tuple[dict, dict]:
        """What people said of all regions, and the sizes of label maps, to compare with others."""
        return self._answers, {key: Path(p).stat().st_size for key, p in self._maps.items()}

    def answers(self, superpixel: str) -> Mapping[int, Answer]:
        """Region id -> what people said of it, for a superpixel path."""
        return self._answers.get(superpixel, {})

    def sample(self, item: Item, regions: Sequence[int]) -> Sample:
        """The training sample of an image with these regions labelled."""
        item = item._replace(label=self._maps[item.superpixel])
        return Sample(item, self.info, regions, mask=self.domain.mask(item))

    def labelled_pixels(self, regions: Mapping[str, Sequence[int]]) -> int:
        """Pixels to which people gave a class in labelled regions."""
        return sum(self.answers(path)[r].labelled for path, ids in regions.items() for r in ids)

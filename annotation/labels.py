"""``EXP/annotation/labels/``: people's answers as ordinary label maps, and which regions they are.

Each image has an 8-bit grey PNG of the dataset's label ids at the path that it has below the data
root (``a/b.png`` for ``a/b.png``, ``a/b.jpg.png`` for ``a/b.jpg``). Pixels without an answer hold
``unanswered_label_id`` of ``answers.json``, which says of each region whether it is answered, void
or skipped. The folder is replaced as a whole, so that maps and ``answers.json`` always agree.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from annotation.answers import Answer, Collector, ImageNotes
from annotation.canvas import AskedImage
from annotation.classes import ClassList
from annotation.untrusted import shorten
from dataloader.images import read_train_ids
from dataloader.oracle import ANSWERS, MISSING, REMEDY, SKIPPED, read_answers_file
from utils.errors import UserError
from utils.files import (
    recover_folder,
    remove_folder,
    replace_folder,
    write_json,
    write_png,
)


def label_name(key: str) -> str:
    """Path of an image's label map below the folder of labels, from its path below the data root.

    Images outside of the data root lie below ``elsewhere``.
    """
    parts = PurePosixPath(key).parts
    if parts[0] in ("..", "/"):
        parts = ("elsewhere", *(part for part in parts if part not in ("..", "/")))
    path = "/".join(parts)
    return path if path.endswith(".png") else f"{path}.png"


class Labels:
    """The folder of answers of a run; empty before the first import.

    Args:
        folder: ``EXP/annotation/labels``.
        classes: of the run's packages.

    Raises:
        UserError: its ``answers.json`` is damaged, or of other classes.
    """

    def __init__(self, folder: Path, classes: ClassList):
        self.folder = folder
        self.classes = classes
        recover_folder(folder)
        self.content = self._read_content()
        self._statuses = {
            key: {int(region): entry["status"] for region, entry in image["regions"].items()}
            for key, image in self.content["images"].items()
        }

    def _read_content(self) -> dict[str, Any]:
        """What ``answers.json`` says; an empty one where there is none."""
        path = self.folder / ANSWERS
        named = {c.name: c.label_id for c in self.classes.classes if c.label_id is not None}
        content = {
            "unanswered_label_id": self.classes.unanswered_id,
            "label_ids": named,
            "images": {},
        }
        if not path.is_file():
            return content
        read = read_answers_file(self.folder)
        if {**read, "images": {}} != content:
            raise UserError(
                f"{path}: has other classes than the labelling packages; "
                "remove what does not belong to this run"
            )
        return read

    def statuses(self, key: str) -> Mapping[int, str]:
        """Region id -> "answered", "void" or "skipped", of an image's path below the data root."""
        return self._statuses.get(key, {})

    def all_statuses(self) -> Mapping[str, Mapping[int, str]]:
        """The same of all images."""
        return self._statuses

    def read(self, key: str) -> np.ndarray | None:
        """(H, W) uint8 label ids of an image; None if nothing of it is answered.

        Raises:
            UserError: its label map is gone or cannot be read.
        """
        if key not in self._statuses:
            return None
        path = self.folder / label_name(key)
        if not path.is_file():
            raise UserError(f"{path}: no such file; {REMEDY}")
        return read_train_ids(path)

    def _read(self, image: AskedImage) -> np.ndarray | None:
        """The same, which must be of the image's size."""
        labels = self.read(image.entry.key)
        stored, now = self.content["images"].get(image.entry.key, {}), image.entry.superpixel_sha256
        if stored.get("superpixel_sha256", now) != now:
            raise UserError(
                f"{self.folder / ANSWERS}: has answers for regions of another superpixel map of "
                f"{shorten(image.entry.key, 200)}; move the folder away if it is of an earlier run"
            )
        if labels is not None and labels.shape != image.entry.size:
            raise UserError(
                f"{self.folder / label_name(image.entry.key)}: is not of the image's size; {REMEDY}"
            )
        return labels

    def replaced(self, collector: Collector, by_guesses: bool) -> dict[str, list[int]]:
        """Key -> regions that were answered before, and otherwise than now.

        Args:
            collector: with all files read.
            by_guesses: whether the first guess, just as it was, replaces earlier answers; if not,
                it is left out of the notes' answers.
        """
        result = {}
        for key, notes in collector.notes.items():
            image = collector.images[key]
            regions = self._replaced(image, notes)
            kept = [] if by_guesses else regions
            guesses = [r for r in kept if image.is_guess(r, notes.answers[r].codes)]
            notes.guesses |= {region: notes.answers.pop(region).source for region in guesses}
            result[key] = [region for region in regions if region not in guesses]
        return result

    def _replaced(self, image: AskedImage, notes: ImageNotes) -> list[int]:
        """The same of one image, with first guesses."""
        statuses = self.statuses(image.entry.key)
        answers = {r: a for r, a in notes.answers.items() if a.status != MISSING and r in statuses}
        if not answers:
            return []
        stored, ids = self._read(image), image.region_ids()
        return [
            region
            for region, answer in sorted(answers.items())
            if statuses[region] != answer.status
            or not np.array_equal(stored[ids == region], self._label_ids(answer))
        ]

    def _label_ids(self, answer: Answer) -> np.ndarray:
        """Label ids of a region's pixels; a skipped region has none, whatever was drawn in it."""
        if answer.status == SKIPPED:
            return np.full_like(answer.codes, self.classes.unanswered_id)
        return self.classes.label_table[answer.codes]

    def unanswered(self, collector: Collector) -> dict[str, list[int]]:
        """Key -> regions that were answered before, and that the files show without an answer."""
        return {
            key: [
                region
                for region, answer in sorted(notes.answers.items())
                if answer.status == MISSING and region in self.statuses(key)
            ]
            for key, notes in collector.notes.items()
        }

    def store(self, collector: Collector, withdrawn: Mapping[str, Sequence[int]]) -> None:
        """Add all answers of a collector, those of regions answered before replaced.

        Args:
            collector: with all files read.
            withdrawn: key -> regions that lose earlier answers.

        Raises:
            UserError: the disk refuses; then everything is as it was.
        """
        new = self.folder.with_name(f".{self.folder.name}.new")
        try:
            remove_folder(new)
            if self.folder.exists():
                shutil.copytree(self.folder, new, copy_function=_link)
            new.mkdir(parents=True, exist_ok=True)
            for key, notes in collector.notes.items():
                image = collector.images[key]
                self._store_image(new, image, notes, withdrawn.get(key, ()))
            write_json(new / ANSWERS, self.content, indent=1, sort_keys=True)
            replace_folder(self.folder, new)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror or error}); free space"
            ) from error
        finally:
            remove_folder(new)

    def _store_image(
        self, folder: Path, image: AskedImage, notes: ImageNotes, withdrawn: Sequence[int]
    ) -> None:
        """Write an image's label map, and enter its regions."""
        answers = {r: a for r, a in notes.answers.items() if a.status != MISSING}
        if not answers and not withdrawn:
            return
        entry, ids = image.entry, image.region_ids()
        labels = self._read(image)
        if labels is None:
            labels = np.full(entry.size, self.classes.unanswered_id, np.uint8)
        labels = labels.copy()
        stored = self.content["images"].setdefault(entry.key, {"regions": {}})
        stored |= {"label": label_name(entry.key), "superpixel_sha256": entry.superpixel_sha256}
        for region, answer in answers.items():
            label_ids = self._label_ids(answer)
            labels[ids == region] = label_ids
            stored["regions"][str(region)] = {
                "status": answer.status,
                "pixels": len(label_ids),
                "labelled": int(np.count_nonzero(label_ids != self.classes.unanswered_id)),
                "package": image.regions[region][0].name,
            }
        statuses = self._statuses.setdefault(entry.key, {})
        statuses.update({r: a.status for r, a in answers.items()})
        for region in withdrawn:
            labels[ids == region] = self.classes.unanswered_id
            del stored["regions"][str(region)], statuses[region]
        if statuses:
            write_png(folder / label_name(entry.key), labels)
        else:
            del self.content["images"][entry.key], self._statuses[entry.key]
            (folder / label_name(entry.key)).unlink()


def _link(source: str, target: str) -> None:
    """A second name for a file, which saves time; a copy where the disk knows no such names.

    Files are only ever replaced, never changed, so that the first name keeps its content.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

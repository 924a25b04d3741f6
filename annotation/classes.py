"""The classes of a labelling package: names and colours that tools show, and codes of label maps.

A *code* is what a pixel of a label map in a package holds: the class's train id, or one of the two
codes after the last class: *void* (looked at, and no class fits) and *skip* (leave this region out
for good). 255 stands for no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from dataloader.dataset_info import DatasetInfo, free_name
from utils.errors import UserError
from utils.names import fold

NO_ANSWER = 255
"""The code of pixels that nobody has answered."""
SKIP_NAMES = ("skip", "unreadable")
VOID_NAMES = ("void",)
REGION_NAMES = ("asked region",)
VOID_COLOR, SKIP_COLOR, REGION_COLOR = (255, 255, 255), (0, 255, 255), (0, 255, 0)
MIN_DISTANCE = 8
"""Colours nearer to each other than this (the largest difference of a channel) look the same."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a package: its name, code, RGB colour, and label id in the dataset's files.

    ``label_id`` is None for void, for skip, and for the outlines of the asked regions.
    """

    name: str
    code: int
    color: tuple[int, int, int]
    label_id: int | None = None


@dataclass(frozen=True)
class ClassList:
    """What may be answered, and the label id of pixels without an answer.

    Args:
        classes: the dataset's own, then void and skip.
        region: names the outlines of asked regions, which are no answers.
        unanswered_id: label id that stands for no class.
    """

    classes: tuple[LabelClass, ...]
    region: LabelClass
    unanswered_id: int

    @classmethod
    def of_dataset(cls, info: DatasetInfo) -> "ClassList":
        """The classes that labels of a dataset can hold.

        Raises:
            UserError: the dataset has too many classes or label ids for 8-bit label maps.
        """
        label_ids = info.label_ids
        free = [i for i in range(255, -1, -1) if i not in info.label_to_train]
        absent = set(info.label_to_train.values()) - set(label_ids)
        if absent or not free or info.num_classes + 2 > NO_ANSWER:
            raise UserError(
                f"{info.path}: people's labels are 8-bit maps, which need a label id below 256 for "
                "each class and one that stands for none; give the classes smaller label ids"
            )
        colors = distinct_colors([*map(tuple, info.palette), VOID_COLOR, SKIP_COLOR, REGION_COLOR])
        void, skip = info.num_classes, info.num_classes + 1
        classes = [
            LabelClass(info.class_names[c], c, colors[c], label_id)
            for c, label_id in sorted(label_ids.items())
        ]
        for names, code in ((VOID_NAMES, void), (SKIP_NAMES, skip)):
            classes.append(LabelClass(free_name(names[0], info.class_names), code, colors[code]))
        region = LabelClass(free_name(REGION_NAMES[0], info.class_names), NO_ANSWER, colors[-1])
        return cls(tuple(classes), region, free[0])

    def difference(self, other: "ClassList") -> str:
        """What another list says otherwise of classes, but for their colours; "" if nothing."""
        ours, theirs = (
            [f"{c.name!r}, id {c.code}, label id {c.label_id}" for c in (*one.classes, one.region)]
            for one in (self, other)
        )
        for mine, its in zip_longest(ours, theirs, fillvalue="nothing"):
            if mine != its:
                return f"{mine}, is {its} there"
        if self.unanswered_id != other.unanswered_id:
            return f"no answer, label id {self.unanswered_id}, is {other.unanswered_id} there"
        return ""

    @property
    def void(self) -> int:
        """The code of pixels that no class fits."""
        return self.classes[-2].code

    @property
    def skip(self) -> int:
        """The code of pixels whose region is to be left out."""
        return self.classes[-1].code

    @cached_property
    def codes(self) -> dict[str, int]:
        """Folded name -> code; the outlines of regions have the code of no answer."""
        names = dict.fromkeys(VOID_NAMES, self.void) | dict.fromkeys(SKIP_NAMES, self.skip)
        names |= dict.fromkeys(REGION_NAMES, NO_ANSWER)
        return names | {fold(c.name.strip()): c.code for c in (*self.classes, self.region)}

    @cached_property
    def color_table(self) -> np.ndarray:
        """(256, 3) uint8: code -> RGB, black where nothing is answered."""
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.code] = c.color
        return table

    @cached_property
    def label_table(self) -> np.ndarray:
        """(256,) uint8: code -> label id, :attr:`unanswered_id` where there is none."""
        table = np.full(256, self.unanswered_id, np.uint8)
        for c in self.classes:
            if c.label_id is not None:
                table[c.code] = c.label_id
        return table

    @cached_property
    def answerable(self) -> np.ndarray:
        """(256,) bool: the codes of the dataset's classes, void and skip."""
        table = np.zeros(256, bool)
        table[[c.code for c in self.classes]] = True
        return table

    def code_of(self, name: str) -> int | None:
        """The code of a class name, however it is capitalised; None if it is unknown."""
        return self.codes.get(fold(name.strip()))

    def nearest(self, name: str) -> str | None:
        """The class name that looks most like an unknown one."""
        names = {fold(c.name.strip()): c.name for c in self.classes}
        found = get_close_matches(fold(name.strip()), names, 1)
        return names[found[0]] if found else None

    def to_json(self) -> dict[str, Any]:
        """As the manifest of a package holds it."""
        return {
            "classes": [vars(c) for c in self.classes],
            "region_outline": vars(self.region),
            "unanswered_label_id": self.unanswered_id,
        }

    @classmethod
    def from_json(cls, data: Any) -> "ClassList":
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError if it is none."""
        made = [
            LabelClass(str(c["name"]), int(c["code"]), tuple(c["color"]), c["label_id"])
            for c in [*data["classes"], data["region_outline"]]
        ]
        ids = [data["unanswered_label_id"], *(c.code for c in made)]
        ids += [c.label_id for c in made if c.label_id is not None]
        if len(made) < 4 or not all(type(i) is int and 0 <= i < 256 for i in ids):
            raise ValueError("classes")
        return cls(tuple(made[:-1]), made[-1], ids[0])


def distinct_colors(
    wanted: Sequence[tuple[int, int, int]],
) -> list[tuple[int, int, int]]:
    """The wanted RGB colours, but for those that look like black or an earlier one.

    None of these is given the colour that another one wants, which files of the data set may have.
    Answers come back as colours, too, and black is no answer; so each must be told from the others.
    """
    steps = (32, 96, 160, 224)
    spare = [(r, g, b) for r in steps for g in reversed(steps) for b in steps]
    spare += [(r, g, b) for r in range(16, 256, 16) for g in range(16, 256, 16) for b in (8, 136)]
    gaps = np.abs(np.array(spare)[:, None] - np.array(wanted)[None]).max(2).min(1)
    spare = np.array(spare)[np.argsort(gaps < MIN_DISTANCE, kind="stable")].tolist()
    chosen = np.zeros((1, 3), int)
    for color in wanted:
        candidates = np.array([color, *spare])
        distance = np.abs(candidates[:, None] - chosen[None]).max(2).min(1)
        chosen = np.vstack([chosen, candidates[np.argmax(distance >= MIN_DISTANCE)]])
    return [tuple(map(int, color)) for color in chosen[1:]]

"""What a dataset is: its folders, label encoding, classes and colours.

A dataset is described by an ``info.json``, either ``dataloader/init_data/<name>/info.json`` or a
file anywhere; a new dataset needs no code. ``docs/datasets.md`` has a table of the keys,
``info.schema.json`` their types, and :mod:`dataloader.info_file` checks both and the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from dataloader.info_file import MAX_LABEL_ID, read_info
from utils.errors import UserError
from utils.metrics import IGNORE

INIT_DATA = Path(__file__).parent / "init_data"


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset's ``info.json``; ``docs/datasets.md`` explains the fields of the same names.

    ``label_to_train`` holds the label ids that stand for a class; those that the file maps to 255
    or -1 are in ``ignored_ids``.
    """

    name: str
    path: Path
    image: str
    label: str
    superpixel: str
    splits: dict[str, str]
    label_to_train: dict[int, int]
    label_reader: str
    class_names: list[str]
    palette: list[list[int]]
    ignored_ids: frozenset[int] = frozenset()
    label_colors: dict[int, list[int]] = field(default_factory=dict)
    ignore_mask: str | None = None
    random_scale: bool = True
    exclude: list[str] = field(default_factory=list)
    missing_classes: list[int] = field(default_factory=list)
    star_classes_without: list[int] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """How many classes there are; train ids are 0 to this, exclusive."""
        return len(self.class_names)

    @property
    def present_classes(self) -> list[int]:
        """Train ids, sorted, that a label of this dataset can have; others count in no mean."""
        return sorted(set(self.label_to_train.values()) - set(self.missing_classes))

    @property
    def known_ids(self) -> frozenset[int]:
        """Label ids that the description names, ignored ones included."""
        return frozenset(self.label_to_train) | self.ignored_ids | frozenset(self.label_colors)

    @property
    def label_ids(self) -> dict[int, int]:
        """Train id -> the smallest label id that stands for it, of those that 8-bit maps hold."""
        ids = sorted(self.label_to_train.items(), reverse=True)
        return {train_id: label_id for label_id, train_id in ids if 0 <= label_id < 256}

    @cached_property
    def _train_ids(self) -> np.ndarray:
        """(65537,) uint8: label id -> train id, 255 where the id is not listed, as the last is."""
        table = np.full(MAX_LABEL_ID + 2, IGNORE, np.uint8)
        for label_id, train_id in self.label_to_train.items():
            table[label_id] = train_id
        return table

    @property
    def train_id_table(self) -> np.ndarray:
        """(65536,) uint8: label id -> train id, 255 where the id is not listed."""
        return self._train_ids[:-1]

    @property
    def label_table(self) -> np.ndarray:
        """(256,) uint8: label id of an 8-bit label -> train id, 255 where the id is not listed."""
        return self._train_ids[:256]

    def train_ids(self, ids: np.ndarray) -> np.ndarray:
        """Map label ids to train ids.

        Args:
            ids: (H, W) label ids of an unsigned type.

        Returns:
            (H, W) uint8 train ids, 255 for ids that are ignored or not listed.
        """
        if ids.dtype == np.uint8:
            return cv2.LUT(ids, self.label_table)
        last = min(len(self._train_ids) - 1, np.iinfo(ids.dtype).max)  # no class
        return self._train_ids[np.minimum(ids, ids.dtype.type(last))]

    @cached_property
    def color_table(self) -> np.ndarray:
        """(256, 3) uint8: train id -> RGB, black for ignored pixels."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table

    def colors(self, labels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 colours of (H, W) uint8 train ids, in little memory beside them."""
        return cv2.merge([cv2.LUT(labels, channel.copy()) for channel in self.color_table.T])

    @cached_property
    def excluded_stems(self) -> frozenset[str]:
        """Stems that never enter a datalist."""
        stems = set()
        for entry in self.exclude:
            digits = len(entry.partition("-")[0])
            stems.update(str(number).zfill(digits) for number in excluded_numbers(entry))
        return frozenset(stems)


def excluded_numbers(entry: str) -> range:
    """The numbers of the images that an entry of ``exclude`` leaves out."""
    first, _, last = entry.partition("-")
    return range(int(first), int(last or first) + 1)


def free_name(name: str, names: Iterable[str]) -> str:
    """``name``, with underscores after it while it is one of the names of classes."""
    taken = {n.casefold() for n in names}
    while name in taken:
        name += "_"
    return name


def dataset_names() -> list[str]:
    """Names of all datasets that have an ``info.json``, sorted without regard to case."""
    return sorted((p.parent.name for p in INIT_DATA.glob("*/info.json")), key=str.lower)


def load_dataset(name: str) -> DatasetInfo:
    """Read the description of a dataset.

    Args:
        name: a folder of ``init_data``, or the path of an ``info.json`` or of a folder that holds
            one, relative to the working directory or absolute. Names go before paths.

    Raises:
        UserError: no such dataset, or its file is not valid.
    """
    path = _find(name)
    fields = read_info(path)
    fields.pop("$schema", None)
    table = {int(label_id): train_id for label_id, train_id in fields["label_to_train"].items()}
    fields["label_to_train"] = {k: v for k, v in table.items() if v not in (-1, IGNORE)}
    fields["ignored_ids"] = frozenset(table) - frozenset(fields["label_to_train"])
    colors = fields.get("label_colors", {})
    fields["label_colors"] = {int(label_id): color for label_id, color in colors.items()}
    folder = path.resolve().parent.name
    own_name = folder if folder and path.name == "info.json" else path.stem
    return DatasetInfo(name=own_name, path=path, **fields)


def _find(name: str) -> Path:
    """The file that describes a dataset."""
    names = dataset_names()
    if name in names:
        return INIT_DATA / name / "info.json"
    try:
        path = Path(name)
        if name and path.is_dir():
            path = path / "info.json"
        if name and path.is_file():
            return path
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); name another file") from error
    near = get_close_matches(name, names, 1)
    nearest = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(
        f"dataset {name!r} is unknown{nearest}; choose from {', '.join(names)}, "
        "or give the path of an info.json"
    )

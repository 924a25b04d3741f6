"""What a dataset is: its folders, label encoding, classes and colours.

A dataset is described by ``dataloader/init_data/<name>/info.json``; a new dataset is a new folder
there, no code. Keys of ``info.json``:

``image``, ``label``, ``superpixel``
    Path templates below the data root, with ``{split}`` and ``{stem}`` (the stem may hold folders).
``splits``
    Split name (``train``, ``val``) -> the text that stands for ``{split}``.
``label_to_train``
    Label id -> train id. Every other value is ignored (255).
``label_reader``
    ``index`` (palette or grey 8-bit PNG) or ``red16`` (16-bit RGB PNG, the id in the red channel).
``class_names``, ``palette``
    A name and an RGB colour per train id.
``random_scale``
    Whether training images are randomly scaled (default true).
``exclude``
    Stems that are not listed, single ("15188") or ranges ("20801-20860").
``missing_classes``, ``star_classes_without``
    Train ids that the dataset does not have, and those that its second mean (mIoU*) leaves out too.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.metrics import IGNORE

INIT_DATA = Path(__file__).parent / "init_data"


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset's ``info.json``; see the module's docstring for the fields."""

    name: str
    image: str
    label: str
    superpixel: str
    splits: dict[str, str]
    label_to_train: dict[int, int]
    label_reader: str
    class_names: list[str]
    palette: list[list[int]]
    random_scale: bool = True
    exclude: list[str] = field(default_factory=list)
    missing_classes: list[int] = field(default_factory=list)
    star_classes_without: list[int] = field(default_factory=list)

    @cached_property
    def label_table(self) -> np.ndarray:
        """(256,) uint8: label id -> train id, 255 where the id is not listed."""
        table = np.full(256, IGNORE, np.uint8)
        for label_id, train_id in self.label_to_train.items():
            table[label_id] = train_id
        return table

    @cached_property
    def color_table(self) -> np.ndarray:
        """(256, 3) uint8: train id -> RGB, black for ignored pixels."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table

    @cached_property
    def excluded_stems(self) -> frozenset[str]:
        """Stems that never enter a datalist."""
        stems = set()
        for entry in self.exclude:
            first, _, last = entry.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            stems.update(str(number).zfill(len(first)) for number in numbers)
        return frozenset(stems)


def dataset_names() -> list[str]:
    """Names of all datasets that have an ``info.json``, sorted without regard to case."""
    return sorted((p.parent.name for p in INIT_DATA.glob("*/info.json")), key=str.lower)


def load_dataset(name: str) -> DatasetInfo:
    """Read ``init_data/<name>/info.json``.

    Raises:
        UserError: no such dataset, or its file is not valid.
    """
    path = INIT_DATA / name / "info.json"
    if not path.is_file():
        raise UserError(f"dataset {name!r} is unknown; choose from {', '.join(dataset_names())}")
    try:
        fields = json.loads(path.read_text())
        fields["label_to_train"] = {int(k): v for k, v in fields["label_to_train"].items()}
        return DatasetInfo(name=name, **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a valid dataset description ({error}); mend it") from error

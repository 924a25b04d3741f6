"""What an experiment's runs came to: mIoU by labelled share, and what the labels were spent on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dataloader.active_set import ActiveSet
from dataloader.datalist import Item
from dataloader.datasets import DatasetInfo
from dataloader.images import read_label, read_superpixels
from experiments.config import BOUND, DONE, WARMUP, Config
from utils.errors import UserError
from utils.files import read_json

VOID = "void"


@dataclass(frozen=True)
class Curve:
    """One strategy: (seeds, rounds) arrays of labelled percent and mIoU."""

    percent: np.ndarray
    miou: np.ndarray

    def at(self, number: int) -> str:
        """Mean and standard deviation over seeds after a number of selections."""
        return spread(self.miou[:, number])


@dataclass(frozen=True)
class Results:
    """Figures of all runs that are done, of the seeds of which all are.

    ``spent`` is strategy -> class name -> percent of its labelled pixels, mean over seeds; "all" is
    the whole target.
    """

    seeds: list[int]
    warmup: np.ndarray
    bound: np.ndarray
    curves: dict[str, Curve]
    spent: dict[str, dict[str, float]]

    def plain(self) -> dict:
        """All figures as JSON has them."""
        return {
            "seeds": self.seeds,
            "warmup": self.warmup.tolist(),
            "bound": self.bound.tolist(),
            "strategies": {
                name: {"labelled_percent": c.percent.tolist(), "mIoU": c.miou.tolist()}
                for name, c in self.curves.items()
            },
            "labelled_pixels_by_class_percent": self.spent,
        }


def spread(values: np.ndarray) -> str:
    """ "mean ± standard deviation" of a sample."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.2f} ± {deviation:.2f}"


def collect(config: Config, info: DatasetInfo) -> Results:
    """Read the runs of a config: of seeds whose bound is done, the strategies done for all of them.

    Raises:
        UserError: there is none.
    """
    seeds = [seed for seed in config.seeds if _validations(config.seed_folder(seed) / BOUND)]
    labels = LabelCounts(info)
    curves, spent = {}, {}
    for name in config.strategies:
        folders = [config.seed_folder(seed) / name for seed in seeds]
        if folders and all((folder / DONE).is_file() for folder in folders):
            curves[name] = _curve(folders)
            sets = [_last_list(folder) for folder in folders]
            spent[name] = labels.shares(sum(labels.spent(active) for active in sets))
    if not curves:
        raise UserError(f"{config.folder}: no strategy is done for all seeds; run.py first")
    images = sets[0].target
    spent = {"all": labels.shares(sum(labels.of_image(item).sum(0) for item in images))} | spent
    warmup, bound = (
        np.array([max(_validations(config.seed_folder(seed) / run)) for seed in seeds])
        for run in (WARMUP, BOUND)
    )
    return Results(seeds, warmup, bound, curves, spent)


def _curve(folders: Sequence[Path]) -> Curve:
    records = [sorted((folder / "AL_record").glob("round_*.json")) for folder in folders]
    rounds = [[read_json(path, "run again") for path in paths] for paths in records]
    percent, miou = (
        np.round([[record[key] for record in row] for row in rounds], 2)
        for key in ("labelled_percent", "mIoU")
    )
    return Curve(percent, miou)


def _last_list(folder: Path) -> ActiveSet:
    return ActiveSet.load(max(folder.glob("datalist_*.pkl")), ".", ".")


def _validations(folder: Path) -> list[float]:
    """Every validated mIoU of a warm-up or bound, once it is done."""
    path = folder / "log_train.txt"
    text = path.read_text() if path.is_file() else ""
    if "best mIoU" not in text:
        return []
    return [float(value) for value in re.findall(r"validation ([\d.]+)", text)]


class LabelCounts:
    """Pixels by class of the regions of a dataset's images, read once."""

    def __init__(self, info: DatasetInfo):
        self.info = info
        self.names = [*info.class_names, VOID]
        self._counts: dict[Item, np.ndarray] = {}

    def of_image(self, item: Item) -> np.ndarray:
        """(256, classes + 1) int32: pixels of each region (row) of each class; void is the last."""
        if item not in self._counts:
            superpixels = read_superpixels(item.superpixel)
            label = read_label(item.label, self.info)
            if label.shape != superpixels.shape:
                size = superpixels.shape[::-1]
                label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
            columns = len(self.names)
            cells = superpixels.astype(np.int64) * columns + np.minimum(label, columns - 1)
            counts = np.bincount(cells.ravel(), minlength=256 * columns)
            self._counts[item] = counts.reshape(256, columns).astype(np.int32)
        return self._counts[item]

    def spent(self, active: ActiveSet) -> np.ndarray:
        """(classes + 1,) labelled pixels of each class."""
        return sum(
            self.of_image(item)[active.labelled[item.superpixel]].sum(0)
            for item in active.labelled_items
        )

    def shares(self, counts: np.ndarray) -> dict[str, float]:
        """Percent of each class that occurs, by its name."""
        percent = np.round(100 * counts / counts.sum(), 2)
        present = zip(self.names, percent.tolist(), counts, strict=True)
        return {name: share for name, share, count in present if count}

"""Results read from the folders of an experiment's runs."""

from collections.abc import Iterable

import numpy as np

from dataloader.active_set import ActiveSet
from dataloader.class_counts import VOID, count_classes
from dataloader.datalist import Item
from dataloader.dataset_info import DatasetInfo
from dataloader.images import fit_label, read_label, read_superpixels
from experiments.config import NOTE, Config, Run
from experiments.results import OfSeed, Rounds
from utils.errors import UserError
from utils.files import read_json
from utils.recorder import read_metrics


def collect(config: Config, info: DatasetInfo) -> tuple[dict[int, OfSeed], dict[str, float]]:
    """Read what is done of a config: seeds that have a bound, with the strategies done for them.

    Returns:
        results by seed, and the percentage of each class in the target ({} without any run).

    Raises:
        UserError: files of a run are missing or damaged, or a folder holds another run.
    """
    labels = LabelCounts(info)
    found: dict[int, OfSeed] = {}
    target: dict[str, float] = {}
    for seed in config.seeds:
        if not (config.warmup(seed).is_done and config.bound(seed).is_done):
            continue
        runs = {}
        for name in config.strategies | config.controls:
            run = config.rounds(seed, name)
            if run.is_done:
                active = _last_list(run)
                runs[name] = _rounds(run, labels.shares(labels.spent(active)))
                target = target or labels.shares(labels.whole(active.target))
        found[seed] = OfSeed(_best(config.warmup(seed)), _best(config.bound(seed)), runs)
    return found, target


def _rounds(run: Run, spent: dict[str, float]) -> Rounds:
    """Read the records and validations of a strategy's run."""
    paths = sorted((run.folder / "AL_record").glob("round_*.json"))
    records = [read_json(path, "run again") for path in paths]
    try:
        percent, miou = (
            np.round([float(record[key]) for record in records], 2)
            for key in ("labelled_percent", "mIoU")
        )
        asked = [sum(part["regions"] for part in record["selection"]) for record in records[:-1]]
        validated = [_validations(run, number) for number in range(1, len(records))]
        columns = percent, np.cumsum([0, *asked]), miou, np.round(np.array(validated, float), 2)
        return Rounds(*columns, spent)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{run.folder}: records are missing or damaged; run again") from error


def _last_list(run: Run) -> ActiveSet:
    paths = list(run.folder.glob("datalist_*.pkl"))
    if not paths:
        raise UserError(f"{run.folder}: no datalist_XX.pkl in it; remove {NOTE} and run again")
    return ActiveSet.load(max(paths), ".", ".")


def _best(run: Run) -> float:
    """Return the best validated mIoU of a warm-up or bound, in percent."""
    return round(max(_validations(run)), 2)


def _validations(run: Run, number: int | None = None) -> list[float]:
    """Return the validated mIoUs of a round, or of a warm-up or bound, in percent."""
    path = run.folder / "metrics.jsonl"
    validations = [e for e in read_metrics(path) if e.get("kind") == "validation"]
    found = [e.get("mIoU") for e in validations if e.get("round") == number]
    if not found or not all(type(miou) in (int, float) and 0 <= miou <= 100 for miou in found):
        raise UserError(
            f"{path}: has no validation, or a damaged one; remove {NOTE} beside it and run again"
        )
    return found


class LabelCounts:
    """Pixels by class of each region of a dataset's images; every image is read only once."""

    def __init__(self, info: DatasetInfo):
        self.info = info
        self.names = [*info.class_names, VOID]
        self._counts: dict[Item, np.ndarray] = {}

    def of_image(self, item: Item) -> np.ndarray:
        """Return (256, classes + 1) int32: pixels by region id and class; void is the last."""
        if item not in self._counts:
            superpixels = read_superpixels(item.superpixel)
            label = fit_label(read_label(item.label, self.info), superpixels.shape)
            counts = count_classes(superpixels, label, self.info.num_classes)
            self._counts[item] = counts.astype(np.int32)
        return self._counts[item]

    def whole(self, items: Iterable[Item]) -> np.ndarray:
        """Return (classes + 1,) pixels of each class in whole images."""
        return sum(self.of_image(item).sum(0, dtype=np.int64) for item in items)

    def spent(self, active: ActiveSet) -> np.ndarray:
        """Return (classes + 1,) labelled pixels of each class."""
        total = np.zeros(len(self.names), np.int64)
        for item in active.labelled_items:
            total += self.of_image(item)[active.labelled[item.superpixel]].sum(0)
        return total

    def shares(self, counts: np.ndarray) -> dict[str, float]:
        """Return the percentage of each class that occurs, by its name."""
        percent = np.round(100 * counts / max(1, counts.sum()), 2)
        present = zip(self.names, percent.tolist(), counts, strict=True)
        return {name: share for name, share, count in present if count}

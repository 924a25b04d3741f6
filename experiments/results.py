"""Results of an experiment: mIoU by labelled share, and the classes of the labelled pixels."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dataloader.active_set import ActiveSet
from dataloader.class_counts import VOID, count_classes
from dataloader.datalist import Item
from dataloader.dataset_info import DatasetInfo
from dataloader.images import fit_label, read_label, read_superpixels
from experiments.config import NOTE, Config, Run
from utils.errors import UserError
from utils.files import read_json
from utils.recorder import read_metrics


@dataclass(frozen=True)
class Curve:
    """One strategy: (seeds, rounds) arrays of labelled percent, labelled regions and mIoU.

    ``seeds`` are those for which it is done. ``validated`` are the mIoUs of all validations in a
    round's fine-tuning, (seeds, rounds - 1, validations); a round's mIoU is the best of them.
    """

    seeds: list[int]
    percent: np.ndarray
    regions: np.ndarray
    miou: np.ndarray
    validated: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(seeds,) mean mIoU of all rounds except the first, which is the warm-up's."""
        return self.miou[:, 1:].mean(1)

    def plain(self) -> dict:
        """Return all arrays as plain values for JSON."""
        return {
            "seeds": self.seeds,
            "labelled_percent": self.percent.tolist(),
            "labelled_regions": self.regions.tolist(),
            "mIoU": self.miou.tolist(),
            "validated_mIoU": self.validated.tolist(),
        }


@dataclass(frozen=True)
class Results:
    """Results of the strategies and controls that are done, each for one seed at least.

    ``spent`` is strategy -> class name -> percent of its labelled pixels, all its seeds together;
    "all" is the whole target.
    """

    seeds: list[int]
    warmup: np.ndarray
    bound: np.ndarray
    curves: dict[str, Curve]
    controls: dict[str, Curve]
    spent: dict[str, dict[str, float]]

    def plain(self) -> dict:
        """Return all results as plain values for JSON."""
        return {
            "seeds": self.seeds,
            "warmup": self.warmup.tolist(),
            "bound": self.bound.tolist(),
            "strategies": {name: curve.plain() for name, curve in self.curves.items()},
            "controls": {name: curve.plain() for name, curve in self.controls.items()},
            "labelled_pixels_by_class_percent": self.spent,
        }


def of_seeds(values: np.ndarray, seeds: list[int], chosen: list[int]) -> np.ndarray | None:
    """Return the rows of some seeds from an array with a row for each of ``seeds``, or None."""
    if not set(chosen) <= set(seeds):
        return None
    return values[[seeds.index(seed) for seed in chosen]]


def deviation(values: np.ndarray) -> np.ndarray:
    """Return the sample's standard deviation along the first axis; 0 for a single value."""
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def spread(values: np.ndarray) -> str:
    """Format "mean ± standard deviation" of a sample (n,)."""
    more = f" ± {deviation(values):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{more}"


def difference(values: np.ndarray) -> str:
    """Format "mean ± standard error of the mean" of differences (n,), with a sign."""
    more = f" ± {deviation(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{more}"


def collect(config: Config, info: DatasetInfo) -> Results:
    """Read the results of the strategies in a config, for the seeds for which they are done.

    Raises:
        UserError: a seed has no bound yet, no strategy is done, or files of a run are missing.
    """
    for seed in config.seeds:
        if not (config.warmup(seed).is_done and config.bound(seed).is_done):
            raise UserError(f"{config.folder}: no bound of seed {seed} yet; run.py, or see --seeds")
    runs, controls = (_done_runs(config, names) for names in (config.strategies, config.controls))
    if not runs:
        raise UserError(f"{config.folder}: no strategy is done; run.py, or see --seeds")
    labels = LabelCounts(info)
    curves, of_controls = (
        {name: _curve(each) for name, each in group.items()} for group in (runs, controls)
    )
    if len({curve.miou.shape[1] for curve in [*curves.values(), *of_controls.values()]}) > 1:
        raise UserError(f"{config.name}: strategies of unequal rounds; see --strategies")
    sets = {name: [_last_list(run) for run in each.values()] for name, each in runs.items()}
    spent = {name: labels.shares(sum(map(labels.spent, each))) for name, each in sets.items()}
    images = next(iter(sets.values()))[0].target
    spent["all"] = labels.shares(sum(labels.of_image(item).sum(0) for item in images))
    best = [[_best(run(seed)) for seed in config.seeds] for run in (config.warmup, config.bound)]
    return Results(config.seeds, *map(np.array, best), curves, of_controls, spent)


def _done_runs(config: Config, names: Iterable[str]) -> dict[str, dict[int, Run]]:
    """Return the runs of each name that are done, by seed, for the names that have any."""
    runs = {name: {seed: config.rounds(seed, name) for seed in config.seeds} for name in names}
    done = {name: {s: run for s, run in each.items() if run.is_done} for name, each in runs.items()}
    return {name: each for name, each in done.items() if each}


def _curve(runs: dict[int, Run]) -> Curve:
    """Read the records and validations of a strategy's runs, by seed."""
    columns = [_columns(run) for run in runs.values()]
    if len({validated.shape for *_, validated in columns}) > 1:
        first = next(iter(runs.values()))
        raise UserError(f"{first.folder}: seeds of unequal rounds or validations; run again")
    return Curve(list(runs), *map(np.array, zip(*columns, strict=True)))


def _columns(run: Run) -> tuple[np.ndarray, ...]:
    """Return a run's row of each array of :class:`Curve`."""
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
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError("not finite")
        return columns
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

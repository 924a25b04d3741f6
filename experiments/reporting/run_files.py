"""What the folder of a run says of it: settings, records of rounds, measurements."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json
from utils.recorder import read_metrics

REMEDY = "restore the file, or leave this experiment out"
SCRIPTS = ("warmup", "train_ADA")
TRACES = ("metrics.jsonl", "*_settings.json", "datalist_*.pkl", "AL_record/round_*.json")
"""What tells the folder of a run, also of one by the published release."""


@dataclass(frozen=True)
class PhaseRecord:
    """One phase of a round's selection, as the record holds it.

    Attributes:
        strategy: its name.
        budget, pixels: in pixels of the superpixel maps.
        regions: how many were selected.
        void: how many of them have no pixel with a class; None where this was not recorded.
    """

    strategy: str
    budget: int
    pixels: int
    regions: int
    void: int | None = None


@dataclass(frozen=True)
class RoundRecord:
    """The result of one round.

    Attributes:
        number: of the round.
        miou: of its network, in percent.
        iou: class name -> IoU in percent; None for a class that does not occur.
        percent: share of the target's pixels that were labelled when it was trained.
        target_pixels: all pixels of the target.
        phases: of the selection that followed; empty after the last round.
    """

    number: int
    miou: float
    iou: dict[str, float | None]
    percent: float
    target_pixels: int
    phases: tuple[PhaseRecord, ...] = ()


@dataclass(frozen=True)
class Run:
    """A folder of ``warmup.py`` and ``train_ADA.py``.

    Attributes:
        name: that tells it from the other runs of a report.
        folder: where it is.
        flags: script -> flag -> value, of the scripts that wrote settings.
        machine: versions of packages, and number of threads, of the last script.
        rounds: that are done, in order.
        metrics: lines of ``metrics.jsonl``, see :mod:`utils.recorder`.
    """

    name: str
    folder: Path
    flags: dict[str, dict[str, str]] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    rounds: list[RoundRecord] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def flag(self, name: str, otherwise: str = "") -> str:
        """Return the value of a flag of ``train_ADA.py``, or of the warm-up before it."""
        for script in reversed(SCRIPTS):
            if name in self.flags.get(script, {}):
                return self.flags[script][name]
        return otherwise

    @property
    def asks_people(self) -> bool:
        """True if the target's labels come from people."""
        return self.flag("oracle") == "people"

    def lines(self, kind: str, number: int | None) -> list[dict[str, Any]]:
        """Return the metrics of a kind of a round; None for the warm-up."""
        return [e for e in self.metrics if e["kind"] == kind and e["round"] == number]

    def kept_validation(self, number: int | None) -> dict[str, Any] | None:
        """Return the validation of the network that a round, or the warm-up, kept: its best."""
        found = [e for e in self.lines("validation", number) if e["mIoU"] is not None]
        return max(found, key=lambda e: e["mIoU"], default=None)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the folders of several runs, and give them names that tell them apart.

    Raises:
        UserError: a folder is no run or is named twice, or a file of it is damaged.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UserError(f"-p {folder}: is given twice; name each experiment once")
    return [
        read_run(folder, name) for folder, name in zip(folders, short_names(resolved), strict=True)
    ]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of absolute paths that tell all of them apart."""
    longest = max((len(path.parts) for path in paths), default=0)
    for count in range(1, longest):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


def read_run(folder: Path, name: str) -> Run:
    """Read the folder of one run.

    Raises:
        UserError: it is no run, or a file of it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"-p {folder}: no such folder; name the -p of train_ADA.py or warmup.py")
    if not any(next(folder.glob(trace), None) for trace in TRACES):
        raise UserError(
            f"-p {folder}: holds no run ({', '.join(TRACES)}); name the -p of train_ADA.py"
        )
    settings = read_settings(folder)
    records = [path for path in folder.glob("AL_record/round_*.json") if _number_of(path) >= 0]
    rounds = [_checked(path, _round) for path in sorted(records, key=_number_of)]
    metrics_path = folder / "metrics.jsonl"
    metrics = []
    if metrics_path.is_file():
        try:
            metrics = [entry for line in read_metrics(metrics_path) if (entry := _metric(line))]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{metrics_path}: a line is damaged ({error}); {REMEDY}") from error
    flags = {script: one[0] for script, one in settings.items()}
    machine = next((one[1] for one in reversed(settings.values())), {})
    return Run(name, folder, flags, machine, rounds, metrics)


def read_settings(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Return script -> (flags, machine) of the scripts that wrote settings in a folder.

    Raises:
        UserError: a file is damaged.
    """
    paths = {script: folder / f"{script}_settings.json" for script in SCRIPTS}
    return {s: _checked(path, _settings) for s, path in paths.items() if path.is_file()}


def flags_of(folder: Path) -> dict[str, str]:
    """Return the flags of ``train_ADA.py`` for a run; empty if they are not known."""
    return read_settings(folder).get("train_ADA", ({}, {}))[0]


def _number_of(path: Path) -> int:
    found = re.fullmatch(r"round_(\d+)", path.stem)
    return int(found[1]) if found else -1


def _checked(path: Path, read: Callable[[Any], Any]) -> Any:
    """Read a JSON file by a function that raises one of these errors for what it cannot be."""
    value = read_json(path, REMEDY)
    try:
        return read(value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: is damaged ({error}); {REMEDY}") from error


def _settings(value: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    machine = value.get("machine", {})
    return (
        {str(k): str(v) for k, v in value["flags"].items()},
        {str(k): str(v) for k, v in machine.items()},
    )


def _round(value: Mapping[str, Any]) -> RoundRecord:
    shares = value["IoU"].items()
    phases = [
        PhaseRecord(
            str(phase["strategy"]),
            *(_count(phase[key]) for key in ("budget", "pixels", "regions")),
            void=None if phase.get("void") is None else _count(phase["void"]),
        )
        for phase in value["selection"]
    ]
    return RoundRecord(
        _count(value["round"]),
        _number(value["mIoU"]),
        {str(name): None if share is None else _number(share) for name, share in shares},
        _number(value["labelled_percent"]),
        _count(value["target_pixels"]),
        tuple(phases),
    )


def _metric(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """A line of the metrics with the values that a report reads; None for other kinds."""
    kind, number, iteration = (line.get(key) for key in ("kind", "round", "iteration"))
    number, iteration = (n if n is None else _count(n) for n in (number, iteration))
    entry = {"kind": kind, "round": number, "iteration": iteration}
    if kind == "stage":
        return {**entry, "name": str(line["name"]), "seconds": _number(line["seconds"])}
    if kind == "train":
        return entry
    if kind != "validation":
        return None
    miou = line["mIoU"]
    counts = line.get("confusion")
    if counts is not None:
        counts = [[_count(n) for n in row] for row in counts]
        if len(counts) != len(line["IoU"]) or {len(row) for row in counts} != {len(counts) + 1}:
            raise ValueError("the confusion matrix has not a row for each class")
    return {
        **entry,
        "mIoU": miou if miou is None else _number(miou),
        "IoU": {str(name): share for name, share in line["IoU"].items()},
        "confusion": counts,
    }


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value

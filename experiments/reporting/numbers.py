"""The numbers of a report: everything that its figures and tables show, as plain values."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dataloader.class_counts import names_with_void
from experiments.reporting.chosen import LABELLED, ChosenRegion
from experiments.reporting.run_files import Run
from utils.metrics import padded_names

SLOWEST = 12
"""How many stages are listed."""
EMPTY = {
    **{"budget": None, "pixels": 0, "regions": 0, "void_regions": None, "target_pixels": None},
    **{"counted_pixels": 0, "void_pixels": 0},
}
"""A phase of which nothing is known."""


class ClassPixels(NamedTuple):
    """Pixels by class name, those without a class last.

    Attributes:
        chosen: of the labelled regions whose labels are known; for people, as they answered.
        target: of the whole target; None where it has no labels.
        predicted: of the same regions, or of all selected ones where no label is known, by
            predicted class; None where some predictions are not known.
    """

    chosen: dict[str, int] | None
    target: dict[str, int] | None
    predicted: dict[str, int] | None


def numbers_of(
    run: Run, chosen: Sequence[ChosenRegion], class_names: Sequence[str], totals: np.ndarray | None
) -> dict[str, Any]:
    """Return all numbers of one run, as JSON holds them.

    Args:
        run: what its folder says.
        chosen: the regions that it selected.
        class_names: of the target's dataset.
        totals: (C + 1,) pixels of the whole target by class, void last; None if not known.
    """
    return {
        "name": run.name,
        "folder": str(run.folder),
        "state": state_of(run),
        "rounds": [
            {"round": r.number, "mIoU": r.miou, "labelled_percent": r.percent} for r in run.rounds
        ],
        "validations": validations(run),
        "IoU": class_changes(run),
        "selections": selections(run, chosen),
        "pixels_by_class": class_pixels(chosen, class_names, totals)._asdict(),
        "confusion": confusion(run),
        "stages": stages(run),
        "settings": run.flags,
        "machine": run.machine,
    }


def state_of(run: Run) -> str:
    """Say in one sentence how far a run is."""
    if not run.rounds:
        at = run.lines("validation", None)
        done = f" It has {len(at)} validations." if at else ""
        return f"No round is done yet: there is a warm-up alone.{done}"
    last, planned = run.rounds[-1], run.flag("max_iterations")
    first = run.rounds[0].number
    text = f"Rounds {first} to {last.number} are done"
    if first == last.number:
        text = f"Round {first} is done"
    if not planned.isdecimal() or last.number >= int(planned):
        return f"{text}."
    if run.asks_people and last.phases and not run.lines("train", last.number + 1):
        return f"{text}, of {planned}. People are asked for the labels of round {last.number}."
    lines = [e for kind in ("train", "validation") for e in run.lines(kind, last.number + 1)]
    at = max((e["iteration"] or 0 for e in lines), default=0)
    more = f" Round {last.number + 1} has reached iteration {at}." if at else ""
    return f"{text}, of {planned}.{more}"


def validations(run: Run) -> list[dict[str, Any]]:
    """Return round, iteration and mIoU of every validation, the warm-up's first."""
    keys = ("round", "iteration", "mIoU")
    found = [e for e in run.metrics if e["kind"] == "validation" and e["mIoU"] is not None]
    found.sort(key=lambda e: (-1 if e["round"] is None else e["round"], e["iteration"] or 0))
    return [{key: e[key] for key in keys} for e in found]


def class_changes(run: Run) -> dict[str, Any] | None:
    """Return the IoU of each class in the first and last round and its change, in percent.

    A class that does not occur has None. None for a run without rounds.
    """
    if not run.rounds:
        return None
    first, last = run.rounds[0], run.rounds[-1]
    classes = {}
    for name in first.iou | last.iou:
        before, after = first.iou.get(name), last.iou.get(name)
        known = before is not None and after is not None
        classes[name] = {
            "first": before,
            "last": after,
            "change": after - before if known else None,
        }
    return {"first_round": first.number, "last_round": last.number, "classes": classes}


def selections(run: Run, chosen: Iterable[ChosenRegion]) -> list[dict[str, Any]]:
    """Return what each phase of each selection spent, and how much of that was void.

    Budgets are those of the records, None in a run without records. ``counted_pixels`` and
    ``void_pixels`` are of the regions whose labels are known; ``void_regions``, of which no pixel
    has a class, is None where it is not known.
    """
    rows: dict[tuple, dict[str, Any]] = {}
    for record in run.rounds:
        for phase in record.phases:
            rows[record.number, phase.strategy] = {
                **EMPTY,
                "budget": phase.budget,
                "pixels": phase.pixels,
                "regions": phase.regions,
                "void_regions": None if run.asks_people else phase.void,
                "target_pixels": record.target_pixels,
            }
    recorded = set(rows)
    for one in chosen:
        key = one.selection.round, one.selection.strategy
        row = rows.setdefault(key, dict(EMPTY))
        if key not in recorded:
            row["regions"] += 1
            row["pixels"] += one.pixels or 0
        if one.by_class is not None:
            row["counted_pixels"] += int(one.by_class.sum())
            row["void_pixels"] += one.void
            if run.asks_people:
                row["void_regions"] = (row["void_regions"] or 0) + (one.label is None)
    order = sorted(rows, key=lambda key: (key[0] is None, key[0] or 0))  # phases stay in order
    return [{"round": key[0], "strategy": key[1], **rows[key]} for key in order]


def class_pixels(
    chosen: Sequence[ChosenRegion], class_names: Sequence[str], totals: np.ndarray | None
) -> ClassPixels:
    """Return the pixels of selected regions by class, beside those of the whole target."""
    names = names_with_void(class_names)

    def named(counts: np.ndarray) -> dict[str, int]:
        return dict(zip(names, map(int, counts), strict=True))

    known = [one for one in chosen if one.state == LABELLED and one.by_class is not None]
    compared = known or chosen
    predicted: Counter[str] = Counter()
    if all(one.predicted is not None and one.pixels is not None for one in compared):
        for one in compared:
            predicted[one.predicted] += one.pixels
    return ClassPixels(
        named(np.sum([one.by_class for one in known], axis=0)) if known else None,
        None if totals is None else named(totals),
        dict(predicted) or None,
    )


def shares(counts: dict[str, int]) -> dict[str, float]:
    """Return percentages of the sum of all counts."""
    total = max(1, sum(counts.values()))
    return {name: 100 * count / total for name, count in counts.items()}


def confusion(run: Run) -> dict[str, Any] | None:
    """Return the confusion matrix of the network that the last round, or the warm-up, kept.

    None if no validation of it recorded one.
    """
    number = run.rounds[-1].number if run.rounds else None
    kept = run.kept_validation(number)
    if kept is None or not np.any(kept["confusion"] or 0):
        return None
    names = padded_names(list(kept["IoU"]), len(kept["confusion"]))
    return {
        "round": number,
        "iteration": kept["iteration"],
        "classes": names,
        "counts": kept["confusion"],
    }


def stages(run: Run) -> list[dict[str, Any]]:
    """Return name, round and seconds of the slowest stages, the slowest first."""
    found = [e for e in run.metrics if e["kind"] == "stage"]
    found.sort(key=lambda e: -e["seconds"])
    return [{key: e[key] for key in ("name", "round", "seconds")} for e in found[:SLOWEST]]

"""The table at a round's end: what each class gained, and what is labelled of it."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dataloader.class_counts import majority, names_with_void
from utils.validation import Scores

log = logging.getLogger(__name__)


class Labelled(NamedTuple):
    """What is labelled, by class name, what has no class last.

    Attributes:
        regions: by the class that most of a region's pixels have.
        pixels: by their own class.
    """

    regions: dict[str, int]
    pixels: dict[str, int]


def labelled_by_class(counts: Iterable[np.ndarray], class_names: Sequence[str]) -> Labelled:
    """Sum up the (C + 1,) pixels by class of each labelled region, void last."""
    names = names_with_void(class_names)
    regions, pixels = (np.zeros(len(names), np.int64) for _ in range(2))
    for one in counts:
        most = majority(one)
        regions[-1 if most is None else most] += 1
        pixels += one
    return Labelled(*(dict(zip(names, map(int, n), strict=True)) for n in (regions, pixels)))


def round_table(
    scores: Mapping, before: Mapping | None, labelled: Labelled, new: Labelled
) -> list[str]:
    """Return the lines of a round's table: class, IoU, its change, labelled regions and pixels.

    Columns in which nothing is known or counted, as in a first round, are left out.

    Args:
        scores: ``mIoU`` and ``IoU`` by class name, in percent; None for a class that does not
            occur.
        before: those of the round before; None in the first round.
        labelled: after the round.
        new: the part of it that this round has added.
    """
    before = before or {}
    old = before.get("IoU", {})
    rows = [("class", "IoU", "change", "regions", "new regions", "pixels", "new px")]
    for name in names_with_void(scores["IoU"]):
        if name not in scores["IoU"] and not labelled.regions[name] + labelled.pixels[name]:
            continue
        shares = scores["IoU"].get(name), old.get(name)
        rows.append((name, *_iou(*shares), *_counts(name, labelled, new)))
    rows.append(("all", *_iou(scores["mIoU"], before.get("mIoU")), *_counts(None, labelled, new)))
    names, *numbers = zip(*rows, strict=True)
    shown = [column for column in numbers if column[0] == "IoU" or {*column[1:]} - {"-", "0"}]
    columns = [_padded(names, str.ljust), *(_padded(column, str.rjust) for column in shown)]
    return ["  ".join(cells) for cells in zip(*columns, strict=True)]


def log_table(
    n: int,
    scores: Scores,
    before: Mapping | None,
    counts: Mapping[tuple[str, int], np.ndarray],
    new: Collection[tuple[str, int]],
    class_names: Sequence[str],
) -> None:
    """Log the table of round ``n``.

    Args:
        n: number of the round.
        scores: its validation.
        before: record of the round before.
        counts: labelled region -> its (C + 1,) pixels by class, void last.
        new: those that were labelled since the table before.
        class_names: by train id.
    """
    labelled = labelled_by_class(counts.values(), class_names)
    added = labelled_by_class((counts[region] for region in new), class_names)
    lines = round_table(scores.percent(), before, labelled, added)
    log.info("round %02d:\n%s", n, "\n".join(lines))


def _padded(column: Sequence[str], pad: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, column))
    return [pad(cell, width) for cell in column]


def _iou(now: float | None, before: float | None) -> tuple[str, str]:
    """IoU and its change; "-" for what is not known."""
    change = None if now is None or before is None else now - before
    return ("-" if now is None else f"{now:.2f}"), ("-" if change is None else f"{change:+.2f}")


def _counts(name: str | None, labelled: Labelled, new: Labelled) -> tuple[str, ...]:
    """Regions, new ones, pixels and new ones of a class; of all classes for None."""
    found = []
    for every, added in zip(labelled, new, strict=True):
        a, b = ((n.values() if name is None else [n.get(name, 0)]) for n in (every, added))
        found += [f"{sum(a):,}", f"{sum(b):+,}" if sum(b) else "-"]
    return tuple(found)

"""The selected regions as a table, one row for each."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.reporting.chosen import ChosenRegion
from utils.files import write_text

COLUMNS = (
    *("experiment", "image", "region", "round", "strategy", "score", "predicted_class", "rank"),
    *("regions_in_class", "label_class", "pixels", "void_pixels", "state"),
)


def row_of(experiment: str, one: ChosenRegion) -> tuple:
    """Return the values of :data:`COLUMNS` for a region; None for what is not known."""
    by, reason = one.selection, one.selection.reason
    return (
        *(experiment, one.image, one.region, by.round, by.strategy, by.score),
        *(one.predicted, reason.rank, reason.among, one.label, one.pixels, one.void, one.state),
    )


def write_csv(path: Path, rows: Iterable[Sequence]) -> None:
    """Write rows of :func:`row_of` as CSV; None is an empty field."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows)
    write_text(path, text.getvalue())

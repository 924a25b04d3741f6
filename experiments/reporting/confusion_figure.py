"""The figure of a confusion matrix, for reports and for ``evaluation.py --confusion``."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from experiments.reporting.figures import LIGHT, Theme, new_figure, plain

NUMBERED = 40  # classes up to which each cell has its number; drawing 150 x 150 takes minutes


def draw_confusion(
    counts: Sequence[Sequence[int]], class_names: Sequence[str], theme: Theme = LIGHT
) -> Figure:
    """Draw a confusion matrix, each row in percent of the pixels labelled as its class.

    Classes that occur neither in labels nor in predictions are left out, and so is the last column
    if every prediction is a class. Of many classes, cells are small and have colours alone.

    Args:
        counts: (C, C + 1) pixels by label and prediction; the last column: no class.
        class_names: C names.
        theme: of the page.
    """
    shares_of, rows, columns = row_shares(np.asarray(counts))
    names = [*map(plain, class_names), "no class"]
    few = len(columns) <= NUMBERED
    size = 1.9 + (0.36 if few else 0.12) * max(3, len(columns))
    figure, axes = new_figure(theme, size - 0.4, size)
    colors = LinearSegmentedColormap.from_list("shares", [theme.page, theme.strong])
    axes.imshow(np.nan_to_num(shares_of), cmap=colors, vmin=0, vmax=100)
    for (y, x), value in np.ndenumerate(shares_of) if few else ():
        if np.isnan(value):
            text = "–"
        elif not value:
            continue
        else:
            text = f"{value:.0f}" if value >= 0.5 else "<1"
        color = theme.page if value > 55 else theme.text
        axes.text(x, y, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(columns)), [names[c] for c in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [names[c] for c in rows])
    if not few:
        axes.tick_params(labelsize=6)
    axes.set(xlabel="predicted", ylabel="label; each row is 100 % of its pixels")
    return figure


def row_shares(counts: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """Return percentages of each row's sum, and the classes of the rows and of the columns.

    Args:
        counts: (C, C + 1) pixels by label and prediction.

    Returns:
        (rows, columns) float64, NaN in the row of a class without labelled pixels; the classes that
        occur; these and, where a prediction is no class, C.
    """
    classes = np.flatnonzero(counts.sum(1) + counts[:, :-1].sum(0)).tolist()
    columns = classes + ([len(counts)] if counts[:, -1].any() else [])
    total = counts.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        percent = 100 * counts / np.where(total, total, np.nan)
    return percent[np.ix_(classes, columns)], classes, columns

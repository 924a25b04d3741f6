"""The figures of a report. Every one is drawn for a light and for a dark page.

Nothing is told by colour alone: lines have markers and dashes, bars hatches, cells numbers.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataloader.class_counts import VOID
from experiments.reporting.numbers import shares
from utils.errors import shown
from utils.files import atomic_write

WIDTH = 6.0  # inches; text of 10 points is still read where a phone shows this on 360 pixels
DPI = 160
LONGEST_NAME = 26
LABELLED, ANSWERED = "labelled", "answered"
LINES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."), ("v", (0, (5, 1))), ("P", (0, (1, 1))))
"""Marker and dashes of the experiments, in turn."""
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")
"""Hatches of the strategies, in turn."""


class Theme(NamedTuple):
    """Colours of a page: of the background, of text, of lines in the background, and of series.

    The series are those of Okabe and Ito, which colour-blind readers tell apart, in an order that
    is seen on the background.
    """

    name: str
    page: str
    text: str
    faint: str
    strong: str
    series: tuple[str, ...]


LIGHT = Theme(
    *("light", "#ffffff", "#1c1c1c", "#c9c9c4", "#08306b"),
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07800", "#333333"),
)
DARK = Theme(
    *("dark", "#161616", "#ececea", "#4a4a46", "#9ecae1"),
    ("#56b4e9", "#e69f00", "#2fc29a", "#e29bc4", "#f0e442", "#cccccc"),
)
THEMES = (LIGHT, DARK)


def new_figure(theme: Theme, height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Return a figure in the colours of a theme, and its axes."""
    figure = Figure((width, height), layout="constrained", facecolor=theme.page)
    axes = figure.add_subplot(facecolor=theme.page)
    axes.tick_params(colors=theme.text)
    axes.xaxis.label.set_color(theme.text)
    axes.yaxis.label.set_color(theme.text)
    for spine in axes.spines.values():
        spine.set_color(theme.faint)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def plain(name: Any) -> str:
    """Return a name as the figures show it: not too long, and never read as a formula."""
    text = shown(name)
    text = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
    return text.replace("$", r"\$")


def legend(axes: Axes, theme: Theme, columns: int = 2) -> None:
    """Draw the legend above the axes."""
    axes.legend(
        **{"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "frameon": False},
        labelcolor=theme.text,
    )


def draw_curve(runs: Sequence[Mapping[str, Any]], theme: Theme) -> Figure:
    """Plot mIoU against the labelled share, one line for each run."""
    figure, axes = new_figure(theme, 3.8)
    for number, run in enumerate(runs):
        marker, dashes = LINES[number % len(LINES)]
        axes.plot(
            [r["labelled_percent"] for r in run["rounds"]],
            [r["mIoU"] for r in run["rounds"]],
            **{"marker": marker, "linestyle": dashes, "label": f" {plain(run['name'])}"},
            color=theme.series[number % len(theme.series)],
        )
        if len(runs) == 1:
            for r in run["rounds"]:
                axes.annotate(
                    f"{r['mIoU']:.1f}",
                    (r["labelled_percent"], r["mIoU"]),
                    **{"xytext": (0, 7), "textcoords": "offset points", "ha": "center"},
                    **{"color": theme.text, "fontsize": 9},
                )
    axes.set(xlabel="labelled pixels of the target, %", ylabel="mIoU, %")
    axes.margins(y=0.15)
    axes.grid(color=theme.faint, alpha=0.5)
    if len(runs) > 1:
        legend(axes, theme)
    return figure


def draw_validations(run: Mapping[str, Any], theme: Theme) -> Figure:
    """Plot the mIoU of a warm-up against the iteration."""
    figure, axes = new_figure(theme, 3)
    found = [v for v in run["validations"] if v["round"] is None]
    x, y = [v["iteration"] or 0 for v in found], [v["mIoU"] for v in found]
    axes.plot(x, y, marker="o", color=theme.series[0])
    axes.set(xlabel="iteration of the warm-up", ylabel="mIoU, %")
    axes.grid(color=theme.faint, alpha=0.5)
    return figure


def draw_changes(runs: Sequence[Mapping[str, Any]], theme: Theme) -> Figure:
    """Plot the change of each class's IoU from the first to the last round of each run."""
    changes = {n: run["IoU"]["classes"] for n, run in enumerate(runs) if has_changes(run)}
    mean = {}
    for name in dict.fromkeys(chain(*changes.values())):
        known = [c for of in changes.values() if (c := change_of(of, name)) is not None]
        if known:
            mean[name] = np.mean(known)
    names = sorted(mean, key=mean.get)
    figure, axes = new_figure(theme, 1.1 + 0.27 * max(3, len(names)))
    axes.axvline(0, color=theme.text, linewidth=1)
    for place, (number, of) in enumerate(changes.items()):
        known = [(y, c) for y, n in enumerate(names) if (c := change_of(of, n)) is not None]
        color = theme.series[number % len(theme.series)]
        if len(changes) == 1:
            _bars(axes, known, color, theme)
            continue
        shift = 0.6 * ((len(changes) - 1) / 2 - place) / len(changes)  # equal values stay apart
        axes.plot(
            [c for _, c in known],
            [y + shift for y, _ in known],
            LINES[number % len(LINES)][0],
            **{"markersize": 6, "color": color, "label": f" {plain(runs[number]['name'])}"},
        )
    axes.set_yticks(range(len(names)), list(map(plain, names)))
    axes.set(xlabel="change of IoU, percentage points", ylim=(-0.7, max(2, len(names)) - 0.3))
    axes.margins(x=0.18)
    axes.grid(axis="both" if len(changes) > 1 else "x", color=theme.faint, alpha=0.5)
    axes.set_axisbelow(True)
    if len(changes) > 1:
        legend(axes, theme)
    return figure


def _bars(axes: Axes, values: Sequence[tuple[float, float]], color: str, theme: Theme) -> None:
    """Draw (place, change) pairs as bars with their values at the ends."""
    axes.barh([y for y, _ in values], [change for _, change in values], 0.55, color=color)
    for y, change in values:
        axes.annotate(
            f"{change:+.1f}",
            (change, y),
            **{"xytext": (4 if change >= 0 else -4, 0), "textcoords": "offset points"},
            **{"ha": "left" if change >= 0 else "right", "va": "center"},
            **{"color": theme.text, "fontsize": 9},
        )


def has_changes(run: Mapping[str, Any]) -> bool:
    """Return True if a run has the change of a class to show, and so two rounds at least."""
    changes = run["IoU"]
    return changes["first_round"] < changes["last_round"] and any(
        c["change"] is not None for c in changes["classes"].values()
    )


def change_of(classes: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Return the change of a class's IoU; None where it is not known."""
    return classes.get(name, {}).get("change")


def draw_class_pixels(pixels: Mapping[str, Any], people: bool, theme: Theme) -> Figure:
    """Plot shares of classes: labelled pixels beside the whole target, or as they were predicted.

    Args:
        pixels: ``pixels_by_class`` of a run.
        people: whether the labels come from people.
        theme: of the page.
    """
    groups = class_groups(pixels, people)
    names = class_order(groups)
    groups = {word: shares(of) for word, of in groups.items()}
    figure, axes = new_figure(theme, 1.2 + 0.36 * max(3, len(names)))
    thick = 0.8 / len(groups)
    for number, (word, of) in enumerate(groups.items()):
        places = np.arange(len(names)) + (number - (len(groups) - 1) / 2) * thick
        chosen = word in (LABELLED, ANSWERED)
        color = theme.series[0] if chosen else theme.faint
        values = [of.get(name, 0) for name in names]
        hatch = None if chosen else "////"
        bars = axes.barh(places, values, thick, color=color, hatch=hatch, label=word)
        for bar in bars:
            bar.set_edgecolor(theme.page if chosen else theme.text)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.1f}",
                (value, place),
                **{"xytext": (3, 0), "textcoords": "offset points", "va": "center"},
                **{"color": theme.text, "fontsize": 8},
            )
    axes.set_yticks(range(len(names)), list(map(plain, names)))
    axes.set(xlabel="share of the pixels, %", ylim=(-0.6, len(names) - 0.4))
    axes.margins(x=0.12)
    legend(axes, theme, 3)
    return figure


def class_groups(pixels: Mapping[str, Any], people: bool) -> dict[str, dict[str, int]]:
    """Return what to compare of ``pixels_by_class``: word -> class name -> pixels.

    Labels beside the whole target or, where that has none, beside what was predicted.
    """
    answered = ANSWERED if people else LABELLED
    words = {"predicted": "predicted", "target": "whole target", "chosen": answered}
    groups = {word: pixels[key] for key, word in words.items() if pixels[key]}
    if "whole target" in groups and answered in groups:
        groups.pop("predicted", None)  # two bars for each class are easier to read than three
    return groups


def class_order(groups: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the classes that occur, void first, then by their pixels in the first group."""
    names = list(dict.fromkeys(chain(*groups.values())))
    names = [name for name in names if any(of.get(name) for of in groups.values())]
    first = next(iter(groups.values()), {})
    return sorted(names, key=lambda name: (name != VOID, first.get(name, 0)))


def draw_budget(run: Mapping[str, Any], strategies: Sequence[str], theme: Theme) -> Figure:
    """Plot the pixels that each strategy selected in each round."""
    rows = [s for s in run["selections"] if s["round"] is not None]
    rounds = sorted({s["round"] for s in rows})
    figure, axes = new_figure(theme, 1.2 + 0.45 * max(2, len(rounds)))
    left = np.zeros(len(rounds))
    for strategy in dict.fromkeys(s["strategy"] for s in rows):
        number = strategies.index(strategy)
        pixels = {s["round"]: s["pixels"] for s in rows if s["strategy"] == strategy}
        values = np.array([pixels.get(n, 0) for n in rounds], float)
        axes.barh(
            *(range(len(rounds)), values, 0.7, left),
            color=theme.series[number % len(theme.series)],
            **{"hatch": HATCHES[number % len(HATCHES)], "edgecolor": theme.page},
            label=plain(strategy or "not known"),
        )
        left += values
    axes.set_yticks(range(len(rounds)), [f"round {n}" for n in rounds])
    axes.invert_yaxis()
    axes.set(xlabel="selected pixels")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
    legend(axes, theme)
    return figure

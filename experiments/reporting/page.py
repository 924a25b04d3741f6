"""The folder of a report: ``index.html`` with its figures, pictures, tables and numbers."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.reporting import figures
from experiments.reporting.chosen import ChosenRegion, chosen_regions, latest_datalist
from experiments.reporting.confusion_figure import draw_confusion
from experiments.reporting.numbers import numbers_of, shares
from experiments.reporting.region_pictures import round_cards, style_of
from experiments.reporting.run_files import Run, flags_of, read_runs
from experiments.reporting.table import row_of, write_csv
from experiments.reporting.target import Target, TargetFlags
from utils.errors import UserError, shown
from utils.files import write_json
from utils.pages import write_page

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
PARTS = re.compile(r"index\.html|numbers\.json|figures|run\d+")
"""Names in the folder of a report; a folder that holds others is never replaced."""
IMAGES = 8
"""How many images of each round are shown unless asked otherwise."""


RECORDED = TargetFlags()
"""The targets' data are where the runs had them."""


class Shown(NamedTuple):
    """What is known of one run."""

    run: Run
    chosen: list[ChosenRegion]
    numbers: dict[str, Any]
    problems: list[str]


def write_report(
    folders: Sequence[Path], out: Path, given: TargetFlags = RECORDED, images: int = IMAGES
) -> list[str]:
    """Write a report of several runs; an older report in its place is replaced as a whole.

    Args:
        folders: of the runs (-p).
        out: folder of the report.
        given: where the targets' data are, if not where the runs had them.
        images: how many images of each round to show.

    Returns:
        One line for each kind of file that could not be read.

    Raises:
        UserError: a folder is no run, or a file of it is damaged; ``out`` holds other files.
    """
    check_out(out, folders)
    runs = [gather(run, given) for run in read_runs(folders)]
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        new.mkdir(parents=True)
        problems = fill(new, runs, images)
        if out.is_dir():
            out.rename(old)
        new.rename(out)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
    return problems


def check_out(out: Path, folders: Sequence[Path]) -> None:
    """Raise a :class:`UserError` unless a report may be written to a folder, or replace it."""
    if not out.name:
        raise UserError(f"--out {out}: name a folder of its own for the report")
    for folder in folders:
        if folder.resolve().is_relative_to(out.resolve()):
            raise UserError(f"--out {out}: holds the experiment {folder}; name another folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"--out {out}: is no folder; name another one")
    if out.is_dir():
        for path in out.iterdir():
            if not PARTS.fullmatch(path.name):
                raise UserError(
                    f"--out {out}: holds {shown(path.name)}, which is no part of a report; "
                    "name a new folder"
                )


def gather(run: Run, given: TargetFlags) -> Shown:
    """Read what is known of a run."""
    flags = flags_of(run.folder)
    target = Target.of_run(run.folder, flags, given)
    datalist = latest_datalist(run.folder)
    chosen, items = chosen_regions(datalist, target) if datalist else ([], [])
    totals = target.class_totals(items) if items else None
    numbers = numbers_of(run, chosen, target.info.class_names, totals)
    return Shown(run, chosen, numbers, target.report_problems())


def fill(folder: Path, runs: Sequence[Shown], images: int) -> list[str]:
    """Write all files of a report into a new folder, and return what could not be read."""
    numbers = [one.numbers for one in runs]
    strategies = strategies_of(numbers)
    sections = []
    for place, one in enumerate(runs, 1):
        own = folder / f"run{place}"
        write_csv(own / "regions.csv", [row_of(one.run.name, region) for region in one.chosen])
        sections.append(section_of(one, strategies, own, images))
    names = draw_figures(folder / "figures", runs, strategies)
    write_json(folder / "numbers.json", {"experiments": numbers}, indent=1)
    write_page(
        folder / "index.html",
        TEMPLATE,
        sections=sections,
        started=[section for section in sections if section["numbers"]["rounds"]],
        figures=names,
        classes=class_table(numbers),
        settings=settings_table(numbers),
        dashes={name: STROKES[i % len(STROKES)] for i, name in enumerate(strategies)},
    )
    return [f"{one.run.name}: {line}" for one in runs for line in one.problems]


STROKES = ("solid", "dashed", "dotted", "dash-dotted", "loosely dotted")
"""The dashes of :data:`experiments.reporting.region_pictures.DASHES` in words."""


def strategies_of(numbers: Sequence[dict[str, Any]]) -> list[str | None]:
    """Return the strategies of all runs, in the order in which they appear."""
    return list(dict.fromkeys(s["strategy"] for one in numbers for s in one["selections"]))


def section_of(
    one: Shown, strategies: Sequence[str | None], folder: Path, images: int
) -> dict[str, Any]:
    """Write the pictures of a run, and return what the page shows of it."""
    numbers = [s["round"] for s in one.numbers["selections"]]
    rounds = []
    known = sorted({n for n in numbers if n is not None})
    for number in [*known, *([None] if None in numbers else [])]:
        cards = list(round_cards(one.chosen, strategies, number, images, folder, one.problems))
        if cards:
            count = sum(region.selection.round == number for region in one.chosen)
            rounds.append({"number": number, "cards": cards, "regions": count})
    used = list(dict.fromkeys(s["strategy"] for s in one.numbers["selections"]))
    swatches = [
        {
            "strategy": strategy,
            "colors": [
                style_of(strategies.index(strategy), place, len(known)).color
                for place in range(max(1, len(known)))
            ],
        }
        for strategy in used
    ]
    pixels = one.numbers["pixels_by_class"]
    groups = figures.class_groups(pixels, one.run.asks_people)
    return {
        "numbers": one.numbers,
        "id": folder.name,
        "people": one.run.asks_people,
        "method": one.run.flag("active_method", "not known"),
        "rounds": rounds,
        "swatches": swatches,
        "count": len(one.chosen),
        "packaged": all(region.asked_as for region in one.chosen),
        "problems": one.problems,
        "class_columns": groups,
        "class_names": figures.class_order(groups)[::-1],
        "chosen_shares": shares(pixels["chosen"]) if pixels["chosen"] else None,
    }


def draw_figures(folder: Path, runs: Sequence[Shown], strategies: Sequence[str | None]) -> set[str]:
    """Draw the figures for light and dark pages, and return their names."""
    started = [one.numbers for one in runs if one.numbers["rounds"]]
    made: dict[str, Any] = {}
    if started:
        made["curve"] = lambda theme: figures.draw_curve(started, theme)
    if any(map(figures.has_changes, started)):
        made["classes"] = lambda theme: figures.draw_changes(started, theme)
    for place, one in enumerate(runs, 1):
        made |= {f"run{place}_{name}": draw for name, draw in own_figures(one, strategies).items()}
    for name, draw in made.items():
        for theme in figures.THEMES:
            figures.save(draw(theme), folder / f"{name}_{theme.name}.png")
    return set(made)


def own_figures(run: Shown, strategies: Sequence[str | None]) -> dict[str, Any]:
    """Return name -> function of a theme, of the figures that show one run alone."""
    made: dict[str, Any] = {}
    one, people = run.numbers, run.run.asks_people
    if not one["rounds"] and any(v["round"] is None for v in one["validations"]):
        made["warmup"] = lambda theme: figures.draw_validations(one, theme)
    pixels = one["pixels_by_class"]
    if pixels["chosen"] or pixels["predicted"]:
        made["pixels"] = lambda theme: figures.draw_class_pixels(pixels, people, theme)
    if any(s["round"] is not None and s["pixels"] for s in one["selections"]):
        made["budget"] = lambda theme: figures.draw_budget(one, strategies, theme)
    if matrix := one["confusion"]:
        made["confusion"] = lambda theme: draw_confusion(matrix["counts"], matrix["classes"], theme)
    return made


def class_table(numbers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each class of any run: its name, and first, last and change of each run."""
    started = [one["IoU"]["classes"] for one in numbers if one["rounds"]]
    names = list(dict.fromkeys(name for of in started for name in of))
    return [{"name": name, "runs": [of.get(name) for of in started]} for name in names]


def settings_table(numbers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each flag of any script: its values in all runs, and whether they differ."""
    rows = []
    for script in ("warmup", "train_ADA"):
        flags = [one["settings"].get(script, {}) for one in numbers]
        for flag in dict.fromkeys(flag for of in flags for flag in of):
            values = [of.get(flag) for of in flags]
            known = {value for value in values if value is not None}
            rows.append(
                {"script": script, "flag": flag, "values": values, "differs": len(known) > 1}
            )
    machines = [one["machine"] for one in numbers]
    for fact in dict.fromkeys(fact for of in machines for fact in of):
        values = [of.get(fact) for of in machines]
        differs = len(set(values) - {None}) > 1
        rows.append({"script": "machine", "flag": fact, "values": values, "differs": differs})
    return rows

"""Write the tables and figures of an experiment; see experiments/config.py.

Writes ``<config>.json`` (results of every run), ``<config>.md`` (tables),
``<config>_curve.png`` (mIoU against labelled share and regions, mean and deviation over seeds),
``<config>_training.png`` (every validation, to see whether rounds are long enough) and
``<config>_classes.png`` (classes of the labelled pixels). Runs that the JSON file holds from an
earlier call stay in it: so results of seeds that ran on several machines, or whose folders are
gone, come together.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dataloader.class_counts import VOID
from experiments.config import (
    Config,
    add_choice_arguments,
    add_config_arguments,
    config_of,
    restrict,
)
from experiments.results import Kept, OfSeed, Results, Shares, of_seeds, read_kept, results_of
from experiments.run_results import collect
from experiments.tables import deviation, difference, header, row, spread
from utils.errors import UserError, run
from utils.files import atomic_write, locked_folder, write_json, write_text
from utils.parser import Parser


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    add_config_arguments(result)
    folder = Path("experiments/results")
    result.add_argument("--to", type=Path, default=folder, help="folder for tables and figures")
    also_help = "JSON files of this script on other machines, whose runs are added"
    result.add_argument("--also", type=Path, nargs="+", default=[], help=also_help)
    add_choice_arguments(result, "show", "that are done")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    config = restrict(config_of(args), args.seeds, args.strategies)
    to = args.to / config.name
    path = Path(f"{to}.json")
    if path.resolve() == args.config.resolve():
        raise UserError(f"--to {args.to}: would overwrite the config; choose another folder")
    with locked_folder(args.to, "--to"):
        kept = Kept(config.flags, {}, {}, args.config)
        for each in [path] * path.is_file() + args.also:
            kept = kept.joined(read_kept(each))
        kept = kept.joined(collect(config))
        seeds = shown(config, kept.seeds, args.seeds)
        results = results_of(seeds, config.strategies, config.controls, kept.target)
        write_json(path, kept.plain(), indent=1)
        write_text(f"{to}.md", "\n".join(markdown(config, results)) + "\n")
        draw_curves(results, Path(f"{to}_curve.png"))
        draw_training(results, Path(f"{to}_training.png"))
        draw_classes(results, Path(f"{to}_classes.png"))
    missing = [seed for seed in config.seeds if seed not in seeds]
    told = f", not yet {missing}" if missing else ""
    print(f"{len(results.curves)} strategies, seeds {results.seeds}{told}: {to}.md")


def shown(config: Config, seeds: dict[int, OfSeed], chosen: list[int] | None) -> dict[int, OfSeed]:
    """Return the seeds to show: those chosen, or all of the config that there are.

    Raises:
        UserError: a chosen seed has no bound yet, or none has.
    """
    numbers = chosen or [seed for seed in config.seeds if seed in seeds] or config.seeds
    for seed in numbers:
        if seed not in seeds:
            raise UserError(f"{config.folder}: no bound of seed {seed} yet; run.py, or see --seeds")
    return {seed: seeds[seed] for seed in numbers}


def markdown(config: Config, results: Results) -> Iterator[str]:
    """Yield the lines of the tables: means over seeds, every mIoU, classes of labelled pixels."""
    number_of_rounds = next(iter(results.curves.values())).miou.shape[1]
    rounds = [f"round {number}" for number in range(number_of_rounds)]
    until_last = [""] * (number_of_rounds - 1)
    percent = np.concatenate([curve.percent for curve in results.curves.values()])
    bounds = zip(percent.min(0), percent.max(0), strict=True)
    yield f"# {config.name}"
    yield ""
    yield f"mIoU, mean ± sample standard deviation over seeds {', '.join(map(str, results.seeds))}."
    yield "A round's mIoU is that of its best validation, on the images reported. Strategies that"
    yield "are not done for all seeds come last, with their own. The mean of rounds leaves out the"
    yield "warm-up, round 0."
    yield ""
    yield from header("strategy", *rounds, "mean of rounds")
    yield row("labelled, %", *(f"{low:.2f} to {high:.2f}" for low, high in bounds), "")
    best_first = sorted(
        results.curves.items(),
        key=lambda pair: (len(pair[1].seeds) < len(results.seeds), -pair[1].miou[:, -1].mean()),
    )
    controls = {
        f"{name} (control, {curve.percent.max():.0f} %)": curve
        for name, curve in results.controls.items()
    }
    for name, curve in [*best_first, *controls.items()]:
        yield row(label(name, curve.seeds, results), *map(spread, [*curve.miou.T, curve.mean]))
    yield row("bound", *until_last, spread(results.bound), "")
    yield ""
    yield from against_first(results)
    yield from against_all_labels(results)
    yield "## Every run"
    yield ""
    yield from header("strategy", "seed", *rounds)
    for name, curve in (results.curves | results.controls).items():
        for seed, values in zip(curve.seeds, curve.miou, strict=True):
            yield row(name, seed, *(f"{value:.2f}" for value in values))
    for seed, value in zip(results.seeds, results.bound, strict=True):
        yield row("bound", seed, *until_last, f"{value:.2f}")
    yield ""
    yield "## What the labels were spent on"
    yield ""
    yield "Percent of the pixels labelled in all selections, mean over seeds."
    yield ""
    columns = spent(results) | {"all": results.target}
    yield from header("class", *columns)
    for each in classes(results):
        yield row(each, *(f"{shares.get(each, 0):.1f}" for shares in columns.values()))


def against_first(results: Results) -> Iterator[str]:
    """Yield a section that compares all strategies with the first, from the same warm-ups."""
    first, *others = results.curves
    if not others:
        return
    base = results.curves[first]
    yield f"## Against {first}"
    yield ""
    yield f"mIoU less {first}'s of the same seed, and so from the same warm-up; mean ± its standard"
    yield "error. The seeds' own differences are those of their means of rounds. The very last"
    yield "validation is compared, too, as a round's best one depends on chance."
    yield ""
    rounds = [f"round {number}" for number in range(1, base.miou.shape[1])]
    seeds = [f"seed {seed}" for seed in results.seeds]
    yield from header("strategy", *rounds, "mean of rounds", "last validation", *seeds)
    for name in others:
        curve = results.curves[name]
        both = [seed for seed in curve.seeds if seed in base.seeds]
        if not both:
            continue
        ours, theirs = (of_seeds(each.miou, each.seeds, both) for each in (curve, base))
        by_round = (ours - theirs)[:, 1:]
        more = by_round.mean(1)
        last, last_of_first = (
            of_seeds(each.validated[:, -1, -1], each.seeds, both) for each in (curve, base)
        )
        own = dict(zip(both, more, strict=True))
        cells = (f"{own[seed]:+.2f}" if seed in own else "" for seed in results.seeds)
        yield row(
            label(name, curve.seeds, results),
            *map(difference, by_round.T),
            difference(more),
            difference(last - last_of_first),
            *cells,
        )
    yield ""


def against_all_labels(results: Results) -> Iterator[str]:
    """Yield a section that compares the last round with what all labels of the target bring."""
    yield "## Against all labels"
    yield ""
    yield "Last round: share of the mIoU with all labels, and of what they add to the warm-up's."
    yield ""
    goals = {"bound": (results.bound, results.seeds)}
    goals |= {name: (curve.miou[:, -1], curve.seeds) for name, curve in results.controls.items()}
    columns = [text.format(name) for name in goals for text in ("of {}, %", "of what {} adds, %")]
    yield from header("strategy", "regions", *columns)
    for name, curve in results.curves.items():
        start, last = curve.miou[:, [0, -1]].mean(0)
        shares = []
        for values, seeds in goals.values():
            of_same = of_seeds(values, seeds, curve.seeds)
            goal = np.nan if of_same is None else of_same.mean()
            shares.append(f"{100 * last / goal:.0f}" if goal > 0 else "-")
            shares.append(f"{100 * (last - start) / (goal - start):.0f}" if goal > start else "-")
        yield row(label(name, curve.seeds, results), f"{curve.regions[:, -1].mean():.0f}", *shares)
    yield ""


def label(name: str, seeds: list[int], results: Results) -> str:
    """Return the name of a strategy, with its seeds if these are not all of them."""
    if seeds == results.seeds:
        return name
    return f"{name} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"


def spent(results: Results) -> dict[str, Shares]:
    """Return what the labels of each strategy were spent on, by its :func:`label`."""
    return {label(name, seeds, results): each for name, (seeds, each) in results.spent.items()}


def classes(results: Results) -> list[str]:
    """Return the classes of the target, the most frequent first, void last."""
    shares = results.target
    return sorted(shares, key=lambda name: (name == VOID, -shares[name]))


def draw_curves(results: Results, path: Path) -> None:
    """Plot mIoU against labelled pixels and regions: means, and bands of one deviation."""
    figure, both = plt.subplots(1, 2, sharey=True, figsize=(11, 4.2))
    for axes, name in zip(both, ("percent", "regions"), strict=True):
        axes.axhline(
            results.bound.mean(), color="black", linestyle="--", linewidth=1, label="bound"
        )
        for strategy, curve in results.curves.items():
            known = label(strategy, curve.seeds, results)
            x = getattr(curve, name).mean(0)
            draw_mean(axes, x, curve.miou, label=known, marker="o", **look(strategy, results))
        axes.grid(alpha=0.3)
    both[0].set(xlabel="labelled pixels of the target, %", ylabel="mIoU, %")
    both[1].set(xlabel="labelled regions")
    both[1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, path)


def draw_training(results: Results, path: Path) -> None:
    """Plot the mIoU of every validation, one panel a round."""
    rounds = next(iter(results.curves.values())).validated.shape[1]
    figure, panels = plt.subplots(1, rounds, sharey=True, squeeze=False, figsize=(11, 3.6))
    for number, axes in enumerate(panels[0]):
        for strategy, curve in results.curves.items():
            values, known = curve.validated[:, number], label(strategy, curve.seeds, results)
            x = np.arange(1, values.shape[1] + 1)
            draw_mean(axes, x, values, label=known, marker=".", **look(strategy, results))
        axes.set(title=f"round {number + 1}", xlabel="validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0, 0].set(ylabel="mIoU, %")
    panels[0, -1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, path)


def look(strategy: str, results: Results) -> dict[str, Any]:
    """How a strategy's line looks: a colour of twenty; wide if all seeds are done."""
    colors = plt.get_cmap("tab20").colors
    number = list(results.curves).index(strategy)
    wide = results.curves[strategy].seeds == results.seeds
    return {"color": (colors[::2] + colors[1::2])[number % 20], "linewidth": 2.5 if wide else 1}


def draw_mean(axes: plt.Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Plot the mean over seeds (seeds, points), with a band of one standard deviation."""
    mean, band = values.mean(0), deviation(values)
    (line,) = axes.plot(x, mean, markersize=3, **style)
    axes.fill_between(x, mean - band, mean + band, color=line.get_color(), alpha=0.12)


def draw_classes(results: Results, path: Path) -> None:
    """Plot the class distribution of each strategy's labelled pixels and of the whole target."""
    columns = {"all": results.target} | spent(results)
    names, labels = list(columns), classes(results)
    colors = ["lightgrey", *(look(strategy, results)["color"] for strategy in results.spent)]
    figure, axes = plt.subplots(figsize=(max(9, 0.9 * len(labels)), 4.2))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        heights = [columns[name].get(each, 0) for each in labels]
        places = np.arange(len(labels)) + (number - (len(names) - 1) / 2) * width
        axes.bar(places, heights, width, color=colors[number], label=name)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set(ylabel="share of the labelled pixels, %", yscale="symlog")
    axes.set_yticks([0, 1, 3, 10, 30], ["0", "1", "3", "10", "30"])
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as PNG and close it."""
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run(main)

"""Draw an experiment's figures and write them down; see experiments/config.py.

Writes ``<config>.json`` (settings and every figure), ``<config>.md`` (tables), and the pictures
``<config>_curve.png`` (mIoU against labelled share, mean and spread over seeds) and
``<config>_classes.png`` (what the labels were spent on).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dataloader.datasets import load_dataset
from experiments.config import Config, add_config_arguments, config_of
from experiments.results import VOID, Results, collect, spread
from utils.common import Parser
from utils.errors import run
from utils.files import atomic_write, read_json, write_json, write_text


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_config_arguments(result)
    result.add_argument("--dataset", default="cityscapes", help="of the target")
    result.add_argument("--to", type=Path, default=Path("experiments/results"), help="folder")
    result.add_argument("--strategies", nargs="+", help="of the pictures (default: all)")
    return result


def main() -> None:
    args = parser().parse_args()
    config = config_of(args)
    results = collect(config, load_dataset(args.dataset))
    shown = [name for name in results.curves if not args.strategies or name in args.strategies]
    to = args.to / config.name
    settings = read_json(args.config, "see experiments/config.py")
    write_json(to.with_suffix(".json"), {"config": settings, **results.plain()}, indent=1)
    write_text(to.with_suffix(".md"), "\n".join(markdown(config, results)) + "\n")
    draw_curves(results, shown, Path(f"{to}_curve.png"))
    draw_classes(results, shown, Path(f"{to}_classes.png"))
    print(f"{len(results.curves)} strategies, seeds {results.seeds}: {to}.md")


def markdown(config: Config, results: Results) -> Iterator[str]:
    """A table of means and deviations over seeds, and one of every mIoU."""
    rounds = next(iter(results.curves.values())).miou.shape[1]
    percent = np.mean([curve.percent for curve in results.curves.values()], axis=(0, 1))
    yield f"# {config.name}"
    yield ""
    yield f"mIoU, mean ± standard deviation over seeds {', '.join(map(str, results.seeds))}."
    yield ""
    yield "| labelled | " + " | ".join(f"{share:.2f} %" for share in percent) + " |"
    yield "|---" * (rounds + 1) + "|"
    for name, curve in sorted(results.curves.items(), key=lambda pair: -pair[1].miou[:, -1].mean()):
        yield f"| {name} | " + " | ".join(curve.at(number) for number in range(rounds)) + " |"
    yield f"| all labels | {' | ' * (rounds - 1)}{spread(results.bound)} |"
    yield ""
    yield "## Every run"
    yield ""
    yield "| strategy | seed | " + " | ".join(f"round {n}" for n in range(rounds)) + " |"
    yield "|---" * (rounds + 2) + "|"
    for name, curve in results.curves.items():
        for seed, values in zip(results.seeds, curve.miou, strict=True):
            yield f"| {name} | {seed} | " + " | ".join(f"{value:.2f}" for value in values) + " |"
    for seed, value in zip(results.seeds, results.bound, strict=True):
        yield f"| all labels | {seed} | {' | ' * (rounds - 1)}{value:.2f} |"
    yield ""
    yield "## What the labels were spent on"
    yield ""
    names = list(results.spent)
    yield "Percent of the labelled pixels after the last selection, over all seeds."
    yield ""
    yield "| class | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for label in classes(results):
        shares = (f"{results.spent[name].get(label, 0):.1f}" for name in names)
        yield f"| {label} | " + " | ".join(shares) + " |"


def classes(results: Results) -> list[str]:
    """Classes of the target, the most frequent first, void last."""
    shares = results.spent["all"]
    return sorted(shares, key=lambda name: (name == VOID, -shares[name]))


def draw_curves(results: Results, strategies: list[str], path: Path) -> None:
    """mIoU against labelled share: lines are means, bands one standard deviation."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    bound = results.bound.mean()
    axes.axhline(bound, color="black", linestyle="--", linewidth=1, label="all labels")
    for name in strategies:
        curve = results.curves[name]
        x, mean, deviation = curve.percent.mean(0), curve.miou.mean(0), curve.miou.std(0)
        (line,) = axes.plot(x, mean, marker="o", markersize=3, label=name)
        axes.fill_between(x, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.12)
    axes.set(xlabel="labelled pixels of the target, %", ylabel="mIoU, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, path)


def draw_classes(results: Results, strategies: list[str], path: Path) -> None:
    """Bars: how each strategy's labelled pixels divide into classes, beside the whole target's."""
    names, labels = ["all", *strategies], classes(results)
    figure, axes = plt.subplots(figsize=(max(6.4, 0.75 * len(labels)), 4.2))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        heights = [results.spent[name].get(label, 0) for label in labels]
        places = np.arange(len(labels)) + (number - (len(names) - 1) / 2) * width
        axes.bar(places, heights, width, color="lightgrey" if name == "all" else None, label=name)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set(ylabel="share of the labelled pixels, %", yscale="symlog")
    axes.set_yticks([0, 1, 3, 10, 30], ["0", "1", "3", "10", "30"])
    axes.legend(fontsize=8)
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as PNG and forget it."""
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run(main)

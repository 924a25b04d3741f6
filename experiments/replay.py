"""Which regions strategies would choose first, and what is in them; nothing is trained.

For each strategy of a config (see experiments/config.py) the first selection of a seed, from its
warm-up, is replayed from features that are measured once and kept in ``seed<N>/replay`` of --out.
Printed is a Markdown table: the number of regions that the budget pays for; the share of their
pixels that have no class (void); the share of the others whose region was predicted as their class;
how evenly the pixels are divided among classes, as the number of classes of equal shares that would
have the same entropy; and the share of pixels that the first of the strategies chooses as well.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import numpy as np

import train_ADA
from active_selection.density import DensityOptions
from active_selection.phases import phases_of, run_phases
from active_selection.region_table import RegionTable
from active_selection.rounds import Experiment
from active_selection.run_folder import RunFolder
from active_selection.schedule import budget_pixels
from active_selection.strategies import Candidates, needs_of
from dataloader.active_set import ActiveSet
from experiments.config import REPLAY, Config, add_config_arguments, config_of, restrict
from experiments.tables import header, row
from utils.errors import UserError, run
from utils.files import locked_folder
from utils.parser import SEED, Parser
from utils.stopping import STOP

OF_EACH = frozenset(
    ("active_method", "uncertainty", "alpha", "beta", "active_selection_size")
    + ("components", "covariance", "class_balance", "max_source_regions")
)
"""Flags in which strategies may differ; by all others, features or regions would be other ones."""


class Choice(NamedTuple):
    """What a strategy chose; shares are of pixels, in percent.

    Attributes:
        regions: (superpixel path, region id) -> pixels of each region chosen.
        void: share without a class.
        right: share of those with a class whose region was predicted as that class.
        classes: exp of the entropy of the classes' shares.
    """

    regions: dict[tuple[str, int], int]
    void: float
    right: float
    classes: float


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    add_config_arguments(result)
    seed_help = "seed whose warm-up selects (default: the config's first)"
    result.add_argument("--seed", type=SEED, help=seed_help)
    names_help = "strategies to replay (default: all in the config)"
    result.add_argument("--strategies", nargs="+", help=names_help)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    STOP.listen()
    config = config_of(args)
    seed = config.seeds[0] if args.seed is None else args.seed
    names = list(restrict(config, None, args.strategies).strategies)
    if not names:
        raise UserError(f"--strategies {args.strategies[0]}: a control; name a strategy as well")
    if not config.warmup(seed).is_done:
        raise UserError(f"{config.folder}: no warm-up of seed {seed} yet; run.py, or see --seed")
    folder = config.folder / f"seed{seed}" / REPLAY
    flags = {name: flags_of(config, seed, name, folder) for name in names}
    check_alike(flags)
    folder.mkdir(exist_ok=True)
    with locked_folder(folder, "--out"):
        replay(flags, folder)


def flags_of(config: Config, seed: int, name: str, folder: Path) -> Namespace:
    """Return the flags with which ``train_ADA.py`` runs a strategy, but for its folder."""
    flags = train_ADA.parser()
    argv = [*config.rounds(seed, name).command[1:], "-p", str(folder), "--keep_features"]
    args = flags.parse_args(argv)
    args.save_feat_dir = None  # of the run
    train_ADA.check_arguments(args)
    return train_ADA.complete(args, flags.given(argv))


def check_alike(flags: dict[str, Namespace]) -> None:
    """Raise a :class:`UserError` for strategies that cannot be replayed from the same features."""
    first = next(iter(flags))
    for name, args in flags.items():
        if args.active_mode == "scan":
            raise UserError(f"{name}: selects whole images; only regions are replayed")
        for flag, value in vars(args).items():
            if flag not in OF_EACH and value != getattr(flags[first], flag):
                raise UserError(
                    f"{name}: has another --{flag} than {first}; replay them one by one, see "
                    "--strategies"
                )


def replay(flags: dict[str, Namespace], folder: Path) -> None:
    """Measure the features once, and print a row for each strategy."""
    needs = needs_of(phase.strategy for args in flags.values() for phase in phases_of(args, 1, 0))
    if "discriminator" in needs:
        raise UserError("--strategies: AADA needs a discriminator, and cannot be replayed")
    first = next(iter(flags.values()))
    both = Namespace(**vars(first) | {"active_method": "density"})  # it needs both domains
    experiment = Experiment(both, RunFolder(both), 0)
    selector = experiment.selector()
    tables = selector.tables(0, needs_of(["density"]))
    candidates = selector.candidates(0, needs, *tables, experiment.active_set)
    columns = "regions", "void, %", "right, %", "classes", f"as {next(iter(flags))}, %"
    print(*header("strategy", *columns), sep="\n")
    base = None
    for name, args in flags.items():
        density = DensityOptions.from_args(args, experiment.source.info)
        of_this = replace(candidates, seed=args.seed, density=density)
        chosen = first_selection(of_this, args, experiment).labelled_regions
        choice = look_at(experiment.oracle.pixels_by_class(chosen), candidates.target)
        base = choice.regions if base is None else base
        shared = sum(pixels for region, pixels in choice.regions.items() if region in base)
        same = 100 * shared / max(1, sum(choice.regions.values()))
        shares = f"{choice.void:.1f}", f"{choice.right:.1f}", f"{choice.classes:.2f}"
        print(row(name, len(choice.regions), *shares, f"{same:.0f}"), flush=True)


def first_selection(candidates: Candidates, args: Namespace, experiment: Experiment) -> ActiveSet:
    """Return the active set after the first selection with some flags."""
    target, active = experiment.target, deepcopy(experiment.active_set)
    budget = budget_pixels(args.active_selection_size, target.pixels, len(target.items))
    with TemporaryDirectory() as folder:
        run_phases(phases_of(args, 1, budget), candidates, active, target, Path(folder), 0)
    return active


def look_at(counts: dict[tuple[str, int], np.ndarray], table: RegionTable) -> Choice:
    """Describe regions, with their (C + 1,) pixels by class, void last, in the target's table."""
    rows = zip(table.image.tolist(), table.region.tolist(), table.pseudo_class, strict=True)
    predicted = {(table.items[i].superpixel, region): c for i, region, c in rows}
    *of_classes, void = sum(counts.values(), np.zeros(table.prob.shape[1] + 1, np.int64))
    known = sum(of_classes)
    right = sum(int(pixels[predicted[region]]) for region, pixels in counts.items())
    shares = np.array(of_classes)[np.nonzero(of_classes)] / max(1, known)
    classes = float(np.exp(-(shares * np.log(shares)).sum())) if shares.size else 0.0
    regions = {region: int(pixels.sum()) for region, pixels in counts.items()}
    percent = 100 * void / max(1, known + void), 100 * right / max(1, known)
    return Choice(regions, *map(float, percent), classes)


if __name__ == "__main__":
    run(main, parser)

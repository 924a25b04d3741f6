"""Results of an experiment: mIoU by labelled share, and the classes of the labelled pixels.

Results are kept by seed in a JSON file, so that seeds may run on several machines: what one seed's
strategies have in common is their warm-up, which another machine's rounding makes another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.files import read_json

ROUNDS = ("labelled_percent", "labelled_regions", "mIoU", "validated_mIoU")  # of a run, as kept
REMOVE = "remove it, or choose another --to"


@dataclass(frozen=True)
class Rounds:
    """One run: (rounds + 1,) labelled percent, labelled regions and mIoU, the warm-up's first.

    ``validated`` are the mIoUs of all validations in a round's fine-tuning, (rounds, validations);
    a round's mIoU is the best of them. ``spent`` is class name -> percent of the labelled pixels.

    Raises:
        ValueError: arrays of other shapes, or values that are not finite.
    """

    percent: np.ndarray
    regions: np.ndarray
    miou: np.ndarray
    validated: np.ndarray
    spent: dict[str, float]

    def __post_init__(self) -> None:
        by_round = self.percent, self.regions, self.miou
        rounds = len(self.miou) - 1
        if {column.shape for column in by_round} != {(rounds + 1,)} or rounds < 1:
            raise ValueError("columns of unequal rounds")
        if self.validated.ndim != 2 or len(self.validated) != rounds or not self.validated.size:
            raise ValueError("validations of other rounds")
        if not all(np.isfinite(column).all() for column in (*by_round, self.validated)):
            raise ValueError("not finite")

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        columns = (self.percent, self.regions, self.miou, self.validated)
        kept = {name: column.tolist() for name, column in zip(ROUNDS, columns, strict=True)}
        return kept | {"labelled_pixels_by_class_percent": self.spent}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Rounds":
        """Return the run of which :meth:`plain` gave the values.

        Raises:
            KeyError, TypeError, ValueError: they are no such values.
        """
        shares = kept["labelled_pixels_by_class_percent"]
        spent = {str(name): float(share) for name, share in shares.items()}
        return cls(*(np.array(kept[name]) for name in ROUNDS), spent)


@dataclass(frozen=True)
class OfSeed:
    """One seed: mIoU of its warm-up and bound, and the runs of strategies and controls by name."""

    warmup: float
    bound: float
    runs: dict[str, Rounds]

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        runs = {name: run.plain() for name, run in self.runs.items()}
        return {"warmup": self.warmup, "bound": self.bound, "runs": runs}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "OfSeed":
        """Return the seed of which :meth:`plain` gave the values; raises as :meth:`Rounds.of`."""
        runs = {name: Rounds.of(run) for name, run in kept["runs"].items()}
        return cls(float(kept["warmup"]), float(kept["bound"]), runs)


@dataclass(frozen=True)
class Curve:
    """One strategy: (seeds, rounds + 1) labelled percent, labelled regions and mIoU.

    ``seeds`` are those for which it is done; ``validated`` is (seeds, rounds, validations).
    """

    seeds: list[int]
    percent: np.ndarray
    regions: np.ndarray
    miou: np.ndarray
    validated: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(seeds,) mean mIoU of all rounds except the first, which is the warm-up's."""
        return self.miou[:, 1:].mean(1)


@dataclass(frozen=True)
class Results:
    """Results of the strategies and controls that are done, each for one seed at least.

    ``spent`` is strategy -> class name -> percent of its labelled pixels, mean over its seeds;
    "all" is the whole target.
    """

    seeds: list[int]
    warmup: np.ndarray
    bound: np.ndarray
    curves: dict[str, Curve]
    controls: dict[str, Curve]
    spent: dict[str, dict[str, float]]


def results_of(
    seeds: Mapping[int, OfSeed],
    strategies: Iterable[str],
    controls: Iterable[str],
    target: dict[str, float],
) -> Results:
    """Gather the named strategies and controls, those that are done, over seeds.

    Args:
        target: percentage of each class in the whole target.

    Raises:
        UserError: no strategy is done, or runs have unequal rounds or validations.
    """
    runs, of_controls = (
        {name: {s: each.runs[name] for s, each in seeds.items() if name in each.runs} for name in n}
        for n in (strategies, controls)
    )
    curves, controls = (
        {name: _curve(name, by_seed) for name, by_seed in group.items() if by_seed}
        for group in (runs, of_controls)
    )
    if not curves:
        raise UserError(
            "no strategy (beside controls) is done; run.py, or see --seeds and --strategies"
        )
    if len({curve.miou.shape[1] for curve in [*curves.values(), *controls.values()]}) > 1:
        raise UserError("strategies of unequal rounds; see --strategies")
    spent = {name: _mean_shares([run.spent for run in runs[name].values()]) for name in curves}
    ends = (np.array([getattr(s, k) for s in seeds.values()]) for k in ("warmup", "bound"))
    return Results(list(seeds), *ends, curves, controls, spent | {"all": target})


def _curve(name: str, runs: Mapping[int, Rounds]) -> Curve:
    """Stack the runs of a strategy."""
    columns = [(run.percent, run.regions, run.miou, run.validated) for run in runs.values()]
    if len({validated.shape for *_, validated in columns}) > 1:
        raise UserError(f"{name}: seeds of unequal rounds or validations; see --seeds")
    return Curve(list(runs), *map(np.array, zip(*columns, strict=True)))


def _mean_shares(shares: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in shares for name in each)
    return {name: sum(each.get(name, 0) for each in shares) / len(shares) for name in names}


def join(kept: dict[int, OfSeed], found: dict[int, OfSeed], path: Path) -> dict[int, OfSeed]:
    """Add what was found in folders to what the file ``path`` keeps; what was found is newer.

    Raises:
        UserError: a seed's warm-up is another one in the file.
    """
    joined = kept | found
    for seed in kept.keys() & found.keys():
        here, there = found[seed], kept[seed]
        if here.warmup != there.warmup:
            raise UserError(
                f"{path}: its warm-up of seed {seed} came to {there.warmup}, the present one to "
                f"{here.warmup} (perhaps on another machine); choose another seed, or --to"
            )
        joined[seed] = OfSeed(here.warmup, here.bound, there.runs | here.runs)
    return dict(sorted(joined.items()))


def read_kept(path: Path, settings: dict[str, Any]) -> tuple[dict[int, OfSeed], dict[str, float]]:
    """Read the results that an earlier call wrote, if any, as ``run_results.collect`` returns them.

    Raises:
        UserError: the file is damaged, or holds results of other settings.
    """
    if not path.is_file():
        return {}, {}
    value = read_json(path, "choose another --to")
    try:
        seeds = {int(seed): OfSeed.of(kept) for seed, kept in value["seeds"].items()}
        target = {str(name): float(share) for name, share in value["target"].items()}
        before = value["config"]
        names = dict.fromkeys(name for each in seeds.values() for name in each.runs)
        other = _differing(before, settings, names)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: holds no results; {REMOVE}") from error
    if other:
        raise UserError(f"{path}: holds results of other {other}; {REMOVE}")
    return seeds, target


def _differing(before: dict[str, Any], now: dict[str, Any], names: Iterable[str]) -> str | None:
    """Name what two configs have different of what some runs were made with, if anything."""
    for key in ("prepare", "network", "warmup", "bound", "rounds"):
        if before[key] != now[key]:
            return f'"{key}"'
    flags, now_flags = (each["strategies"] | each.get("controls", {}) for each in (before, now))
    return next((f"flags of {name}" for name in names if flags[name] != now_flags.get(name)), None)


def plain(
    seeds: Mapping[int, OfSeed], settings: dict[str, Any], target: dict[str, float]
) -> dict[str, Any]:
    """Return what :func:`read_kept` reads."""
    kept = {str(seed): each.plain() for seed, each in seeds.items()}
    return {"config": settings, "target": target, "seeds": kept}


def of_seeds(values: np.ndarray, seeds: list[int], chosen: list[int]) -> np.ndarray | None:
    """Return the rows of some seeds from an array with a row for each of ``seeds``, or None."""
    if not set(chosen) <= set(seeds):
        return None
    return values[[seeds.index(seed) for seed in chosen]]


def deviation(values: np.ndarray) -> np.ndarray:
    """Return the sample's standard deviation along the first axis; 0 for a single value."""
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def spread(values: np.ndarray) -> str:
    """Format "mean ± standard deviation" of a sample (n,)."""
    more = f" ± {deviation(values):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{more}"


def difference(values: np.ndarray) -> str:
    """Format "mean ± standard error of the mean" of differences (n,), with a sign."""
    more = f" ± {deviation(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{more}"

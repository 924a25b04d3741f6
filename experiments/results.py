"""Results of an experiment: mIoU by labelled share, and the classes of the labelled pixels.

Results are kept by seed in a JSON file, so that seeds may run on several machines. The strategies
of one seed start from one warm-up, and on another machine rounding makes that another one: so all
runs of a seed belong to one machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import SHARED
from utils.errors import UserError
from utils.files import read_json
from utils.parser import MAX_SEED

ROUNDS = ("labelled_percent", "labelled_regions", "mIoU", "validated_mIoU")  # of a run, as kept
SPENT = "labelled_pixels_by_class_percent"
ROUNDING = 0.006  # of figures with two decimals

Flags = dict[str, list[str]]
Shares = dict[str, float]
"""Name of a class -> percent of pixels."""


@dataclass(frozen=True)
class Rounds:
    """One run: (rounds + 1,) labelled percent, labelled regions and mIoU, the warm-up's first.

    ``validated`` are the mIoUs of all validations in a round's fine-tuning, (rounds, validations);
    a round's mIoU is the best of them. ``spent`` are the classes of the labelled pixels; empty
    where they are not known. ``flags`` are those of the strategy alone.

    Raises:
        ValueError: arrays of other shapes, or that cannot be right.
    """

    flags: list[str]
    percent: np.ndarray
    regions: np.ndarray
    miou: np.ndarray
    validated: np.ndarray
    spent: Shares

    def __post_init__(self) -> None:
        rounds = len(self.miou) - 1
        columns = {each.shape for each in (self.percent, self.regions, self.miou)}
        if columns != {(rounds + 1,)} or rounds < 1:
            raise ValueError("columns of unequal rounds")
        if self.validated.ndim != 2 or len(self.validated) != rounds or not self.validated.size:
            raise ValueError("validations of other rounds")
        if not np.allclose(self.validated.max(1), self.miou[1:], rtol=0, atol=ROUNDING):
            raise ValueError("a round's mIoU is not that of its best validation")

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        columns = (self.percent, self.regions, self.miou, self.validated)
        kept = {name: column.tolist() for name, column in zip(ROUNDS, columns, strict=True)}
        return {"flags": self.flags, **kept, SPENT: self.spent}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Rounds":
        """Return the run of which :meth:`plain` gave the values.

        Raises:
            KeyError, TypeError, ValueError: they are no such values.
        """
        highest = (100, np.inf, 100, 100)
        columns = [numbers(kept[name], high) for name, high in zip(ROUNDS, highest, strict=True)]
        return cls(_words(kept["flags"]), *columns, shares_of(kept[SPENT]))


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
        runs = {str(name): Rounds.of(run) for name, run in kept["runs"].items()}
        warmup, bound = (float(numbers(kept[name])) for name in ("warmup", "bound"))
        if any(abs(run.miou[0] - warmup) > ROUNDING for run in runs.values()):
            raise ValueError("a run from another warm-up")
        return cls(warmup, bound, runs)


@dataclass(frozen=True)
class Kept:
    """What is kept of an experiment, and where it is from.

    Attributes:
        flags: words of the config's "network", "warmup", "bound" and "rounds".
        target: classes of all pixels of the target; empty where they are not known.
        seeds: results by seed.
        where: file or folder, for messages.
    """

    flags: Flags
    target: Shares
    seeds: dict[int, OfSeed]
    where: Path

    def plain(self) -> dict[str, Any]:
        """Return what :func:`read_kept` reads."""
        seeds = {str(seed): each.plain() for seed, each in sorted(self.seeds.items())}
        return {"flags": self.flags, "target": self.target, "seeds": seeds}

    def joined(self, other: "Kept") -> "Kept":
        """Return both; runs that both have are those of ``other``.

        Raises:
            UserError: they do not belong to one experiment, or a seed has two warm-ups or bounds.
        """
        than = f"than {self.where}; {APART}"
        for key, words in self.flags.items():
            if other.flags[key] != words:
                raise UserError(f'{other.where}: results of other "{key}" {than}')
        if self.target and other.target and self.target != other.target:
            raise UserError(f"{other.where}: results of another target {than}")
        seeds = self.seeds | other.seeds
        for seed in self.seeds.keys() & other.seeds.keys():
            ours, theirs = self.seeds[seed], other.seeds[seed]
            for name in ("warmup", "bound"):
                values = getattr(ours, name), getattr(theirs, name)
                if values[0] != values[1]:
                    raise UserError(
                        f"{other.where}: {name} of seed {seed} came to {values[1]:.6g} mIoU, in "
                        f"{self.where} to {values[0]:.6g}, as it does on another machine; run one "
                        "of them with another seed"
                    )
            for name, run in theirs.runs.items():
                if name in ours.runs and ours.runs[name].flags != run.flags:
                    raise UserError(f"{other.where}: {name} of seed {seed} has other flags {than}")
            seeds[seed] = OfSeed(theirs.warmup, theirs.bound, ours.runs | theirs.runs)
        where = self.where if self.seeds else other.where
        return Kept(self.flags, self.target or other.target, seeds, where)


APART = "choose another --to, to keep them apart"


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

    Attributes:
        seeds: all seeds, with the (seeds,) mIoU of their bounds.
        curves, controls: by name.
        spent: strategy -> seeds for which it is known what their labels were spent on, and the
            mean over these of the classes' shares.
        target: shares of the classes in the whole target.
    """

    seeds: list[int]
    bound: np.ndarray
    curves: dict[str, Curve]
    controls: dict[str, Curve]
    spent: dict[str, tuple[list[int], Shares]]
    target: Shares


def results_of(
    seeds: Mapping[int, OfSeed], strategies: Flags, controls: Flags, target: Shares
) -> Results:
    """Gather strategies and controls, name -> flags, over seeds.

    Raises:
        UserError: no strategy is done, runs have other flags than these, or they have unequal
            rounds or validations.
    """
    runs = {
        name: {seed: each.runs[name] for seed, each in seeds.items() if name in each.runs}
        for name in strategies | controls
    }
    for name, flags in (strategies | controls).items():
        for seed, run in runs[name].items():
            if run.flags != flags:
                words = " ".join(run.flags)
                raise UserError(f"{name} of seed {seed} ran with other flags, {words}; {APART}")
    done = {name: by_seed for name, by_seed in runs.items() if by_seed}
    if strategies.keys().isdisjoint(done):
        raise UserError(
            "no strategy (beside controls) is done; run.py, or see --seeds and --strategies"
        )
    if len({run.validated.shape for by_seed in done.values() for run in by_seed.values()}) > 1:
        raise UserError("runs of unequal rounds or validations; see --seeds and --strategies")
    curves = {name: _curve(by_seed) for name, by_seed in done.items()}
    return Results(
        list(seeds),
        np.array([each.bound for each in seeds.values()]),
        {name: curves[name] for name in strategies if name in curves},
        {name: curves[name] for name in controls if name in curves},
        {name: spent for name in strategies if name in done and (spent := _spent(done[name]))},
        target,
    )


def _curve(runs: Mapping[int, Rounds]) -> Curve:
    """Stack the runs of a strategy."""
    columns = [(run.percent, run.regions, run.miou, run.validated) for run in runs.values()]
    return Curve(list(runs), *map(np.array, zip(*columns, strict=True)))


def _spent(runs: Mapping[int, Rounds]) -> tuple[list[int], Shares] | None:
    """Return the seeds for which it is known, and the mean shares; None if there are none."""
    known = {seed: run.spent for seed, run in runs.items() if run.spent}
    names = dict.fromkeys(name for shares in known.values() for name in shares)
    mean = {n: sum(each.get(n, 0) for each in known.values()) / len(known) for n in names}
    return (list(known), mean) if known else None


def read_kept(path: Path) -> Kept:
    """Read the results that an earlier call wrote.

    Raises:
        UserError: the file is damaged, or holds no results.
    """
    value = read_json(path, "choose another --to")
    try:
        seeds = {seed_of(name): OfSeed.of(kept) for name, kept in value["seeds"].items()}
        flags = {key: _words(value["flags"][key]) for key in SHARED}
        return Kept(flags, shares_of(value["target"]), seeds, path)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: holds no results; choose another --to") from error


def numbers(values: Any, highest: float = 100) -> np.ndarray:
    """Return numbers from 0 to ``highest`` as an array; raises ValueError for anything else."""
    array = np.array(values)
    if array.dtype.kind not in "if" or not ((array >= 0) & (array <= highest)).all():
        raise ValueError(f"no numbers from 0 to {highest}")
    if not np.isfinite(array).all():
        raise ValueError("not finite")
    return array


def shares_of(kept: Mapping[str, Any]) -> Shares:
    """Return shares that add up to 100 %, or none; raises ValueError for anything else."""
    shares = {str(name): float(numbers(share)) for name, share in kept.items()}
    if shares and abs(sum(shares.values()) - 100) > 0.5:
        raise ValueError("shares do not add up to 100 %")
    return shares


def seed_of(name: str) -> int:
    """Return a seed from its name in JSON; raises ValueError for anything else."""
    seed = int(name)
    if str(seed) != name or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} is no seed")
    return seed


def _words(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise TypeError("no list of words")
    return value


def of_seeds(values: np.ndarray, seeds: list[int], chosen: list[int]) -> np.ndarray | None:
    """Return the rows of some seeds from an array with a row for each of ``seeds``, or None."""
    if not set(chosen) <= set(seeds):
        return None
    return values[[seeds.index(seed) for seed in chosen]]

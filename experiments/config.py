"""The config of an experiment: strategies x seeds on one task, with one warm-up per seed.

A config is JSON with these keys; commands and flags are strings or lists of strings:

``prepare``
    Commands that prepare the data, without ``python``; they run each time.
``network``, ``warmup``, ``bound``, ``rounds``
    Flags of all commands, of the warm-up, of the fully supervised upper bound (which starts from
    the warm-up), and of the rounds of all strategies.
``seeds``
    Whole numbers.
``strategies``
    Name -> flags of ``train_ADA.py``.
``controls`` (optional)
    Name -> flags of control runs, which appear in the tables but not in the figures.
``like`` (optional)
    Another config in the same folder, which supplies the keys that are missing here.

``{data}`` in a flag stands for the folder given by ``--data``.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json, write_json
from utils.parser import MAX_SEED, SEED, Parser

BOUND, WARMUP, REPLAY = "bound", "warmup", "replay"
SHARED = ("network", WARMUP, BOUND, "rounds")  # keys of flags that all strategies share
NOTE = "run.json"  # in the folder of a run: its commands, and if it is done
HELP = "see experiments/config.py"


@dataclass(frozen=True)
class Run:
    """The run of a script: its command, without ``python`` and ``-p``, and its results folder.

    ``after`` is the run from whose checkpoint it starts, if any.
    """

    command: tuple[str, ...]
    folder: Path
    after: "Run | None" = None

    @property
    def commands(self) -> list[list[str]]:
        """The command of this run, after those of the runs that it starts from."""
        return [*(self.after.commands if self.after else ()), list(self.command)]

    @property
    def is_done(self) -> bool:
        """True if this run, with these commands (without ``prepare``), is done.

        Raises:
            UserError: the folder holds another run.
        """
        path = self.folder / NOTE
        if not path.is_file():
            return False
        note = read_json(path, "remove its folder")
        if not isinstance(note, dict) or note.get("commands") != self.commands:
            raise UserError(
                f"{self.folder}: holds a run with other flags, or from another warm-up; "
                "remove it, or choose another --out"
            )
        return note.get("done") is True

    def write_note(self, done: bool) -> None:
        """Record in the folder that the run has begun, or that it is done."""
        write_json(self.folder / NOTE, {"commands": self.commands, "done": done}, indent=1)


@dataclass(frozen=True)
class Config:
    """The config of an experiment, see the module's docstring; results go below ``folder``.

    ``{data}`` stands in ``flags``, ``strategies`` and ``controls`` as it does in the file.
    """

    name: str
    folder: Path
    data: Path
    prepare: list[list[str]]
    flags: dict[str, list[str]]
    seeds: list[int]
    strategies: dict[str, list[str]]
    controls: dict[str, list[str]]

    def warmup(self, seed: int) -> Run:
        """Return the warm-up of a seed."""
        return self._run(seed, WARMUP, "warmup.py", self.flags["warmup"], None)

    def bound(self, seed: int) -> Run:
        """Return a seed's training on all target labels."""
        return self._run(seed, BOUND, "warmup.py", self.flags["bound"], self.warmup(seed))

    def rounds(self, seed: int, strategy: str) -> Run:
        """Return a seed's rounds of a strategy or control."""
        flags = self.flags["rounds"] + (self.strategies | self.controls)[strategy]
        return self._run(seed, strategy, "train_ADA.py", flags, self.warmup(seed))

    def runs(self) -> Iterator[Run]:
        """Yield all runs: warm-ups first, then seed by seed."""
        yield from map(self.warmup, self.seeds)
        for seed in self.seeds:
            yield self.bound(seed)
            yield from (self.rounds(seed, name) for name in self.strategies | self.controls)

    def _run(self, seed: int, name: str, script: str, flags: list[str], after: Run | None) -> Run:
        start = ["--init_checkpoint", str(after.folder / "checkpoint.tar")] if after else []
        words = _placed([*self.flags["network"], *flags], self.data)
        command = [script, *words, *start, "--seed", str(seed)]
        return Run(tuple(command), self.folder / f"seed{seed}" / name, after)


def add_config_arguments(result: Parser) -> None:
    """Add the flags that choose the experiment, its data and its folder."""
    result.add_argument("--config", type=Path, required=True, help="config of the experiment, JSON")
    data_help = "folder that replaces {data} in the config"
    result.add_argument("--data", type=Path, required=True, help=data_help)
    result.add_argument("--out", type=Path, help="folder for results (default: exp/<config>)")


def add_choice_arguments(result: Parser, verb: str, condition: str = "in the config") -> None:
    """Add the flags of :func:`restrict`, to ``verb`` the seeds and strategies that they name."""
    for name, kind in (("seeds", SEED), ("strategies", str)):
        text = f"{name} to {verb} (default: all {condition})"
        result.add_argument(f"--{name}", type=kind, nargs="+", help=text)


def config_of(args: Namespace) -> Config:
    """Return the config that the flags of :func:`add_config_arguments` name."""
    folder = args.out or Path("exp") / args.config.stem
    return read_config(args.config, args.data.absolute(), folder.absolute())


def read_settings(path: Path) -> dict[str, Any]:
    """Read the keys of a config, including those taken from the config in ``like``."""
    value = read_json(path, HELP)
    like = value.pop("like", None)
    return read_json(path.parent / like, HELP) | value if like else value


def read_config(path: Path, data: Path, folder: Path) -> Config:
    """Read a config.

    Args:
        path: the JSON file.
        data: the folder that replaces ``{data}``.
        folder: folder for the results.

    Raises:
        UserError: the file cannot be read, or a key is missing or not valid.
    """
    try:
        value = read_settings(path)
        config = Config(
            name=path.stem,
            folder=folder,
            data=data,
            prepare=[_placed(_words(command), data) for command in list(value["prepare"])],
            flags={key: _words(value[key]) for key in SHARED},
            seeds=list(value["seeds"]),
            strategies={name: _words(f) for name, f in value["strategies"].items()},
            controls={name: _words(f) for name, f in value.get("controls", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no experiment ({error!r}); {HELP}") from error
    if not all(command and Path(command[0]).suffix == ".py" for command in config.prepare):
        raise UserError(f'{path}: "prepare" is a list of commands of Python scripts; {HELP}')
    numbers = {seed for seed in config.seeds if type(seed) is int and 0 <= seed <= MAX_SEED}
    if not numbers or len(numbers) < len(config.seeds):
        raise UserError(f'{path}: "seeds" is a list of different whole numbers below 2^32; {HELP}')
    for name in [*config.strategies, *config.controls]:
        if name in (BOUND, WARMUP, REPLAY, "", "..") or Path(name).name != name:
            raise UserError(f"{path}: {name!r} cannot be a strategy's name; choose another")
    return config


def restrict(config: Config, seeds: list[int] | None, strategies: list[str] | None) -> Config:
    """Restrict a config to some of its seeds, strategies and controls, if any are named.

    Raises:
        UserError: the config has no such seed or strategy.
    """
    for name in strategies or ():
        if name not in config.strategies | config.controls:
            raise UserError(f"--strategies {name}: not in the config")
    for seed in seeds or ():
        if seed not in config.seeds:
            raise UserError(f"--seeds {seed}: not in the config")
    chosen, controls = (
        {name: flags for name, flags in group.items() if not strategies or name in strategies}
        for group in (config.strategies, config.controls)
    )
    numbers = list(dict.fromkeys(seeds or config.seeds))
    return replace(config, seeds=numbers, strategies=chosen, controls=controls)


def _placed(words: list[str], data: Path) -> list[str]:
    """Insert the folder of the data."""
    return [word.replace("{data}", str(data)) for word in words]


def _words(text: Any) -> list[str]:
    """Split a command line, or a list of its lines, into words."""
    lines = [text] if isinstance(text, str) else list(text)
    if not all(isinstance(line, str) for line in lines):  # None would have shlex read stdin
        raise TypeError(f"{text!r} is not a command line")
    return [word for line in lines for word in shlex.split(line)]

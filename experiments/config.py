"""What an experiment is: one task, and strategies x seeds on it, each seed from one warm-up.

A config is JSON with these keys, commands and flags being strings or lists of strings:

``prepare``
    Commands that make the data ready, without ``python``, run each time.
``network``, ``warmup``, ``bound``, ``rounds``
    Flags of all commands, of the warm-up, of the fully supervised bound (which starts from the
    warm-up) and of all strategies' rounds.
``seeds``
    Whole numbers.
``strategies``
    Name -> flags of ``train_ADA.py``.
``controls`` (may be left out)
    The same; run as the strategies are and in the tables with them, but not drawn.
``like`` (may be left out)
    Another config beside it, which keys that are not given here are taken from.

``{data}`` in a flag stands for the folder given by ``--data``.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.common import Parser
from utils.errors import UserError
from utils.files import read_json, write_json

BOUND, WARMUP = "bound", "warmup"
NOTE = "run.json"  # in a run's folder: which run it holds, and whether it has come to its end
HELP = "see experiments/config.py"


@dataclass(frozen=True)
class Run:
    """One script's run: its command, without ``python`` and ``-p``, and the folder of its results.

    ``after`` is the run whose checkpoint it starts from, if any.
    """

    command: tuple[str, ...]
    folder: Path
    after: "Run | None" = None

    @property
    def commands(self) -> list[list[str]]:
        """Its command, after those of what it starts from."""
        return [*(self.after.commands if self.after else ()), list(self.command)]

    @property
    def is_done(self) -> bool:
        """Whether this run, by these commands, has come to its end (``prepare``'s do not count).

        Raises:
            UserError: its folder holds another.
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
        """Note in its folder that it has begun there, or come to its end."""
        write_json(self.folder / NOTE, {"commands": self.commands, "done": done}, indent=1)


@dataclass(frozen=True)
class Config:
    """An experiment's config; see the module's docstring. Results go below ``folder``."""

    name: str
    folder: Path
    prepare: list[list[str]]
    flags: dict[str, list[str]]
    seeds: list[int]
    strategies: dict[str, list[str]]
    controls: dict[str, list[str]]

    def warmup(self, seed: int) -> Run:
        """A seed's warm-up."""
        return self._run(seed, WARMUP, "warmup.py", self.flags["warmup"], None)

    def bound(self, seed: int) -> Run:
        """A seed's training on every label of the target."""
        return self._run(seed, BOUND, "warmup.py", self.flags["bound"], self.warmup(seed))

    def rounds(self, seed: int, strategy: str) -> Run:
        """A seed's rounds of a strategy or control."""
        flags = self.flags["rounds"] + (self.strategies | self.controls)[strategy]
        return self._run(seed, strategy, "train_ADA.py", flags, self.warmup(seed))

    def runs(self) -> Iterator[Run]:
        """All runs, warm-ups first, then seed by seed."""
        yield from map(self.warmup, self.seeds)
        for seed in self.seeds:
            yield self.bound(seed)
            yield from (self.rounds(seed, name) for name in self.strategies | self.controls)

    def _run(self, seed: int, name: str, script: str, flags: list[str], after: Run | None) -> Run:
        start = ["--init_checkpoint", str(after.folder / "checkpoint.tar")] if after else []
        command = [script, *self.flags["network"], *flags, *start, "--seed", str(seed)]
        return Run(tuple(command), self.folder / f"seed{seed}" / name, after)


def add_config_arguments(result: Parser) -> None:
    """Which experiment, on which data."""
    result.add_argument("--config", type=Path, required=True, help="a JSON file")
    result.add_argument("--data", type=Path, required=True, help="what {data} in it stands for")
    result.add_argument("--out", type=Path, help="results (default: exp/<config>)")


def config_of(args: Namespace) -> Config:
    """The config that the flags of :func:`add_config_arguments` name."""
    folder = args.out or Path("exp") / args.config.stem
    return read_config(args.config, args.data.absolute(), folder.absolute())


def read_settings(path: Path) -> dict[str, Any]:
    """What a config's file says, together with what it takes from another."""
    value = read_json(path, HELP)
    like = value.pop("like", None)
    return read_json(path.parent / like, HELP) | value if like else value


def read_config(path: Path, data: Path, folder: Path) -> Config:
    """Read a config.

    Args:
        path: of the JSON file.
        data: what ``{data}`` stands for.
        folder: of the results.

    Raises:
        UserError: the file cannot be read, or a key is missing or makes no sense.
    """
    try:
        value = read_settings(path)
        config = Config(
            name=path.stem,
            folder=folder,
            prepare=[_words(command, data) for command in list(value["prepare"])],
            flags={k: _words(value[k], data) for k in ("network", "warmup", "bound", "rounds")},
            seeds=list(value["seeds"]),
            strategies={name: _words(f, data) for name, f in value["strategies"].items()},
            controls={name: _words(f, data) for name, f in value.get("controls", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no experiment ({error!r}); {HELP}") from error
    if not all(command and Path(command[0]).suffix == ".py" for command in config.prepare):
        raise UserError(f'{path}: "prepare" is a list of commands of Python scripts; {HELP}')
    numbers = {seed for seed in config.seeds if type(seed) is int and 0 <= seed < 2**32}
    if not numbers or len(numbers) < len(config.seeds):
        raise UserError(f'{path}: "seeds" is a list of different whole numbers below 2^32; {HELP}')
    for name in [*config.strategies, *config.controls]:
        if name in (BOUND, WARMUP, "", "..") or Path(name).name != name:
            raise UserError(f"{path}: {name!r} cannot be a strategy's name; choose another")
    return config


def _words(text: Any, data: Path) -> list[str]:
    """The words of a command line, or of one in several lines."""
    lines = [text] if isinstance(text, str) else list(text)
    if not all(isinstance(line, str) for line in lines):  # None would have shlex read stdin
        raise TypeError(f"{text!r} is not a command line")
    return [word.replace("{data}", str(data)) for line in lines for word in shlex.split(line)]

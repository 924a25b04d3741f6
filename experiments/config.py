"""What an experiment is: one task, and strategies x seeds on it, each seed from one warm-up.

A config is JSON with these keys, commands and flags being strings or lists of strings:

``prepare``
    Commands that make the data ready, without ``python``; they do nothing where it is.
``network``, ``warmup``, ``bound``, ``rounds``
    Flags of all commands, of the warm-up, of the fully supervised bound (which starts from the
    warm-up) and of all strategies' rounds.
``seeds``
    Whole numbers.
``strategies``
    Name -> flags of ``train_ADA.py``.

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
from utils.files import read_json

BOUND, WARMUP = "bound", "warmup"
DONE = "done.json"  # in a run's folder: the command that came to its end


@dataclass(frozen=True)
class Run:
    """One script's run: its command, without ``python`` and ``-p``, and the folder of its results.

    ``after`` is the run whose checkpoint it starts from, if any.
    """

    command: tuple[str, ...]
    folder: Path
    after: "Run | None" = None


@dataclass(frozen=True)
class Config:
    """An experiment's config; see the module's docstring. Results go below ``folder``."""

    name: str
    folder: Path
    prepare: list[list[str]]
    flags: dict[str, list[str]]
    seeds: list[int]
    strategies: dict[str, list[str]]

    def seed_folder(self, seed: int) -> Path:
        """Where a seed's runs lie."""
        return self.folder / f"seed{seed}"

    def runs(self) -> Iterator[Run]:
        """All runs, warm-ups first, then seed by seed."""
        warmups = {
            seed: self._run(seed, WARMUP, "warmup.py", self.flags["warmup"]) for seed in self.seeds
        }
        yield from warmups.values()
        for seed, warmup in warmups.items():
            start = ["--init_checkpoint", str(warmup.folder / "checkpoint.tar")]
            yield self._run(seed, BOUND, "warmup.py", self.flags["bound"] + start, warmup)
            for name, flags in self.strategies.items():
                flags = self.flags["rounds"] + flags + start
                yield self._run(seed, name, "train_ADA.py", flags, warmup)

    def _run(
        self, seed: int, name: str, script: str, flags: list[str], after: Run | None = None
    ) -> Run:
        command = [script, *self.flags["network"], *flags, "--seed", str(seed)]
        return Run(tuple(command), self.seed_folder(seed) / name, after)


def add_config_arguments(result: Parser) -> None:
    """Which experiment, on which data."""
    result.add_argument("--config", type=Path, required=True, help="a JSON file")
    result.add_argument("--data", type=Path, required=True, help="what {data} in it stands for")
    result.add_argument("--out", type=Path, help="results (default: exp/<config>)")


def config_of(args: Namespace) -> Config:
    """The config that the flags of :func:`add_config_arguments` name."""
    folder = args.out or Path("exp") / args.config.stem
    return read_config(args.config, args.data.absolute(), folder.absolute())


def read_config(path: Path, data: Path, folder: Path) -> Config:
    """Read a config.

    Args:
        path: of the JSON file.
        data: what ``{data}`` stands for.
        folder: of the results.

    Raises:
        UserError: the file cannot be read, or a key is missing or of the wrong kind.
    """
    value = read_json(path, "see experiments/config.py")
    try:
        return Config(
            name=path.stem,
            folder=folder,
            prepare=[_words(command, data) for command in value["prepare"]],
            flags={k: _words(value[k], data) for k in ("network", "warmup", "bound", "rounds")},
            seeds=[int(seed) for seed in value["seeds"]],
            strategies={name: _words(f, data) for name, f in value["strategies"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no experiment ({error!r}); see experiments/config.py") from error


def _words(text: Any, data: Path) -> list[str]:
    lines = [text] if isinstance(text, str) else text
    return [word.replace("{data}", str(data)) for line in lines for word in shlex.split(line)]

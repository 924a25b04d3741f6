"""The command line: a parser that reads config files and fails with one line; types of flags."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from utils.config_file import command_words, own_table, read_config, scripts_with, write_config
from utils.errors import UserError

CONFIG_HELP = (
    "TOML file with flags of this script and the others (docs/pipeline.md); a flag of the command "
    "line counts more, and paths are relative to the working directory, as on the command line"
)
LONG_WORD = re.compile(r"(\S{40})\S{160,}")
"""A bad value of which an error line repeats the beginning alone."""
EMPTY = re.compile(r"--\w+=")
HOME = re.compile(r"(^|=)~(?=/|$)")
"""The home folder where a shell does not expand it: ``--flag=~/data``, or in a config file."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of every flag that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _Unset(list):
    """Stands for the value of a flag that is not given, also of one that collects values."""


class _Switch(argparse.BooleanOptionalAction):
    """A flag without a value that ``--no-...`` takes back, where a config file sets it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, **{"default": False} | options)


def process_count() -> int:
    """Return the number of processes that torchrun has started; without it, 1.

    Raises:
        UserError: the environment variable WORLD_SIZE is no such number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(
            f"WORLD_SIZE={text}: torchrun sets this environment variable to the number of its "
            "processes; unset it"
        )
    return int(text)


def started_by_torchrun() -> bool:
    """Return whether torchrun has set the environment variables of processes, and not the user."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def check_rank_variables() -> None:
    """Check the variables beside WORLD_SIZE that processes need to find each other.

    Raises:
        UserError: names the first that is missing or wrong; WORLD_SIZE is often left over from
            another job.
    """
    size = process_count()
    wanted = {"RANK": size - 1, "LOCAL_RANK": size - 1, "MASTER_ADDR": None, "MASTER_PORT": 65535}
    for name, most in wanted.items():
        value = os.environ.get(name, "0" if name == "LOCAL_RANK" else "")
        if not value or (most is not None and not (value.isdecimal() and int(value) <= most)):
            raise UserError(
                f"WORLD_SIZE={size}, but {name} is {value or 'not set'}: start {size} processes "
                "with torchrun or, for a single one, unset WORLD_SIZE"
            )


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults in ``--help`` and fails with one line.

    Args:
        description: for ``--help``.
        script: name of the script in config files (:mod:`utils.config_file`); adds ``--config``.
        options: of :class:`argparse.ArgumentParser`.
    """

    def __init__(self, description: str, script: str | None = None, **options: Any):
        super().__init__(description=description, formatter_class=_Formatter, **options)
        self.script = script
        if script:
            self.register("action", "store_true", _Switch)
            self.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the flags of the config file, if --config names one, and then the command line.

        Raises:
            UserError: a flag or the config file cannot be used, or torchrun has started several
                processes of a script that has no use for them.
        """
        self._check_single()
        return super().parse_known_args(self._with_config(args), namespace)

    def _check_single(self) -> None:
        """Refuse torchrun for scripts without the flags of :func:`add_rank_arguments`."""
        flags = self._option_string_actions
        if "--dist_timeout" in flags or "RANK" not in os.environ or process_count() == 1:
            return
        divide = "; to divide images over machines, see --shard" if "--shard" in flags else ""
        remedy = "start it with python instead"
        if not started_by_torchrun():
            remedy = f"unset WORLD_SIZE, which is {process_count()}"
        raise UserError(f"torchrun: {self.prog} is a single process; {remedy}{divide}")

    def typed(self, argv: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the flags that the command line itself sets, name -> value."""
        argv = _words(argv)
        unset = _Unset()
        required = [action for action in self._actions if action.required]
        namespace = argparse.Namespace(**{action.dest: unset for action in self._actions})
        for action in required:
            action.required = False
        try:
            super().parse_known_args(argv, namespace)
        finally:
            for action in required:
                action.required = True
        return {name: value for name, value in vars(namespace).items() if value is not unset}

    def meant(self, argv: Sequence[str] | None = None) -> set[str]:
        """Return the names of the flags that are set for this script and no other.

        By the command line, or by the script's own table in the config file.
        """
        typed = self.typed(argv)
        return {*typed, *(own_table(typed["config"], self.script) if "config" in typed else ())}

    def given(self, argv: Sequence[str] | None = None) -> set[str]:
        """Return the names of the flags that the command line or the config file sets."""
        return set(self.typed(self._with_config(argv)))

    def _with_config(self, argv: Sequence[str] | None) -> list[str]:
        """Return the command line, before it the flags that only the config file sets."""
        argv = _words(argv)
        typed = self.typed(argv) if self.script and not {"-h", "--help"} & {*argv} else {}
        if "config" not in typed:
            return argv
        path, action_of = typed["config"], {action.dest: action for action in self._actions}
        words = {}
        values = read_config(path, self.script)
        try:
            for name, value in values.items():
                text_only = action_of[name].type in (None, Path, move)
                words[name] = _words(command_words(action_of[name], value, text_only))
            self.typed([word for listed in words.values() for word in listed])
        except UserError as error:
            raise UserError(f"--config {path}: {error}") from error
        return [word for name in words if name not in typed for word in words[name]] + argv

    def values(self, args: argparse.Namespace) -> dict[str, Any]:
        """Return the flags as a config file has them; those that are None are left out."""
        values = {}
        for action in self._actions:
            value = getattr(args, action.dest, None)
            if action.type is count_or_all and value is None:
                value = "all"
            elif action.type is move:
                value = ["=".join(pair) for pair in value]
            elif isinstance(value, Path):
                value = str(value)
            if value is not None:
                values[action.dest] = value
        return values

    def write_config(self, path: Path, args: argparse.Namespace, *but: str) -> None:
        """Write the config file that repeats a run with these flags, ``but`` some of them."""
        values = self.values(args)
        kept = {name: value for name, value in values.items() if name not in but}
        write_config(path, self.script, kept)

    def changed(self, args: argparse.Namespace) -> str:
        """Return the flags that are not at their defaults, for the log."""
        return "  ".join(
            f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in self.values(args).items()
            if getattr(args, name) != self.get_default(name)
        )

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        hint = self._hint(unknown[0]) if unknown else ""
        shown = LONG_WORD.sub(r"\1...", message)
        raise UserError(f"{shown}{hint}; see {self.prog} --help")

    def _hint(self, word: str) -> str:
        """Return the flag that was meant by a word that is none, for the end of an error line."""
        name = _plain(word)
        if not word.startswith("--"):
            return ""
        if scripts := scripts_with(name):
            return f"; --{name} is a flag of {' and '.join(f'{script}.py' for script in scripts)}"
        kinds = [a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        parsers = [self, *(parser for of_name in kinds for parser in of_name.values())]
        flags = [f for p in parsers for action in p._actions for f in action.option_strings]
        known = {_plain(flag): flag for flag in flags if flag.startswith("--")}
        near = get_close_matches(name, known, 1)
        return f"; the nearest is {known[near[0]]}" if near else ""


def _words(argv: Sequence[str] | None) -> list[str]:
    """Return a command line, by default that of this process, with ``~/`` as the home folder.

    Raises:
        UserError: a value is empty, which would stand for the working directory, or for none; or
            ends as lines do on Windows, which would make a folder of that name.
    """
    home = os.path.expanduser("~")  # noqa: PTH111 - an unknown one stays "~"
    words = sys.argv[1:] if argv is None else argv
    for before, word in pairwise(["an argument", *words]):
        if not word or EMPTY.fullmatch(word):
            raise UserError(
                f"{word[:-1] or before}: is empty; give a value, or leave it out (is a variable of "
                "the shell not set?)"
            )
        if word.endswith("\r"):
            raise UserError(
                f"{word[:-1] or before}: a carriage return follows this word; save the file with "
                "the command with Unix line ends (\\n)"
            )
    return [HOME.sub(lambda found: found[1] + home, word) for word in words]


def _plain(flag: str) -> str:
    """Return a flag without what is often mistaken in it: its value, dashes and capitals."""
    return flag.partition("=")[0].removeprefix("--").replace("-", "_").lower()


def number(
    kind: Callable[[str], Any], low: float, high: float = math.inf, open_low: bool = False
) -> Callable[[str], Any]:
    """Return an argparse type for numbers from ``low`` (excluded if ``open_low``) to ``high``."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (open_low and value == low) or value == math.inf:
            wanted = "a whole number" if kind is int else "a number"
            bounds = f"above {low}" if open_low else f"of at least {low}"
            upper = f" and at most {high}" if high < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted} {bounds}{upper}")
        return value

    return convert


def count_or_all(text: str) -> int | None:
    """Parse a whole number of at least 2, or "all", which gives None (an argparse type)."""
    return None if text == "all" else number(int, 2, 10**9)(text)


def move(text: str) -> tuple[str, str]:
    """Parse ``OLD=NEW`` into a pair of folders (an argparse type)."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old.rstrip("/") or "/", os.path.abspath(new)


COUNT = number(int, 0, 10**9)
POSITIVE_INT = number(int, 1, 10**9)
BATCH_SIZE = number(int, 1, 4096)
PIXELS = number(int, 1, 16384)
MAX_SEED = 2**32 - 1
SEED = number(int, 0, MAX_SEED)
WORKERS = number(int, 0, 1024)
NON_NEGATIVE = number(float, 0, 1e9)
POSITIVE = number(float, 0, 1e9, open_low=True)

"""Command-line flags that several scripts share, with the published names and defaults."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from utils.config_file import FLAGS, command_words, read_config, write_config
from utils.errors import UserError
from utils.event_files import check_tensorboard

CONFIG_HELP = (
    "TOML file with flags of this script and the others (docs/pipeline.md); a flag of the command "
    "line counts more, and paths are relative to the working directory, as on the command line"
)
LONG_WORD = re.compile(r"(\S{40})\S{160,}")
"""A bad value of which an error line repeats the beginning alone."""


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
        flags, started = self._option_string_actions, os.environ.get("WORLD_SIZE", "1")
        if "--dist_timeout" in flags or started == "1" or "RANK" not in os.environ:
            return
        divide = "; to divide images over machines, see --shard" if "--shard" in flags else ""
        raise UserError(
            f"torchrun: {self.prog} is a single process; start it with python instead{divide}"
        )

    def typed(self, argv: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the flags that the command line itself sets, name -> value."""
        argv = sys.argv[1:] if argv is None else argv
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

    def given(self, argv: Sequence[str] | None = None) -> set[str]:
        """Return the names of the flags that the command line or the config file sets."""
        return set(self.typed(self._with_config(argv)))

    def _with_config(self, argv: Sequence[str] | None) -> list[str]:
        """Return the command line, before it the flags that only the config file sets."""
        argv = list(sys.argv[1:] if argv is None else argv)
        typed = self.typed(argv) if self.script and not {"-h", "--help"} & {*argv} else {}
        if "config" not in typed:
            return argv
        path, action_of = typed["config"], {action.dest: action for action in self._actions}
        words = {}
        values = read_config(path, self.script)
        try:
            for name, value in values.items():
                text_only = action_of[name].type in (None, Path, move)
                words[name] = command_words(action_of[name], value, text_only)
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
        if scripts := [f"{script}.py" for script, flags in FLAGS.items() if name in flags]:
            return f"; --{name} is a flag of {' and '.join(scripts)}"
        kinds = [a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        parsers = [self, *(parser for of_name in kinds for parser in of_name.values())]
        flags = [f for p in parsers for action in p._actions for f in action.option_strings]
        known = {_plain(flag): flag for flag in flags if flag.startswith("--")}
        near = get_close_matches(name, known, 1)
        return f"; the nearest is {known[near[0]]}" if near else ""


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
WORKERS = number(int, 0, 1024)
NON_NEGATIVE = number(float, 0, 1e9)
POSITIVE = number(float, 0, 1e9, open_low=True)


def add_model_arguments(parser: Parser, names: Sequence[str], default: str) -> None:
    """Add the flags that choose and configure one of the networks in ``names``."""
    add = parser.add_argument_group("network").add_argument
    add("-m", "--model", default=default, choices=names, help="head and backbone of the network")
    add(
        "--separable_conv",
        action="store_true",
        help="use depthwise separable convolutions in the head (DeepLabV3+ only)",
    )
    add(
        "--output_stride",
        type=int,
        default=16,
        choices=(8, 16),
        help="input size divided by the size of the backbone's last feature map",
    )
    add(
        "--num_classes", type=number(int, 2, 254), help="number of classes (default: the dataset's)"
    )


def add_machine_arguments(parser: Parser, num_workers: int = 4) -> None:
    """Add the flags for device, image size, data loading, seed and precision."""
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", help="device to use: auto, cpu, cuda, cuda:N or mps")
    add(
        "--image_size",
        type=PIXELS,
        nargs=2,
        default=[1024, 2048],
        metavar=("H", "W"),
        help="height and width, in pixels, that images are resized to",
    )
    add(
        "--num_workers",
        type=WORKERS,
        default=num_workers,
        help="data loading processes (in the adversarial warm-up: per domain)",
    )
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="seed of all random draws")
    add(
        "--amp",
        default="none",
        choices=("none", "bf16", "fp16"),
        help="data type of automatic mixed precision; none computes in float32",
    )
    add("--channels_last", action="store_true", help="use channels-last memory order; often faster")
    add("--compile", action="store_true", help="run networks through torch.compile")
    add(
        "--deterministic",
        action="store_true",
        help="prefer GPU kernels that give the same result every time; slower",
    )


def add_rank_arguments(parser: Parser) -> None:
    """Add the flag for runs of several processes, see :mod:`utils.distributed`."""
    parser.add_argument_group("several processes (torchrun)").add_argument(
        "--dist_timeout",
        type=POSITIVE,
        default=600,
        help="seconds that a process waits for the others before it takes them for lost",
    )


def add_domain_arguments(parser: Parser, prefix: str, dataset: str, root: str) -> None:
    """Add the flags for the data of one domain; ``prefix`` is src, trg or val."""
    domain = {"src": "source", "trg": "target", "val": "validation"}[prefix]
    add = parser.add_argument_group(f"{domain} data").add_argument
    dataset_help = "dataset: a name in dataloader/init_data, or the path of an info.json"
    add(f"--{prefix}_dataset", default=dataset, help=dataset_help)
    add(f"--{prefix}_data_dir", default=root, help="root folder of the dataset")
    add(f"--{prefix}_datalist", help="image list (default: all images below the root)")


def add_relocation_argument(parser: Parser) -> None:
    """Add the flag that maps the paths of a datalist to folders of this machine."""
    parser.add_argument(
        "--relocate",
        type=move,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="replace the folder OLD in a datalist's paths by NEW; may be given several times",
    )


def training_parser(description: str, model_names: Sequence[str], script: str) -> Parser:
    """Return a parser with the flags that ``warmup.py`` and ``train_ADA.py`` share."""
    parser = Parser(description, script)
    add_help = "folder for all results"
    parser.add_argument("-p", "--model_save_dir", type=Path, default=Path("test"), help=add_help)
    add_model_arguments(parser, model_names, "deeplabv3plus_resnet101")
    add_domain_arguments(parser, "src", "GTA5", "./data/GTA5")
    add_domain_arguments(parser, "trg", "cityscapes", "./data/Cityscapes")
    add_domain_arguments(parser, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(parser)
    add = parser.add_argument_group("continuing and watching").add_argument
    resume_help = "continue the run in -p where it stopped, if one is there"
    add("--resume", action="store_true", help=resume_help)
    board_help = "write curves and a few predictions for TensorBoard, to tensorboard in -p"
    add("--tensorboard", action="store_true", help=board_help)
    add("--save_period", type=POSITIVE_INT, default=1000, help="iterations between saved states")
    add_training_arguments(parser)
    add_machine_arguments(parser)
    add_rank_arguments(parser)
    return parser


def add_training_arguments(parser: Parser) -> None:
    """Add the flags for training and validation."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--freeze_bn",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep BatchNorm statistics and affine parameters as they are",
    )
    add("--ignore_idx", type=int, default=255, choices=(255,), help="train id of ignored pixels")
    batch_help = "images per batch, per domain; with torchrun, in each process"
    add("--train_batch_size", type=BATCH_SIZE, default=1, help=batch_help)
    accum_help = "batches whose gradients are added up in each iteration, as if they were one batch"
    add("--grad_accum", type=BATCH_SIZE, default=1, help=accum_help)
    batch_help = "images per batch, in validation and selection"
    add("--val_batch_size", type=BATCH_SIZE, default=4, help=batch_help)
    decay_help = "weight decay of the segmentation network (SGD)"
    add("--weight_decay", type=NON_NEGATIVE, default=5e-4, help=decay_help)
    add("--total_itrs", type=POSITIVE_INT, default=100_000, help="iterations of the warm-up")
    period_help = "iterations between validations; of a round, in its last third alone"
    add("--val_period", type=POSITIVE_INT, default=1000, help=period_help)
    rate_help = "learning rate of the backbone; the head's is 10 times as high"
    add("--train_lr", type=POSITIVE, default=2.5e-4, help=rate_help)
    add("--train_lr_D", type=POSITIVE, default=2.5e-4, help="learning rate of the discriminator")
    losses = ("cross_entropy", "focal_loss")
    add("--loss_type", default="cross_entropy", choices=losses, help="segmentation loss")
    add("--focal_gamma", type=NON_NEGATIVE, default=2.0, help="exponent of the focal loss")


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


def check_training(args: argparse.Namespace) -> None:
    """Raise a :class:`UserError` for flags that cannot be used, or not together."""
    if args.tensorboard:
        check_tensorboard()
    together = args.train_batch_size * process_count()  # SyncBatchNorm
    if not args.freeze_bn and together < 2 and "deeplabv3" in args.model:
        raise UserError("--no-freeze_bn: image pooling needs --train_batch_size 2 or more")

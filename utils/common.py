"""The command line: every flag that scripts share, with the published names and defaults."""

import argparse
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import UserError


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the default of every flag that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults in ``--help`` and fails with one line."""

    def __init__(self, description: str, **options: Any):
        super().__init__(
            description=description,
            formatter_class=_Formatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def number(
    kind: Callable[[str], Any], low: float, high: float = math.inf, open_low: bool = False
) -> Callable[[str], Any]:
    """An argparse type: an int or float between ``low`` (left out if ``open_low``) and ``high``."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (open_low and value == low) or math.isinf(value):
            wanted = "a whole number" if kind is int else "a number"
            bounds = f"above {low}" if open_low else f"of at least {low}"
            upper = f" and at most {high}" if high < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted} {bounds}{upper}")
        return value

    return convert


def count_or_all(text: str) -> int | str:
    """An argparse type: "all", or a whole number of at least 2."""
    return text if text == "all" else number(int, 2)(text)


def move(text: str) -> tuple[str, str]:
    """An argparse type: ``OLD=NEW`` as a pair of folders."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old.rstrip("/") or "/", os.path.abspath(new)


COUNT = number(int, 0)
POSITIVE_INT = number(int, 1)
NON_NEGATIVE = number(float, 0, 1e9)
POSITIVE = number(float, 0, 1e9, open_low=True)


def add_model_arguments(parser: Parser, names: Sequence[str], default: str) -> None:
    """Which network, of those in ``names``."""
    group = parser.add_argument_group("network")
    group.add_argument("-m", "--model", default=default, choices=names, help="network")
    group.add_argument(
        "--separable_conv",
        action="store_true",
        help="depthwise separable convolutions in the head (DeepLabV3+ only)",
    )
    group.add_argument("--output_stride", type=int, default=16, choices=(8, 16), help="of ASPP")
    group.add_argument("--num_classes", type=number(int, 2, 254), default=19, help="classes")


def add_machine_arguments(parser: Parser, num_workers: int = 4) -> None:
    """Where and how it runs."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument(
        "--image_size",
        type=POSITIVE_INT,
        nargs=2,
        default=[1024, 2048],
        metavar=("H", "W"),
        help="size that images are resized to",
    )
    group.add_argument(
        "--num_workers",
        type=COUNT,
        default=num_workers,
        help="loader processes; a warm-up with two domains has as many for each",
    )
    group.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=0, help="random seed")
    group.add_argument(
        "--amp", default="none", choices=("none", "bf16", "fp16"), help="mixed precision"
    )
    group.add_argument("--channels_last", action="store_true", help="memory order; often faster")
    group.add_argument(
        "--compile", action="store_true", help="torch.compile; pays off in long runs"
    )
    group.add_argument(
        "--deterministic", action="store_true", help="GPU kernels that repeat exactly; slower"
    )


def add_domain_arguments(parser: Parser, prefix: str, dataset: str, root: str) -> None:
    """Where one domain's data lies; ``prefix`` is src, trg or val."""
    group = parser.add_argument_group(f"data ({prefix})")
    group.add_argument(f"--{prefix}_dataset", default=dataset, help="a folder of init_data")
    group.add_argument(f"--{prefix}_data_dir", default=root, help="root of the data")
    group.add_argument(f"--{prefix}_datalist", help="image list (default: the data set's own)")


def add_relocation_argument(parser: Parser) -> None:
    """Where the files of another machine's datalists are."""
    parser.add_argument(
        "--relocate",
        type=move,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="where files that a datalist of another machine has below OLD are here; repeatable",
    )


def training_parser(description: str, model_names: Sequence[str]) -> Parser:
    """The parser of ``warmup.py`` and ``train_ADA.py``, less their own flags."""
    parser = Parser(description)
    parser.add_argument("-p", "--model_save_dir", type=Path, default=Path("test"), help="results")
    add_model_arguments(parser, model_names, "deeplabv3plus_resnet101")
    add_domain_arguments(parser, "src", "GTA5", "./data/GTA5")
    add_domain_arguments(parser, "trg", "cityscapes", "./data/Cityscapes")
    add_domain_arguments(parser, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(parser)
    group = parser.add_argument_group("going on")
    group.add_argument("--resume", action="store_true", help="go on where the run in -p stopped")
    group.add_argument("--save_period", type=POSITIVE_INT, default=1000, help="iterations")
    group = parser.add_argument_group("training")
    group.add_argument(
        "--freeze_bn",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep BatchNorm statistics and affine parameters as they are",
    )
    group.add_argument("--ignore_idx", type=int, default=255, choices=(255,), help="ignored label")
    group.add_argument("--train_batch_size", type=POSITIVE_INT, default=1, help="a domain")
    group.add_argument("--val_batch_size", type=POSITIVE_INT, default=4, help="images")
    group.add_argument("--weight_decay", type=NON_NEGATIVE, default=5e-4, help="of SGD")
    group.add_argument("--total_itrs", type=POSITIVE_INT, default=100_000, help="of the warm-up")
    group.add_argument("--val_period", type=POSITIVE_INT, default=1000, help="iterations")
    group.add_argument("--train_lr", type=POSITIVE, default=2.5e-4, help="backbone; head is 10x")
    group.add_argument("--train_lr_D", type=POSITIVE, default=2.5e-4, help="discriminator")
    group.add_argument(
        "--loss_type", default="cross_entropy", choices=("cross_entropy", "focal_loss")
    )
    add_machine_arguments(parser)
    return parser


def check_training(args: argparse.Namespace) -> None:
    """Refuse combinations of flags that cannot train."""
    if not args.freeze_bn and args.train_batch_size < 2 and "deeplabv3" in args.model:
        raise UserError("--no-freeze_bn: image pooling needs --train_batch_size 2 or more")


def start_log(path: Path | None = None) -> None:
    """Log to the terminal and, when a path is given, to the end of that file."""
    logging.raiseExceptions = False  # a log line that cannot be written ends nothing
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); see -p") from error
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=handlers,
        force=True,
    )

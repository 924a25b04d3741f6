"""Flags that have no effect beside the others that are given."""

import logging
from argparse import Namespace
from collections.abc import Callable, Collection
from typing import NamedTuple

log = logging.getLogger(__name__)


class _Rule(NamedTuple):
    """Where a script reads some flags.

    Attributes:
        flags: their names.
        is_read: whether they are read beside the other flags.
        line: what is said where they are not, after the flag.
    """

    flags: tuple[str, ...]
    is_read: Callable[[Namespace], bool]
    line: str


def _never(args: Namespace) -> bool:
    return False


FOCAL = _Rule(
    ("focal_gamma",),
    lambda args: args.loss_type == "focal_loss",
    "has no effect without --loss_type focal_loss",
)
RULES = {
    "warmup": (
        FOCAL,
        _Rule(
            ("train_lr_D",),
            lambda args: args.warmup == "uda_warmup",
            "has no effect: only --warmup uda_warmup has a discriminator",
        ),
        _Rule(
            ("backbone_weights",),
            lambda args: not args.init_checkpoint,
            "has no effect: training starts from --init_checkpoint",
        ),
    ),
    "train_ADA": (
        FOCAL,
        _Rule(
            ("train_lr",), _never, "is that of the warm-up; rounds are trained with --finetune_lr"
        ),
        _Rule(
            ("total_itrs",),
            _never,
            "is that of the warm-up; rounds have --finetune_itrs",
        ),
        _Rule(("train_lr_D",), _never, "is that of the warm-up; rounds train no discriminator"),
        _Rule(
            ("alpha", "beta", "uncertainty"),
            lambda args: args.active_method == "d2ada",
            "has no effect: it belongs to --active_method d2ada",
        ),
        _Rule(
            ("components", "covariance", "max_source_regions", "class_balance"),
            lambda args: args.active_method in ("d2ada", "density"),
            "has no effect: it belongs to --active_method d2ada and density",
        ),
    ),
    "inference": (
        _Rule(
            ("val_data_dir", "val_datalist", "relocate"),
            lambda args: args.image_dir is None,
            "has no effect: the images are those in --image_dir",
        ),
    ),
}


def never_read(script: str) -> set[str]:
    """Flags that a script takes, but reads beside no others."""
    rules = RULES.get(script, ())
    return {flag for rule in rules if rule.is_read is _never for flag in rule.flags}


def warn_of_unused_flags(script: str, args: Namespace, meant: Collection[str]) -> None:
    """Warn of flags that were given, but are not read.

    Args:
        script: its name.
        args: its flags.
        meant: names of those that are meant for this script alone
            (:meth:`utils.parser.Parser.meant`): one above all tables of a config file may be there
            for another one.
    """
    for rule in RULES[script]:
        for flag in rule.flags:
            if flag in meant and not rule.is_read(args):
                log.warning("--%s %s", flag, rule.line)

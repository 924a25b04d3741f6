"""What a checkpoint tells of its network, so that the flags it was made by need no repeating."""

import logging
from argparse import Namespace
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from utils.checkpoint import read_checkpoint
from utils.errors import UserError

log = logging.getLogger(__name__)

FLAGS = {"model": "-m", "output_stride": "--output_stride", "separable_conv": "--separable_conv"}
PACKAGES = ("torch", "torchvision", "numpy")


def padded_names(class_names: Sequence[str], num_classes: int) -> list[str]:
    """A name for each class of a network that has more of them than its dataset."""
    more = range(len(class_names), num_classes)
    return [*class_names, *(f"class {number}" for number in more)]


def network_facts(
    args: Namespace, dataset: str, class_names: Sequence[str], palette: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """What :func:`utils.checkpoint.save_checkpoint` stores of a network.

    Args:
        args: the flags that it was made by.
        dataset: name of the dataset whose labels it learns.
        class_names, palette: of that dataset.
    """
    more = args.num_classes - len(palette)
    return {
        **{key: getattr(args, key) for key in FLAGS},
        "image_size": list(args.image_size),
        "class_names": padded_names(class_names, args.num_classes),
        "palette": [*map(list, palette), *([[0, 0, 0]] * more)],
        "dataset": dataset,
        "versions": {name: version(name) for name in PACKAGES},
    }


def take_facts(args: Namespace, given: Collection[str], path: str | Path) -> dict[str, Any]:
    """Let a checkpoint decide what the flags leave open: network, classes and image size.

    A published checkpoint tells nothing; then flags and their defaults hold.

    Args:
        args: the flags; altered.
        given: names of the flags that the user gave.
        path: the checkpoint; one that is not there is told of when it is loaded.

    Returns:
        What the checkpoint tells, empty for a published one.

    Raises:
        UserError: a flag contradicts the checkpoint, or this cannot be read.
    """
    facts = read_checkpoint(path).get("network", {}) if Path(path).is_file() else {}
    wanted = {key: facts[key] for key in FLAGS if key in facts}
    if "class_names" in facts:
        wanted["num_classes"] = len(facts["class_names"])
    for key, value in wanted.items():
        flag, ours = FLAGS.get(key, f"--{key}"), getattr(args, key)
        if key in given and ours != value:
            raise UserError(
                f"{flag} {ours}: the network in {path} has {key} {value}; leave the flag out"
            )
        setattr(args, key, value)
    size = facts.get("image_size", args.image_size)
    if "image_size" in given and list(args.image_size) != size:
        log.warning(
            "--image_size %d %d: the network in %s was trained at %d x %d (height x width), and "
            "other sizes usually make it worse",
            *(*args.image_size, path, *size),
        )
    else:
        args.image_size = size
    return facts

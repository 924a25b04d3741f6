"""The description of a network in its checkpoint, so that its flags need not be given again."""

import logging
from argparse import Namespace
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from utils.checkpoint import read_checkpoint
from utils.errors import UserError
from utils.metrics import padded_names

log = logging.getLogger(__name__)

FLAGS = {"model": "-m", "output_stride": "--output_stride", "separable_conv": "--separable_conv"}
PACKAGES = ("torch", "torchvision", "numpy")


def network_facts(
    args: Namespace, dataset: str, class_names: Sequence[str], palette: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Return the description of a network for :func:`utils.checkpoint.save_checkpoint`.

    Args:
        args: the flags that the network is built and trained with.
        dataset: name of the dataset whose classes it predicts.
        class_names, palette: class names and RGB colours of that dataset.
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
    """Set flags that the user left out from a checkpoint: network, classes and image size.

    Published checkpoints hold no description; flags then keep their defaults.

    Args:
        args: the flags; changed in place.
        given: names of the flags that the user gave.
        path: the checkpoint; a missing file is reported later, when it is loaded.

    Returns:
        The description in the checkpoint, empty for a published one.

    Raises:
        UserError: a flag contradicts the checkpoint, or the file cannot be read.
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
            "--image_size %d %d: the network in %s was trained at %d x %d (height x width); "
            "other sizes usually lower its accuracy",
            *(*args.image_size, path, *size),
        )
    else:
        args.image_size = size
    return facts

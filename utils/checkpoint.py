"""Checkpoints: ``torch.save`` of {model_state_dict, opt_state_dict[, model_D, network]}."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.distributed import SINGLE, World
from utils.errors import UserError, shown
from utils.tensor_file import read_plain, write_tensors

log = logging.getLogger(__name__)

WRAPPERS = (
    *("model_state_dict", "state_dict", "model_state", "model", "module", "net", "weights"),
    "backbone",
)
"""Keys below which programs keep the weights of a network, in the order they are looked for."""
COUNTER = "num_batches_tracked"
"""How the names of batch normalisation's counters end."""


def _list_of(is_part: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == (length or len(value))
        and all(map(is_part, value))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


NETWORK: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_text, "a name"),
    "output_stride": (lambda value: type(value) is int and value in (8, 16), "8 or 16"),
    "separable_conv": (lambda value: type(value) is bool, "true or false"),
    "class_names": (_list_of(_is_text), "a list of names"),
    "palette": (
        _list_of(_list_of(lambda value: type(value) is int and 0 <= value < 256, 3)),
        "a list of [red, green, blue]",
    ),
    "image_size": (
        _list_of(lambda value: type(value) is int and value > 0, 2),
        "[height, width] in pixels",
    ),
    "dataset": (_is_text, "a name"),
    "versions": (
        lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        "versions of packages by name",
    ),
}
"""What a checkpoint tells of its network: a test of each value, and what it should be."""


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    discriminator: nn.Module | None = None,
    network: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: of the file.
        model, optimizer: whose states are written.
        discriminator: of an adversarial warm-up.
        network: what is needed to build the network again and to feed it; see :data:`NETWORK`.
    """
    state = {"model_state_dict": model.state_dict(), "opt_state_dict": optimizer.state_dict()}
    if discriminator is not None:
        state["model_D"] = discriminator.state_dict()
    if network is not None:
        state["network"] = json.loads(json.dumps(dict(network)))  # plain types alone
    write_tensors(path, state)


def read_checkpoint(path: str | Path, tell: bool = False) -> dict[str, Any]:
    """Read a checkpoint as data only, onto the CPU.

    Weights that another program wrote below another key, or bare, come out below
    ``model_state_dict``.

    Args:
        path: the file.
        tell: warn if there is another network of the same shapes in it.

    Raises:
        UserError: the file cannot be read, has no weights of a network, or tells what cannot be
            right about its network.
    """
    state = read_plain(path)
    weights = find_weights(state)
    if weights is None:
        raise UserError(
            f"{path}: no 'model_state_dict' of tensors in it, nor one network below another key; "
            "name a checkpoint*.tar, or save the state dict alone"
        )
    if tell:
        _tell_twin(path, state, weights)
    if "model_state_dict" not in state or not isinstance(state.get("network", {}), dict):
        return {"model_state_dict": weights}  # of another program, whose keys mean other things
    if "network" in state:
        _check_network(path, state["network"])
    return state | {"model_state_dict": weights}


def _check_network(path: str | Path, network: Mapping[str, Any]) -> None:
    remedy = "write the checkpoint again, or remove its 'network'"
    for key, (is_right, wanted) in NETWORK.items():
        if key in network and not is_right(network[key]):
            raise UserError(f"{path}: its network's {key!r} is not {wanted}; {remedy}")
    names, palette = (network.get(key) for key in ("class_names", "palette"))
    if names is not None and palette is not None and len(names) != len(palette):
        raise UserError(
            f"{path}: its network has {len(names)} class names but {len(palette)} colours; {remedy}"
        )


def require_keys(
    path: str | Path, state: Any, keys: Mapping[str, type | tuple[type, ...]], remedy: str
) -> None:
    """Make sure that what was read from ``path`` is a dictionary with these keys and types.

    Raises:
        UserError: names the key that is missing or of another type; ends with ``remedy``.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds no dictionary; {remedy}")
    for key, types in keys.items():
        if key not in state:
            raise UserError(f"{path}: no {key!r} in it; {remedy}")
        if not isinstance(state[key], types):
            raise UserError(
                f"{path}: its {key!r} is of the wrong type ({type(state[key]).__name__}); {remedy}"
            )


def find_weights(state: Any) -> dict[str, Tensor] | None:
    """The state dict in what a file holds: bare, or below (nested) keys of :data:`WRAPPERS`.

    Below another key, such as that of an average, it is found if it is the only one.
    """
    if _are_weights(state):
        return state
    if isinstance(state, dict):
        for wrapper in WRAPPERS:
            weights = find_weights(state.get(wrapper))
            if weights is not None:
                return weights
        found = list(filter(_are_weights, state.values()))
        if len(found) == 1:
            return found[0]
    return None


def _tell_twin(path: str | Path, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Warn if a file holds another network of the same shapes, such as an average of weights."""
    found = {key: find_weights(value) for key, value in state.items()}
    taken = next((key for key, value in found.items() if value is weights), None)
    for key, other in found.items():
        if (
            taken not in (None, key)
            and key != "model_D"
            and other
            and _shapes(other) == _shapes(weights)
        ):
            log.warning(
                "%s: holds two networks, %s and %s; %s is taken: for the other, save its state "
                "dict in a file of its own",
                *(path, taken, key, taken),
            )


def _shapes(weights: Mapping[str, Tensor]) -> Counter[torch.Size]:
    """How many tensors there are of each shape; counters, which have none, are left out."""
    return Counter(tensor.shape for tensor in weights.values() if tensor.dim())


def _are_weights(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
        )
    )


def weights_below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights by their names after a prefix; those without it are left out."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def find_prefixes(weights: Mapping[str, Tensor], expected: Iterable[str]) -> list[str]:
    """What stands before the names that a network expects: the prefix that makes most names those.

    Wrappers (DataParallel, ``torch.compile``, Lightning) put prefixes before the names. Several are
    returned, in the order of the weights, if they belong to whole networks of different weights,
    as teacher and student. Counters of batch normalisation do not count, as files may lack them.
    Where no name is expected, the prefix is empty.
    """
    expected = {name for name in expected if not name.endswith(COUNTER)}
    prefixes: Counter[str] = Counter()
    for name in weights:
        parts = name.split(".", 8)  # prefixes are short
        for k in range(len(parts)):
            if ".".join(parts[k:]) in expected:
                prefixes["".join(f"{part}." for part in parts[:k])] += 1
    best = max(prefixes, key=prefixes.get, default="")
    whole = [
        prefix for prefix, count in prefixes.items() if prefix != best and count == len(expected)
    ]
    others = [
        prefix
        for prefix in whole
        if not all(torch.equal(weights[best + name], weights[prefix + name]) for name in expected)
    ]
    return [best, *others]


def load_model(path: str | Path, model: nn.Module, world: World = SINGLE) -> None:
    """Load a network's weights from a checkpoint, which rank 0 alone reads.

    Raises:
        UserError: it belongs to another network, or holds NaN; says which tensor.
    """
    remedy = "check -m, --num_classes and --separable_conv"
    load_weights(path, world.on_main(read_weights, path, "model_state_dict"), model, remedy)


def digest(networks: nn.Module, facts: Iterable = ()) -> str:
    """Return a short fingerprint of network weights and of other facts that results depend on."""
    result = hashlib.blake2b(repr(list(facts)).encode(), digest_size=16)
    for name, value in networks.state_dict().items():
        result.update(name.encode())
        result.update(value.detach().cpu().contiguous().reshape(-1).numpy())
    return result.hexdigest()


def read_weights(path: str | Path, key: str) -> Any:
    """Read what a checkpoint holds below a key; None if there is nothing."""
    return read_checkpoint(path, tell=True).get(key)


def load_discriminator(path: str | Path, discriminator: nn.Module, world: World = SINGLE) -> None:
    """Load the discriminator of an adversarial warm-up from a checkpoint, read by rank 0 alone.

    Raises:
        UserError: there is none in it, one of other classes, or one with NaN.
    """
    weights = world.on_main(read_weights, path, "model_D")
    if not _are_weights(weights):
        raise UserError(
            f"{path}: no discriminator (model_D) in it, which AADA needs; "
            "name a checkpoint of warmup.py --warmup uda_warmup"
        )
    load_weights(path, weights, discriminator, "check --num_classes")


def load_weights(source: Any, weights: Mapping[str, Tensor], model: nn.Module, remedy: str) -> None:
    """Load a state dict into a network that must have the same tensors.

    Single numbers of a kind that no layer has, as a profiler's counts are, are left out with a
    warning.

    Args:
        source: where the weights come from; the error line begins with it.
        weights: name -> tensor; names may have a prefix that wrappers put before them.
        model: to be loaded.
        remedy: ends the error line of weights of another network.

    Raises:
        UserError: a name or shape differs, there are two networks, or a weight is NaN or infinite.
    """
    expected = model.state_dict()
    prefixes = find_prefixes(weights, expected)
    if len(prefixes) > 1:
        raise UserError(
            f"{source}: holds two networks, their names begin with {prefixes[0]!r} and "
            f"{prefixes[1]!r}; save the state dict of the one that is meant in a file of its own"
        )
    weights = weights_below(weights, prefixes[0])
    kinds = {name.rpartition(".")[2] for name in expected}
    odd = [n for n, w in weights.items() if w.numel() == 1 and n.rpartition(".")[2] not in kinds]
    for name in odd:
        del weights[name]
    for name in [*expected, *weights]:
        ours, theirs = expected.get(name), weights.get(name)
        if name.endswith(COUNTER) and ours is not None:
            if theirs is None or theirs.is_floating_point():
                weights[name] = ours  # old files lack these counters, halved ones round them
        elif _describe(ours) != _describe(theirs):
            wanted = "unexpected" if ours is None else f"expected {_describe(ours)}"
            raise UserError(
                f"{source}: {name} is {_describe(theirs)}, {wanted}; "
                f"checkpoint of another network: {remedy}"
            )
    check_finite(source, weights)
    if odd:
        log.warning(
            "%s: %d tensors of no layer of this network are left out, the first %s",
            *(source, len(odd), shown(odd[0])),
        )
    model.load_state_dict(weights)


def _describe(tensor: Tensor | None) -> str:
    """Shape of a tensor, and its type where that is none of weights."""
    if tensor is None:
        return "missing"
    shape = str(tuple(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of integers"


def check_finite(source: Any, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are NaN or infinite: whatever they predict means nothing.

    Raises:
        UserError: names ``source`` and the tensor.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{source}: {name} holds NaN or infinite values, and a network with them predicts "
                "nothing; name a checkpoint from before its training diverged"
            )

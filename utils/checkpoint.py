"""Checkpoints: ``torch.save`` of {model_state_dict, opt_state_dict[, model_D]}, and more keys."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.errors import UserError
from utils.files import atomic_write


def write_tensors(path: str | Path, value: Any) -> None:
    """Write ``value`` with ``torch.save``, atomically."""
    buffer = io.BytesIO()  # torch's writer would hide why a disk refuses
    torch.save(value, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    discriminator: nn.Module | None = None,
) -> None:
    """Write a checkpoint atomically."""
    state = {"model_state_dict": model.state_dict(), "opt_state_dict": optimizer.state_dict()}
    if discriminator is not None:
        state["model_D"] = discriminator.state_dict()
    write_tensors(path, state)


def read_plain(path: str | Path) -> Any:
    """Read a file of plain containers and tensors onto the CPU; nothing in it is run.

    Raises:
        UserError: the file is missing, damaged, or holds more than data.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged and hostile files raise many kinds
        raise UserError(
            f"{path}: not a checkpoint of plain tensors ({type(error).__name__}); it is damaged, "
            "or holds code, which is never run; name another"
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint as data only, onto the CPU.

    Raises:
        UserError: the file cannot be read, or has no weights of a network.
    """
    state = read_plain(path)
    if not isinstance(state, dict) or not _are_weights(state.get("model_state_dict")):
        raise UserError(f"{path}: no 'model_state_dict' of tensors in it; name a checkpoint*.tar")
    return state


def _are_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def load_model(path: str | Path, model: nn.Module) -> None:
    """Load a network's weights from a checkpoint.

    Raises:
        UserError: it belongs to another network; says which tensor differs.
    """
    remedy = "check -m, --num_classes and --separable_conv"
    _load(path, read_checkpoint(path)["model_state_dict"], model, remedy)


def load_discriminator(path: str | Path, discriminator: nn.Module) -> None:
    """Load the discriminator of an adversarial warm-up from a checkpoint.

    Raises:
        UserError: there is none in it, or one of other classes.
    """
    weights = read_checkpoint(path).get("model_D")
    if not _are_weights(weights):
        raise UserError(
            f"{path}: no discriminator (model_D) in it, which AADA needs; "
            "name a checkpoint of warmup.py --warmup uda_warmup"
        )
    _load(path, weights, discriminator, "check --num_classes")


def _load(path: str | Path, weights: dict[str, Tensor], model: nn.Module, remedy: str) -> None:
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    expected = model.state_dict()
    for name in [*expected, *weights]:
        ours, theirs = (
            tuple(d[name].shape) if name in d else "nothing" for d in (expected, weights)
        )
        if ours != theirs:
            raise UserError(
                f"{path}: checkpoint of another network: {name} is {theirs}, "
                f"expected {ours}; {remedy}"
            )
    model.load_state_dict(weights)

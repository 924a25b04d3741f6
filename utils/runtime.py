"""The device, chosen once, and how networks run on it."""

import os
import shutil
from argparse import Namespace
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.distributed import SINGLE, World
from utils.errors import UserError
from utils.parallel import share_layers

COMPILERS = (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")
LOWEST_SCALE = 1e-6  # of losses in float16; it is halved each time that a gradient overflows
AMP_TYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def get_device(name: str) -> torch.device:
    """Return the device of ``--device auto|cpu|cuda|cuda:N|mps``.

    Raises:
        UserError: this machine has no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: choose auto, cpu, cuda, cuda:N or mps") from None
    there = {
        "cpu": True,
        "cuda": cuda and (device.index or 0) < torch.cuda.device_count(),
        "mps": mps,
    }
    if not there.get(device.type, False):
        raise UserError(f"--device {name}: not available on this machine; choose auto")
    return device


class Runtime:
    """Where and how networks run.

    Args:
        device: device of all networks and batches.
        amp: value of ``--amp``: "none" (float32), "bf16", or "fp16" with loss scaling.
        channels_last: keep weights, and thereby activations, in channels-last order.
        compiled: run networks through ``torch.compile``.
        world: the processes that run networks together.
    """

    def __init__(
        self,
        device: torch.device,
        amp: str = "none",
        channels_last: bool = False,
        compiled: bool = False,
        world: World = SINGLE,
    ):
        self.device = device
        self.compiled = compiled
        self.world = world
        self.dtype = AMP_TYPES[amp]
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    @classmethod
    def from_args(cls, args: Namespace, world: World = SINGLE) -> "Runtime":
        """Create a runtime from --device, --amp, --channels_last, --compile and --deterministic.

        Raises:
            UserError: this machine lacks the device or, for --compile, a C++ compiler; or BatchNorm
                should learn on CPUs in several processes; or ranks have devices of different kinds.
        """
        if args.deterministic:
            # Set before CUDA starts; operations without a deterministic kernel only warn.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = not args.deterministic  # sizes hardly ever change here
        if args.compile and not any(map(shutil.which, COMPILERS)):
            raise UserError("--compile: no C++ compiler found; install g++ or leave the flag out")
        torch.set_float32_matmul_precision("highest")  # some containers set TF32
        device = get_device(world.device(args.device))
        if other := world.first_other(device.type):
            raise UserError(
                f"--device {args.device}: {other[1]} on rank {other[0]}, but {other[2]} on rank 0; "
                "see to the driver of that machine, or use --device cpu on all"
            )
        if device.type == "cuda" and world.size > 1:
            torch.cuda.set_device(device)
        elif world.size > 1 and not getattr(args, "freeze_bn", True):
            raise UserError(
                "--no-freeze_bn: several processes can learn BatchNorm together only on GPUs (by "
                "SyncBatchNorm); use --freeze_bn, or a single process"
            )
        return cls(device, args.amp, args.channels_last, args.compile, world)

    @property
    def float64_device(self) -> torch.device:
        """The device for float64 arithmetic: the CPU instead of MPS, which has no float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the memory format; --compile acts on its first run."""
        model = share_layers(model, self.world, self.device)
        model.to(self.device, memory_format=self.memory_format)
        if self.compiled:  # forward calls forward_features, and selection calls it directly
            name = "forward_features" if hasattr(model, "forward_features") else "forward"
            setattr(model, name, torch.compile(getattr(model, name)))
        return model

    def autocast(self) -> AbstractContextManager:
        """Return the autocast context that networks run in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def check_scale(self) -> None:
        """Raise a :class:`UserError` if gradients overflow float16 in every step, so none counts.

        Reads the scale of the loss from the device.
        """
        if self.scaler.get_scale() < LOWEST_SCALE:
            raise UserError(
                "--amp fp16: gradients overflowed in the last steps, however small the loss was "
                "scaled, and nothing was learned; start anew with --amp bf16 or none"
            )

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss (scaled, in float16)."""
        self.scaler.scale(loss).backward()

    def update(self, *optimizers: Optimizer) -> None:
        """Step the optimizers, then clear the gradients."""
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)

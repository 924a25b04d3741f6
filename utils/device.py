"""One device, decided once, and the precision that is computed in."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import Optimizer

from utils.errors import UserError

AMP_TYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def get_device(name: str) -> torch.device:
    """The device of ``--device auto|cpu|cuda|cuda:N|mps``.

    Raises:
        UserError: no such device on this machine.
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
        raise UserError(f"--device {name}: not on this machine; --device auto takes what there is")
    return device


class Precision:
    """``--amp``: float32, or automatic mixed precision with loss scaling for float16."""

    def __init__(self, device: torch.device, amp: str = "none"):
        self.device = device
        self.dtype = AMP_TYPES[amp]
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def autocast(self) -> AbstractContextManager:
        """The context that networks run in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients."""
        self.scaler.scale(loss).backward()

    def update(self, *optimizers: Optimizer) -> None:
        """Step the optimizers on the gradients gathered, and clear these."""
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)

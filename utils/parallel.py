"""Networks that several ranks train as one, with the numbers of one process and a larger batch."""

from contextlib import AbstractContextManager, nullcontext
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.distributed import World

# In PyTorch 2.14 the flag got another name.
SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel.__init__).parameters
)


class RankDropout(nn.Dropout):
    """Dropout of a rank's part of a batch by the mask that one process would draw for all of it.

    Each rank draws the whole mask from the same random state and uses its part, so that results and
    random state do not depend on how a batch is divided.

    Args:
        p: probability of a zero.
        rank, size: which part of how many.
    """

    def __init__(self, p: float, rank: int, size: int):
        super().__init__(p)
        self.rank = rank
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        whole = x.new_ones(self.size * len(x), *x.shape[1:])
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)
        ours = F.dropout(whole, self.p).chunk(self.size)[self.rank]
        return x * ours.clone()  # a view would keep the whole mask until the backward pass


def share_layers(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """Replace the layers that look at a whole batch by ones that look at those of all ranks.

    Dropout becomes :class:`RankDropout`. On GPUs, BatchNorm becomes SyncBatchNorm, which a CPU
    cannot run. Parameters and names in the state dict stay.
    """
    if world.size == 1:
        return model
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                shared = RankDropout(child.p, world.rank, world.size).train(child.training)
                setattr(parent, name, shared)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if device.type == "cuda" else model


def parallel(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """Return the network to call in training, whose gradients are averages over ranks.

    Rank 0's weights are copied to the others. Parameters must be frozen before, and stay so. For a
    single process it is the network itself.
    """
    if world.size == 1:
        return model
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **{SYNC_BUFFERS: False},  # they are the same on all ranks: frozen, or of SyncBatchNorm
    )


def without_averaging(model: nn.Module) -> AbstractContextManager:
    """Return a context in which gradients add up on each rank, for a later pass to average."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

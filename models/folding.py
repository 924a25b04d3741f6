"""Fold BatchNorm into the convolutions before it: the same network with half the rounding."""

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution that is defined just before it, in place.

    The network gives the same results in float32, about half the error in bfloat16, and is
    faster. It can no longer be trained, and its state dict has other keys.
    """
    model.eval()
    for parent in list(model.modules()):
        for (name, module), (next_name, following) in pairwise(list(parent.named_children())):
            if isinstance(module, nn.Conv2d) and isinstance(following, BATCH_NORMS):
                setattr(parent, name, fuse_conv_bn_eval(module, following))
                setattr(parent, next_name, nn.Identity())
    return model


def folded_copy(model: nn.Module) -> nn.Module:
    """Return a folded copy for prediction; the network itself can still be trained."""
    return fold_batch_norm(deepcopy(model))

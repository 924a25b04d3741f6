"""BatchNorm folded into the convolutions before it: the same network with half the roundings."""

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold, in place, each BatchNorm that follows a convolution in the order of their definition.

    The network gives the same in float32, faster, and under bfloat16 about half the error; it can
    no longer be trained. Its state_dict is another.
    """
    model.eval()
    for parent in list(model.modules()):
        for (name, module), (next_name, following) in pairwise(list(parent.named_children())):
            if isinstance(module, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(module, following))
                setattr(parent, next_name, nn.Identity())
    return model


def folded_copy(model: nn.Module) -> nn.Module:
    """A copy to predict with, while the network itself is still to be trained."""
    return fold_batch_norm(deepcopy(model))

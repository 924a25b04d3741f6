"""Classes that a network predicts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError

NO_NUMBER = 255
"""Predicted for all pixels of an image with logits that are NaN or infinite."""


def are_finite(logits: Tensor) -> Tensor:
    """(N,) bool: whether all logits of each image are finite; logits are (N, C, H, W)."""
    return torch.stack(logits.flatten(1).aminmax(dim=1)).isfinite().all(0)


def predicted_classes(logits: Tensor) -> Tensor:
    """(N, H, W) uint8 classes of logits (N, C, H, W), or :data:`NO_NUMBER`."""
    classes = logits.max(1).indices.to(torch.uint8)  # in half the time of argmax
    return classes.masked_fill_(~are_finite(logits)[:, None, None], NO_NUMBER)


def no_numbers(path: str) -> UserError:
    """The error for an image of which a network with finite weights predicts no numbers."""
    return UserError(
        f"{path}: the network's predictions for this image are NaN or infinite; check the image, "
        "use an earlier checkpoint, train at a lower learning rate, or, with --amp fp16, use bf16"
    )


def enlarged_argmax(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Classes of logits that are resized bilinearly, one class at a time.

    All classes of a photo of 50 megapixels would take 4 GB; this takes two maps, and the classes
    are the same.

    Args:
        logits: (C, h, w) float32.
        size: (H, W) of the result.

    Returns:
        (H, W) uint8, the class of the largest logit, the first of equal ones.
    """
    best, labels = None, torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for train_id, plane in enumerate(logits):
        plane = F.interpolate(plane[None, None], size, mode="bilinear")[0, 0]
        if best is None:
            best = plane
        else:
            labels.masked_fill_(plane > best, train_id)
            torch.maximum(best, plane, out=best)
    return labels

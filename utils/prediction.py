"""Predictions of a network at the images' own sizes."""

import torch
import torch.nn.functional as F
from torch import Tensor


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

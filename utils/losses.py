"""Segmentation losses: the mean over each image's labelled pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.metrics import IGNORE


def cross_entropy(logits: Tensor, labels: Tensor, images: float | None = None) -> Tensor:
    """Return the cross-entropy of logits (N, C, H, W) and labels (N, H, W) by :func:`mean_loss`."""
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return mean_loss(losses, labels, images)


def focal_loss(
    logits: Tensor, labels: Tensor, images: float | None = None, gamma: float = 2.0
) -> Tensor:
    """Return the focal loss, (1 - p)^gamma times cross-entropy (Lin et al. 2017).

    Shapes and mean are those of :func:`cross_entropy`.
    """
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    weights = 1 - torch.exp(-losses)
    if gamma < 1:  # the power's slope at 0, where p is 1 or the label ignored, is infinite
        weights = weights.clamp(min=torch.finfo(weights.dtype).tiny)
    return mean_loss(weights**gamma * losses, labels, images)


def mean_loss(losses: Tensor, labels: Tensor, images: float | None = None) -> Tensor:
    """Return the mean over each image's labelled pixels, then over the images that have any.

    All images of a batch thus have the same weight, as in batches of one image: a target image
    with few labelled regions counts as much as a fully labelled source image. Without labelled
    pixels, the loss is 0.

    Args:
        losses: (N, H, W), 0 at ignored pixels.
        labels: (N, H, W), 255 at ignored pixels.
        images: number to divide the sum of the images' means by, where these images are part of a
            larger batch; by default, that of the images with labelled pixels.
    """
    counts = (labels != IGNORE).sum((1, 2))
    means = losses.sum((1, 2)) / counts.clamp(min=1)
    return means.sum() / ((counts > 0).sum().clamp(min=1) if images is None else images)


LOSSES = {"cross_entropy": cross_entropy, "focal_loss": focal_loss}

"""Losses of segmentation (SPEC section 5): each image's mean over its pixels that count."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.metrics import IGNORE


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (N, C, H, W) against labels (N, H, W), see :func:`mean_loss`."""
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return mean_loss(losses, labels)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """(1 - p)^gamma times cross-entropy (Lin et al. 2017), see :func:`mean_loss`."""
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return mean_loss((1 - torch.exp(-losses)) ** gamma * losses, labels)


def mean_loss(losses: Tensor, labels: Tensor) -> Tensor:
    """Mean over an image's pixels that count, then over the images that have any; else 0.

    A batch thus weighs its images alike, as batches of one image do: a target image of which only
    a few regions are labelled is not drowned by fully labelled source images beside it.
    """
    counts = (labels != IGNORE).sum((1, 2))
    means = losses.sum((1, 2)) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


LOSSES = {"cross_entropy": cross_entropy, "focal_loss": focal_loss}

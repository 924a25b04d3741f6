"""From a network's maps to one row a region."""

from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from active_selection.pooling import pool_features, pool_predictions, sum_by_region
from benchmarks.inputs import CELLS, CLASSES, FULL, superpixels
from benchmarks.stage import Work, close, stage


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) -> (C, H, W)."""
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def reference_features(features: Tensor, superpixels: Tensor, regions: int) -> Tensor:
    """Upsample to full size, then average each region: (regions, C)."""
    full = upsample(features, tuple(superpixels.shape))
    return torch.stack([full[:, superpixels == r].mean(1) for r in range(regions)])


@stage(target_ratio=40, runs=3, check=close(1e-5))
def region_features() -> tuple[Work, Work]:
    """Mean features of a street scene's regions, from 256 channels at a quarter of its size."""
    work = (torch.randn(256, *CELLS), *superpixels())
    return partial(pool_features, *work), partial(reference_features, *work)


def reference_predictions(
    logits: Tensor, superpixels: Tensor, regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Upsample, softmax, three uncertainties, predicted classes; then the means of each map."""
    p = upsample(logits, tuple(superpixels.shape)).softmax(0)
    entropy = -(p * torch.log2(p + 1e-12)).mean(0)
    largest, classes = p.max(0)
    confidence = -largest
    top = p.topk(2, dim=0).values
    margin = -(top[0] - top[1])

    def means(values: Tensor) -> Tensor:
        return torch.stack([values[superpixels == r].mean() for r in range(regions)])

    probabilities = torch.stack([means(plane) for plane in p], 1)
    uncertainty = torch.stack([means(values) for values in (entropy, confidence, margin)], 1)
    votes = [torch.bincount(classes[superpixels == r], minlength=len(p)) for r in range(regions)]
    predicted_share = torch.stack([count / count.sum() for count in votes])
    return probabilities, uncertainty, predicted_share


@stage(target_ratio=3, runs=3, check=close(1e-5))
def region_probs_uncertainty() -> tuple[Work, Work]:
    """Mean probabilities and uncertainties, and the shares of predicted classes, from logits."""
    work = (3 * torch.randn(CLASSES, *CELLS), *superpixels())
    return partial(pool_predictions, *work), partial(reference_predictions, *work)


def reference_means(scores: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """Group-by mean of a data frame: (regions,)."""
    frame = pd.DataFrame({"region": superpixels.ravel(), "score": scores.ravel()})
    return frame.groupby("region")["score"].mean().to_numpy()


@stage(target_ratio=50, runs=21, check=close(1e-5))
def region_scores_groupby() -> tuple[Work, Work]:
    """Mean of one score a pixel over each region, at full size."""
    ids, regions = superpixels()
    ids = ids.to(torch.uint8)
    scores = torch.rand(FULL)

    def ours() -> np.ndarray:
        sums, counts = sum_by_region(scores.view(1, -1), ids.view(-1), regions)
        return (sums[:, 0] / counts).numpy()

    return ours, lambda: reference_means(scores.numpy(), ids.numpy())

"""Plain references: the SPEC's formulas step by step, neither optimised nor crippled."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as TF


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) -> (C, H, W)."""
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def region_features(features: Tensor, superpixels: Tensor, regions: int) -> Tensor:
    """Upsample to full size, then average each region."""
    full = upsample(features, tuple(superpixels.shape))
    return torch.stack([full[:, superpixels == r].mean(1) for r in range(regions)])


def region_predictions(logits: Tensor, superpixels: Tensor, regions: int) -> tuple[Tensor, ...]:
    """Upsample, softmax, three scores, votes, and the means of each map on its own."""
    p = upsample(logits, tuple(superpixels.shape)).softmax(0)
    entropy = -(p * torch.log2(p + 1e-12)).mean(0)
    largest, classes = p.max(0)
    confidence = -largest
    top = p.topk(2, dim=0).values
    margin = -(top[0] - top[1])

    def means(values: Tensor) -> Tensor:
        return torch.stack([values[superpixels == r].mean() for r in range(regions)])

    probabilities = torch.stack([means(plane) for plane in p], 1)
    scores = torch.stack([means(values) for values in (entropy, confidence, margin)], 1)
    votes = [torch.bincount(classes[superpixels == r], minlength=len(p)) for r in range(regions)]
    predicted = torch.stack([count / count.sum() for count in votes])
    return probabilities, scores, predicted


def region_means(scores: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """Group-by mean of a data frame."""
    frame = pd.DataFrame({"region": superpixels.ravel(), "score": scores.ravel()})
    return frame.groupby("region")["score"].mean().to_numpy()


def mixture(rows: np.ndarray, components: int) -> GaussianMixture:
    """scikit-learn in double precision."""
    model = GaussianMixture(components, max_iter=200, random_state=0)
    return model.fit(rows.astype(np.float64))


def expand_labelled_set(
    pool: dict[str, list[int]], images: list[list[str]], chosen: list[tuple[str, int]]
) -> tuple[dict[str, list[int]], int]:
    """Find each region's image in the list, open its superpixel map, move it to the labelled."""
    labelled: dict[str, list[int]] = {}
    pixels = 0
    for path, region in chosen:
        entry = next(entry for entry in images if entry[2] == path)
        pixels += int((np.asarray(Image.open(entry[2])) == region).sum())
        pool[path].remove(region)
        labelled.setdefault(path, []).append(region)
    return labelled, pixels


def round_robin(lists: list[list[int]], weights: list[int]) -> list[int]:
    """Take turns by popping from the front."""
    lists, merged = [list(entries) for entries in lists], []
    while any(lists):
        for entries, weight in zip(lists, weights, strict=True):
            for _ in range(min(weight, len(entries))):
                merged.append(entries.pop(0))
    return merged


def iou(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Intersection over union, a class at a time."""
    counted = label != 255
    result = []
    for c in range(classes):
        is_label, is_predicted = label == c, (prediction == c) & counted
        union = np.sum(is_label | is_predicted)
        result.append(np.sum(is_label & is_predicted) / union if union else np.nan)
    return np.array(result)


def training_sample(
    image: str, label: str, superpixel: str, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """PIL and torchvision, step by step: scale, resize, jitter, flip, to tensor, normalise."""
    picture = Image.open(image).convert("RGB")
    maps = [Image.open(label), Image.open(superpixel)]
    scale = rng.uniform(0.5, 1.5)
    scaled = (int(picture.width * scale), int(picture.height * scale))
    for wanted in (scaled, size[::-1]):
        picture = picture.resize(wanted, Image.Resampling.BILINEAR)
        maps = [m.resize(wanted, Image.Resampling.NEAREST) for m in maps]
    picture = ColorJitter(0.5, 0.5, 0.5)(picture)
    if rng.random() < 0.5:
        picture = TF.hflip(picture)
        maps = [TF.hflip(m) for m in maps]
    tensor = TF.normalize(TF.to_tensor(picture), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return tensor, *(torch.from_numpy(np.array(m)).long() for m in maps)

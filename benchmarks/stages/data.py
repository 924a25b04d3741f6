"""Superpixels, and training samples."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as TF

from benchmarks.inputs import FULL, REGIONS, street
from benchmarks.other_slics import Cut, by_fast_slic, by_scikit_image
from benchmarks.stage import Work, stage
from benchmarks.superpixel_quality import achievable_segmentation_accuracy
from data_preprocessing.slic import slic
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, SeededIndex, TrainingSet
from dataloader.images import read_image, read_label
from dataloader.regions import load_regions


def as_accurate(ours: np.ndarray, reference: np.ndarray) -> str:
    """Check (H, W) ids of the first street scene: about the number asked for, and as accurate."""
    items, _ = street()
    label = read_label(items[0].label, load_dataset("cityscapes"))
    counts, accuracies = [], []
    for ids in (ours, reference):
        correct, pixels = achievable_segmentation_accuracy(ids.astype(np.uint8), label)
        counts.append(len(np.unique(ids)))
        accuracies.append(correct / pixels)
    assert abs(counts[0] - REGIONS) <= REGIONS / 3, counts
    assert accuracies[0] >= accuracies[1], accuracies
    regions = f"{counts[0]} regions against {counts[1]}"
    return f"{regions}, accuracy {accuracies[0]:.3f} against {accuracies[1]:.3f}"


def superpixels_against(other: Cut) -> tuple[Work, Work]:
    """Superpixels of a street scene of full size, by the project and by another SLIC."""
    items, _ = street()
    image = read_image(items[0].image)
    return partial(slic, image), partial(other, image)


@stage(target_ratio=12, runs=3, check=as_accurate)
def superpixels_scikit_image() -> tuple[Work, Work]:
    return superpixels_against(by_scikit_image(REGIONS, 10))


@stage(target_ratio=1 / 1.5, runs=3, check=as_accurate)
def superpixels_fast_slic() -> tuple[Work, Work]:
    return superpixels_against(by_fast_slic(REGIONS, 10))


def reference_sample(
    image: str | Path,
    label: str | Path,
    superpixel: str | Path,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pillow and torchvision, step by step: scale, resize, jitter, flip, to tensor, normalise."""
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


def same_kind(ours: list[tuple[Tensor, ...]], reference: list[tuple[Tensor, ...]]) -> str:
    """Check shapes, types and ranges of samples, which is all that agrees: both draw at random."""
    for (image, label), (other_image, other_label, _) in zip(ours, reference, strict=True):
        assert image.shape == other_image.shape == (3, *FULL)
        assert image.dtype == other_image.dtype == torch.float32
        assert label.shape == other_label.shape == FULL
        assert image.min() >= -2.2 and image.max() <= 2.7
    return f"{len(ours)} samples"


@stage(target_ratio=2, check=same_kind)
def train_loader() -> tuple[Work, Work]:
    """8 training samples of full size, read and augmented."""
    items, root = street()
    regions, info = load_regions(items, root, "train"), load_dataset("cityscapes")
    data = TrainingSet([Sample(item, info, list(regions[item.superpixel])) for item in items], FULL)
    seeds = itertools.count()
    rng = np.random.default_rng(0)

    def ours() -> list[tuple[Tensor, Tensor]]:
        return [data[SeededIndex(i % len(items), next(seeds))] for i in range(8)]

    def reference() -> list[tuple[Tensor, Tensor, Tensor]]:
        return [reference_sample(*items[i % len(items)], FULL, rng) for i in range(8)]

    return ours, reference

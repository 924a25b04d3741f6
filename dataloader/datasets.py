"""Datasets for training and evaluation: images as tensors, with their labels and superpixels."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.dataset_info import IGNORE, DatasetInfo, load_dataset
from dataloader.ignore_mask import Masks, mask_of, read_regions
from dataloader.images import read_image, read_label, read_mask, read_superpixels
from dataloader.item import Item
from dataloader.provenance import check_provenance
from dataloader.transforms import EvaluationTransform, TrainingTransform

__all__ = ["EvaluationSet", "Sample", "SeededIndex", "TrainingSet", "load_dataset"]


class SeededIndex(NamedTuple):
    """A training image to load: its index, and the seed of its augmentation."""

    index: int
    seed: int


class Sample(NamedTuple):
    """One training image of a :class:`TrainingSet`.

    Attributes:
        item: paths of image, label and superpixel map.
        info: the dataset that it belongs to.
        regions: ids of the labelled regions; the pixels of all others are ignored. None if the
            whole image is labelled.
        labelled: False if no label is read and every pixel is ignored.
        mask: path of the mask of pixels that are ignored, too; None without one.
    """

    item: Item
    info: DatasetInfo
    regions: Sequence[int] | None = None
    labelled: bool = True
    mask: str | None = None


class TrainingSet(Dataset):
    """Training images; :class:`SeededIndex` -> (image (3, H, W) float32, label (H, W) uint8).

    Args:
        samples: the images, possibly of several datasets.
        size: (H, W) that samples are resized to.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int]):
        self.samples = samples
        self.size = size
        self.checked: set[int] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, index: int) -> str:
        """Return the path of an image."""
        return self.samples[index].item.image

    def __getitem__(self, drawn: SeededIndex) -> tuple[Tensor, Tensor]:
        item, info, regions, labelled, mask = self.samples[drawn.index]
        pixels = read_image(item.image)
        image = to_tensor(pixels)
        if labelled:
            maps = [torch.from_numpy(read_label(item.label, info))]
        else:
            maps = [torch.full(image.shape[-2:], IGNORE, dtype=torch.uint8)]
        if regions is not None:
            if drawn.index not in self.checked:  # once in each worker: it takes as long as a resize
                check_provenance(item.superpixel, item.image, pixels)
                self.checked.add(drawn.index)
            maps.append(unlabelled_mask(item.superpixel, regions))
        if mask is not None:
            maps.append(torch.from_numpy(read_mask(mask).astype(np.uint8) * np.uint8(IGNORE)))
        transform = TrainingTransform(self.size, random_scale=info.random_scale)
        image, (label, *masks) = transform(image, maps, torch.Generator().manual_seed(drawn.seed))
        for mask in masks:
            label = label | mask  # 255 if either is 255
        return image, label


class EvaluationSet(Dataset):
    """Images at evaluation size, with labels and superpixel maps if requested.

    Index -> (index, image (3, H, W) float32, label (H, W) uint8 or None, regions (H0, W0) at their
    original size, as :func:`dataloader.ignore_mask.read_regions` gives them, or None). ``masks``
    maps the paths of images to their masks; it is empty where images have none.
    """

    def __init__(
        self,
        items: Sequence[Item],
        info: DatasetInfo,
        size: tuple[int, int],
        label: bool = False,
        superpixels: bool = False,
        masks: Masks | None = None,
    ):
        self.items = items
        self.info = info
        self.transform = EvaluationTransform(size)
        self.with_label = label
        self.with_superpixels = superpixels
        self.masks = masks or {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor | None, Tensor | None]:
        item = self.items[index]
        maps = [torch.from_numpy(read_label(item.label, self.info))] if self.with_label else []
        pixels = read_image(item.image)
        image, maps = self.transform(to_tensor(pixels), maps)
        superpixels = None
        if self.with_superpixels:
            check_provenance(item.superpixel, item.image, pixels)
            regions = read_regions(item.superpixel, mask_of(item, self.masks))
            superpixels = torch.from_numpy(regions.copy())
        return index, image, maps[0] if maps else None, superpixels


def unlabelled_mask(path: str, regions: Sequence[int]) -> Tensor:
    """Return (H, W) uint8: 0 inside these regions of a superpixel map, 255 outside."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(regions)] = 0
    return torch.from_numpy(cv2.LUT(read_superpixels(path), table))


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert (H, W, 3) uint8 to (3, H, W) uint8, as a view if the array is writable."""
    return torch.from_numpy(image.copy() if not image.flags.writeable else image).permute(2, 0, 1)

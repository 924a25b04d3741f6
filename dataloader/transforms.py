"""Joint transforms of an image and its maps (label, superpixels).

Images are resized bilinearly with antialiasing, as in Pillow. Maps are resized by nearest neighbour
(pixel centres), always to the size of the image, so that they stay aligned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from dataloader.images import fit_label

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LEVELS = np.arange(256)

Maps = list[Tensor]


def resize(image: Tensor, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Maps]:
    """Resize a (3, H, W) uint8 image and its (H, W) maps, of any size, to ``size`` = (H, W)."""
    size = list(size)
    image = F.resize(image, size, InterpolationMode.BILINEAR, antialias=True)
    return image, [torch.from_numpy(fit_label(m.numpy(), size)) for m in maps]


def normalise(image: Tensor) -> Tensor:
    """Convert a (3, H, W) uint8 image to float32, normalised with ImageNet's mean and deviation."""
    tables = (LEVELS[None] / 255 - np.array(MEAN)[:, None]) / np.array(STD)[:, None]
    result = np.empty(image.shape, np.float32)
    planes = cv2.split(image.permute(1, 2, 0).numpy())
    for plane, table, out in zip(planes, tables.astype(np.float32), result, strict=True):
        cv2.LUT(plane, table, out)
    return torch.from_numpy(result)


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize to ``size`` (H, W), then normalise."""

    size: tuple[int, int]

    def __call__(self, image: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Maps]:
        image, maps = resize(image, maps, self.size)
        return normalise(image), maps


@dataclass(frozen=True)
class TrainingTransform:
    """Random scale 0.5-1.5, resize to ``size``, colour jitter 0.5, random flip, normalise.

    All randomness comes from the generator that is passed to the call.
    """

    size: tuple[int, int]
    random_scale: bool = True
    jitter: float = 0.5

    def __call__(
        self, image: Tensor, maps: Sequence[Tensor], rng: torch.Generator
    ) -> tuple[Tensor, Maps]:
        if self.random_scale:
            scale = _uniform(0.5, 1.5, rng)
            scaled = [max(1, int(side * scale)) for side in image.shape[-2:]]
            image, maps = resize(image, maps, scaled)
        image, maps = resize(image, maps, self.size)
        image = self._jitter(image, rng)
        if _uniform(0, 1, rng) < 0.5:
            image, maps = image.flip(-1), [m.flip(-1) for m in maps]
        return normalise(image), list(maps)

    def _jitter(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Scale brightness, contrast and saturation, each by 1 +- jitter, in random order."""
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        for which in torch.randperm(3, generator=rng).tolist():
            pixels = ADJUST[which](pixels, _uniform(1 - self.jitter, 1 + self.jitter, rng))
        return torch.from_numpy(pixels).permute(2, 0, 1)


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale an (H, W, 3) uint8 image by a factor, as torchvision's function of this name."""
    return cv2.LUT(image, _bytes(factor * LEVELS))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale an image's differences from its mean grey level by a factor, as torchvision does."""
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    return cv2.LUT(image, _bytes(factor * LEVELS + (1 - factor) * mean))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale each pixel's differences from its grey level by a factor, as torchvision does."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation)


def _bytes(levels: np.ndarray) -> np.ndarray:
    return levels.clip(0, 255).astype(np.uint8)


def _uniform(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=rng).item()

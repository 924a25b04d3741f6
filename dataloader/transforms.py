"""Joint transforms of an image and the maps (label, superpixels) that belong to it.

Images are resized bilinearly with antialiasing, as Pillow does; maps by nearest neighbour (pixel
centres), always to the image's size, so that they stay aligned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Maps = list[Tensor]


def resize(image: Tensor, maps: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Maps]:
    """Resize a (3, H, W) uint8 image and its (H, W) maps, of any size, to ``size`` = (H, W)."""
    size = list(size)
    image = F.resize(image, size, InterpolationMode.BILINEAR, antialias=True)
    resized = [
        F.resize(m[None], size, InterpolationMode.NEAREST_EXACT)[0] if list(m.shape) != size else m
        for m in maps
    ]
    return image, resized


def normalise(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> float32, ImageNet mean 0 and standard deviation 1."""
    return F.normalize(image.float().div_(255), list(MEAN), list(STD), inplace=True)


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

    All randomness comes from the generator that is handed in.
    """

    size: tuple[int, int]
    random_scale: bool = True
    jitter: float = 0.5

    def __call__(
        self, image: Tensor, maps: Sequence[Tensor], rng: torch.Generator
    ) -> tuple[Tensor, Maps]:
        if self.random_scale:
            scale = _uniform(0.5, 1.5, rng)
            scaled = [max(1, round(side * scale)) for side in image.shape[-2:]]
            image, maps = resize(image, maps, scaled)
        image, maps = resize(image, maps, self.size)
        image = self._jitter(image, rng)
        if _uniform(0, 1, rng) < 0.5:
            image, maps = image.flip(-1), [m.flip(-1) for m in maps]
        return normalise(image), list(maps)

    def _jitter(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Brightness, contrast and saturation, each by 1 +- jitter, in random order."""
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
        for which in torch.randperm(3, generator=rng).tolist():
            image = adjust[which](image, _uniform(1 - self.jitter, 1 + self.jitter, rng))
        return image


def _uniform(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=rng).item()

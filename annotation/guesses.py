"""First guesses for people to correct: what a network predicts of the images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dataloader.dataset_info import DatasetInfo
from dataloader.datasets import EvaluationSet
from dataloader.images import read_size
from dataloader.item import Item
from utils.prediction import enlarged_argmax
from utils.runtime import Runtime


class NetworkGuesses:
    """What a network predicts of some images, made when it is asked for.

    Args:
        model: the network, on its device.
        items: the images.
        info: the dataset that they belong to.
        size: (H, W) that images are resized to for the network.
        runtime: device and precision.
    """

    def __init__(
        self,
        model: nn.Module,
        items: Sequence[Item],
        info: DatasetInfo,
        size: tuple[int, int],
        runtime: Runtime,
    ):
        self.model = model
        self.data = EvaluationSet(items, info, size)
        self.index = {item.image: number for number, item in enumerate(items)}
        self.runtime = runtime

    @torch.inference_mode()
    def __call__(self, image: str) -> np.ndarray:
        """The predicted train ids of an image, (H, W) uint8 at its own size, by its path."""
        _, pixels, _, _ = self.data[self.index[image]]
        self.model.eval()
        with self.runtime.autocast():
            logits = self.model(pixels[None].to(self.runtime.device))[0].float()
        return enlarged_argmax(logits, read_size(image)).cpu().numpy()

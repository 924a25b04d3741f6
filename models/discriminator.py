"""The discriminator of output-space adaptation (AdaptSegNet, Tsai et al. 2018)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(nn.Module):
    """Class probabilities (N, num_classes, H, W) -> logits (N, 1, H/32, W/32) of *target*.

    Five 4x4 convolutions with stride 2 and leaky ReLU between them. Inputs with a side below 32
    pixels are padded with zeros to 32.
    """

    MIN_SIZE = 32

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_classes, 64, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(64, 128, 4, stride=2, padding=1)
        self.conv3 = nn.Conv2d(128, 256, 4, stride=2, padding=1)
        self.conv4 = nn.Conv2d(256, 512, 4, stride=2, padding=1)
        self.classifier = nn.Conv2d(512, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (max(0, self.MIN_SIZE - size) for size in x.shape[-2:])
        if height or width:
            x = F.pad(x, (0, width, 0, height))
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.leaky_relu(layer(x), 0.2)
        return self.classifier(x)

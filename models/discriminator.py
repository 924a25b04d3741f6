"""The discriminator of output-space adaptation (AdaptSegNet, Tsai et al. 2018)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(nn.Module):
    """(N, num_classes, H, W) class probabilities -> (N, 1, H/32, W/32) logits of *target*.

    Five 4x4 convolutions with stride 2, leaky ReLU between. Inputs are at least 32 pixels a side.
    """

    def __init__(self, num_classes: int, width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(num_classes, width, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)
        self.conv4 = nn.Conv2d(4 * width, 8 * width, 4, stride=2, padding=1)
        self.classifier = nn.Conv2d(8 * width, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.leaky_relu(layer(x), 0.2)
        return self.classifier(x)

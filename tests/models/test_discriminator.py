"""Sizes and arithmetic of the output-space discriminator."""

import pytest
import torch
import torch.nn.functional as F

from models.discriminator import Discriminator


def test_names_shapes_and_slope():
    net = Discriminator(5)
    widths = {
        name: tuple(value.shape)
        for name, value in net.state_dict().items()
        if name.endswith("weight")
    }
    assert widths == {
        "conv1.weight": (64, 5, 4, 4),
        "conv2.weight": (128, 64, 4, 4),
        "conv3.weight": (256, 128, 4, 4),
        "conv4.weight": (512, 256, 4, 4),
        "classifier.weight": (1, 512, 4, 4),
    }
    x = torch.randn(2, 5, 64, 96, generator=torch.Generator().manual_seed(0))
    y = x
    for name in ("conv1", "conv2", "conv3", "conv4"):
        layer = getattr(net, name)
        y = F.conv2d(y, layer.weight, layer.bias, stride=2, padding=1)
        y = torch.where(y > 0, y, 0.2 * y)
    y = F.conv2d(y, net.classifier.weight, net.classifier.bias, stride=2, padding=1)
    assert y.shape == (2, 1, 2, 3)
    with torch.no_grad():
        torch.testing.assert_close(net(x), y)


@pytest.mark.parametrize("size", [(8, 8), (31, 64), (64, 31), (1, 33)])
def test_small_input_is_filled_up_with_zeros(size):
    net, (height, width) = Discriminator(5), size
    x = torch.rand(1, 5, height, width, generator=torch.Generator().manual_seed(0))
    filled = torch.zeros(1, 5, max(32, height), max(32, width))
    filled[..., :height, :width] = x
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(filled))

"""DeepLab V2, V3 and V3+ (Chen et al. 2017a, 2017b, 2018): the heads and the whole network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 256
LOW_LEVEL = 48


def conv(
    channels: int, out: int, kernel: int, dilation: int = 1, separable: bool = False
) -> nn.Module:
    """Build a convolution that keeps the spatial size; ``separable`` needs a kernel above 1."""
    padding = dilation * (kernel - 1) // 2
    if separable and kernel > 1:
        return SeparableConv(channels, out, kernel, padding, dilation)
    return nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False)


class SeparableConv(nn.Module):
    """Depthwise convolution (``body.0``) followed by a 1x1 convolution (``body.1``)."""

    def __init__(self, channels: int, out: int, kernel: int, padding: int, dilation: int):
        super().__init__()
        depthwise = nn.Conv2d(
            channels,
            channels,
            kernel,
            padding=padding,
            dilation=dilation,
            groups=channels,
            bias=False,
        )
        self.body = nn.Sequential(depthwise, nn.Conv2d(channels, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def conv_bn_relu(channels: int, out: int, kernel: int, **options) -> list[nn.Module]:
    """Build a convolution, BatchNorm and ReLU, as a list of layers for a Sequential."""
    return [conv(channels, out, kernel, **options), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


class ImagePooling(nn.Sequential):
    """Global average pooling: every pixel gets the mean feature of its image.

    Training with unfrozen BatchNorm needs two images per batch; a single one raises ValueError.
    """

    def __init__(self, channels: int):
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(channels, FEATURES, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 and three dilated 3x3 convolutions and image pooling.

    The concatenated branches are projected to 256 channels.
    """

    def __init__(self, channels: int, rates: tuple[int, ...], separable: bool = False):
        super().__init__()
        branches = [nn.Sequential(*conv_bn_relu(channels, FEATURES, 1))]
        branches += [
            nn.Sequential(*conv_bn_relu(channels, FEATURES, 3, dilation=r, separable=separable))
            for r in rates
        ]
        self.convs = nn.ModuleList([*branches, ImagePooling(channels)])
        self.project = nn.Sequential(
            *conv_bn_relu(len(self.convs) * FEATURES, FEATURES, 1), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.convs], dim=1))


class SummedASPP(nn.Module):
    """DeepLab V2's pyramid: the sum of dilated 3x3 convolutions, without BatchNorm or ReLU."""

    def __init__(self, channels: int, rates: tuple[int, ...] = (6, 12, 18, 24)):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(conv(channels, FEATURES, 3, dilation=rate)) for rate in rates
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.convs)


class HeadV2(nn.Module):
    """DeepLab V2 head: summed ASPP, then a 1x1 classifier."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.aspp = SummedASPP(channels)
        self.final = nn.Conv2d(FEATURES, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return self.aspp(high)


class HeadV3(nn.Module):
    """DeepLab V3 head: ASPP and a 3x3 convolution, then a 1x1 classifier."""

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]):
        super().__init__()
        self.classifier = nn.Sequential(ASPP(channels, rates), *conv_bn_relu(FEATURES, FEATURES, 3))
        self.final = nn.Conv2d(FEATURES, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return self.classifier(high)


class HeadV3Plus(nn.Module):
    """DeepLab V3+ head: ASPP upsampled and joined with low-level features, then a classifier."""

    def __init__(
        self,
        low_channels: int,
        channels: int,
        num_classes: int,
        rates: tuple[int, ...],
        separable: bool,
    ):
        super().__init__()
        self.project = nn.Sequential(*conv_bn_relu(low_channels, LOW_LEVEL, 1))
        self.aspp = ASPP(channels, rates, separable)
        self.classifier = nn.Sequential(
            *conv_bn_relu(LOW_LEVEL + FEATURES, FEATURES, 3, separable=separable)
        )
        self.final = nn.Conv2d(FEATURES, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = self.project(low)
        high = F.interpolate(self.aspp(high), low.shape[-2:], mode="bilinear")
        return self.classifier(torch.cat([low, high], dim=1))


class DeepLab(nn.Module):
    """A DeepLab network: a backbone and a head.

    Args:
        backbone: images -> feature maps {"low_level": stride 4, "out": stride 8 or 16}.
        classifier: (low_level, out) -> features (N, 256, h, w); its layer ``final`` maps features
            to logits.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (N, 256, h, w) before ``final``, and logits (N, classes, h, w)."""
        maps = self.backbone(x)
        features = self.classifier(maps["low_level"], maps["out"])
        return features, self.classifier.final(features)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, H, W) of images (N, 3, H, W), upsampled bilinearly."""
        logits = self.forward_features(x)[1].float()  # half precision loses small differences
        return F.interpolate(logits, x.shape[-2:], mode="bilinear")

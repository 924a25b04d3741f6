"""Torchvision's ResNet and MobileNetV2 as backbones, and their pretrained weights."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import (
    MobileNet_V2_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    mobilenet_v2,
    resnet50,
    resnet101,
)

from utils.checkpoint import find_prefixes, find_weights, load_weights, weights_below
from utils.errors import UserError
from utils.tensor_file import read_plain

log = logging.getLogger(__name__)

WEIGHTS = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1,
    "mobilenet": MobileNet_V2_Weights.IMAGENET1K_V1,
}
RESNETS = {"resnet50": resnet50, "resnet101": resnet101}
CHANNELS = {"resnet50": (256, 2048), "resnet101": (256, 2048), "mobilenet": (24, 320)}
"""Channels of the low-level and of the final feature map."""
LAST_OF_MOBILENET = "features.18."
"""The last 1x1 convolution of torchvision's MobileNetV2, which only its classifier needs."""


class ResNetBackbone(nn.ModuleDict):
    """Torchvision's ResNet up to layer4, with torchvision's parameter names."""

    def __init__(self, name: str, output_stride: int):
        dilate = [False, output_stride == 8, True]
        net = RESNETS[name](weights=None, replace_stride_with_dilation=dilate)
        super().__init__({k: v for k, v in net.named_children() if k not in ("avgpool", "fc")})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for name, layer in self.items():
            x = layer(x)
            if name == "layer1":
                low_level = x
        return {"low_level": low_level, "out": x}


class MobileNetBackbone(nn.Module):
    """Torchvision's MobileNetV2 without its last 1x1 convolution, with the same parameter names."""

    LOW_LEVEL = 3

    def __init__(self, output_stride: int):
        super().__init__()
        self.features = mobilenet_v2(weights=None).features[:-1]
        dilate_strides(self.features, output_stride)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low_level = self.features[: self.LOW_LEVEL + 1](x)
        return {"low_level": low_level, "out": self.features[self.LOW_LEVEL + 1 :](low_level)}


def dilate_strides(blocks: nn.Sequential, output_stride: int) -> None:
    """Replace strides beyond ``output_stride`` by dilation of the following layers, in place."""
    stride, dilation = 1, 1
    for block in blocks:
        convs = [m for m in block.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
        for conv in convs:
            before = dilation
            if conv.stride[0] > 1 and stride * conv.stride[0] > output_stride:
                dilation *= conv.stride[0]
                conv.stride = (1, 1)
            stride *= conv.stride[0]
            conv.dilation = conv.padding = (before, before)


def make_backbone(name: str, output_stride: int) -> nn.Module:
    """Build a backbone with random weights: images -> feature maps {"low_level", "out"}."""
    if name == "mobilenet":
        return MobileNetBackbone(output_stride)
    return ResNetBackbone(name, output_stride)


def load_backbone(net: nn.Module, weights: str) -> None:
    """Load a network's backbone from ``--backbone_weights``: "imagenet", "none" or a file.

    A file holds a state dict with torchvision's names, possibly below a common key
    (:data:`utils.checkpoint.WRAPPERS`) and with a common prefix. Classifiers, auxiliary heads and
    all other weights outside the backbone are ignored.

    Raises:
        UserError: the weights cannot be downloaded or read, belong to another network, or hold
            NaN.
    """
    if weights == "none":
        return
    name = net.backbone_name
    source = f"--backbone_weights {weights}"
    state = _imagenet(name) if weights == "imagenet" else _from_file(Path(weights))
    first, *others = find_prefixes(state, net.backbone.state_dict())
    if others:
        log.warning(
            "%s: holds two networks, their names begin with %r and %r; %r is taken",
            *(source, first, others[0], first),
        )
    parts = {part for part, _ in net.backbone.named_children()}
    state = {
        key: value
        for key, value in weights_below(state, first).items()
        if key.split(".")[0] in parts and not key.startswith(LAST_OF_MOBILENET)
    }
    load_weights(source, state, net.backbone, f"choose weights of {name}")


def _imagenet(name: str) -> Mapping[str, Tensor]:
    try:
        return WEIGHTS[name].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # faults of network, hash and cache raise many exception types
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--backbone_weights imagenet: {WEIGHTS[name].url} cannot be downloaded ({reason}); "
            "fetch it elsewhere and give the PATH of the file, or choose none"
        ) from error


def _from_file(path: Path) -> Mapping[str, Tensor]:
    try:
        weights = find_weights(read_plain(path))
    except UserError as error:
        raise UserError(f"--backbone_weights {error}") from error
    if weights is None:
        raise UserError(f"--backbone_weights {path}: not a state dict; choose weights of a network")
    return weights

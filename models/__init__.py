"""The segmentation networks, by their command-line names."""

from torch import nn

from models.backbones import CHANNELS, load_backbone, make_backbone
from models.deeplab import DeepLab, HeadV2, HeadV3, HeadV3Plus
from utils.errors import UserError

__all__ = ["MODEL_NAMES", "get_model", "load_backbone"]

MODEL_NAMES = (
    "deeplabv3_resnet50",
    "deeplabv3plus_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3plus_resnet101",
    "deeplabv3_mobilenet",
    "deeplabv3plus_mobilenet",
    "deeplabv2_resnet101",
    "deeplabv2_mobilenet",
)
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilation rates of ASPP, by output stride."""


def get_model(
    model: str,
    num_classes: int,
    output_stride: int = 16,
    separable_conv: bool = False,
    pretrained_backbone: bool = True,
) -> nn.Module:
    """Build a segmentation network.

    Args:
        model: one of :data:`MODEL_NAMES`.
        num_classes: number of classes C.
        output_stride: 8 or 16, input size divided by the size of the backbone's last feature map.
        separable_conv: use depthwise separable convolutions in the head (DeepLabV3+ only).
        pretrained_backbone: start from torchvision's ImageNet weights.

    Returns:
        A network with ``backbone`` and ``classifier``; ``net(x)`` -> logits (N, C, H, W);
        ``net.forward_features(x)`` -> (features (N, 256, h, w), logits (N, C, h, w)).

    Raises:
        UserError: the network is unknown, has no separable convolutions, or its weights cannot be
            downloaded.
    """
    if model not in MODEL_NAMES:
        raise UserError(f"-m {model}: no such network; choose from {', '.join(MODEL_NAMES)}")
    head, backbone = model.split("_")
    if separable_conv and head != "deeplabv3plus":
        raise UserError(f"--separable_conv: only for deeplabv3plus networks, not for {model}")
    low, high = CHANNELS[backbone]
    if head == "deeplabv2":
        classifier = HeadV2(high, num_classes)
    elif head == "deeplabv3":
        classifier = HeadV3(high, num_classes, RATES[output_stride])
    else:
        classifier = HeadV3Plus(low, high, num_classes, RATES[output_stride], separable_conv)
    if head != "deeplabv2":
        kaiming_normal(classifier)
    net = DeepLab(make_backbone(backbone, output_stride), classifier)
    net.backbone_name = backbone
    if pretrained_backbone:
        load_backbone(net, "imagenet")
    return net


def kaiming_normal(head: nn.Module) -> None:
    """Initialise the convolution weights of a V3 or V3+ head (He et al. 2015, fan in), in place.

    Biases and V2 heads keep PyTorch's initialisation.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)

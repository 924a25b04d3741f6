"""Networks against the published ones: names, shapes, outputs, region figures."""

import json
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from active_selection.pooling import pool_features, pool_predictions
from models import MODEL_NAMES, get_model, load_backbone
from models.backbones import WEIGHTS
from models.discriminator import Discriminator
from models.folding import fold_batch_norm
from utils.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("deeplabv2_resnet101", "deeplabv3plus_resnet101", "deeplabv3_resnet50")


def build(name, output_stride=16, **options):
    return get_model(name, 19, output_stride, pretrained_backbone=False, **options)


def set_by_rule(net):
    """Weights of the fixtures, see golden/README.md."""
    state = net.state_dict()
    for k, name in enumerate(sorted(state)):
        shape, n = state[name].shape, state[name].numel()
        s = np.sin(0.7 * np.arange(n, dtype=np.float64) + k).reshape(shape)
        if not state[name].is_floating_point():
            value = 0 * s
        elif name.endswith("running_var"):
            value = 1 + 0.5 * s**2
        elif name.endswith(("running_mean", "bias")):
            value = 0.1 * s
        elif len(shape) == 1:
            value = 1 + 0.1 * s
        else:
            value = 1.4 * s / np.sqrt(n / shape[0])
        state[name].copy_(torch.from_numpy(np.asarray(value)))


def golden_input():
    c, i, j = np.mgrid[:3, :128, :256]
    return torch.from_numpy(np.sin(0.05 * i + 0.07 * j * (c + 1)).astype(np.float32))[None]


def golden_superpixels():
    i, j = np.mgrid[:128, :256]
    return torch.from_numpy((5 * i // 128) * 8 + ((j + i // 4) % 256) * 8 // 256)


@pytest.fixture
def quick_weights(monkeypatch):
    """Networks begin with repeats of some random numbers: drawing all of them takes longer."""
    rng = torch.Generator().manual_seed(0)
    normal, uniform = torch.randn(2**16, generator=rng), torch.rand(2**16, generator=rng)

    def repeat(numbers, like):
        return numbers.repeat(like.numel() // len(numbers) + 1)[: like.numel()].view_as(like)

    def normal_(tensor, mean=0, std=1, **_):
        return tensor.copy_(repeat(normal, tensor) * std + mean)

    def uniform_(tensor, low=0, high=1, **_):
        return tensor.copy_(repeat(uniform, tensor) * (high - low) + low)

    monkeypatch.setattr(torch.Tensor, "normal_", normal_)
    monkeypatch.setattr(torch.Tensor, "uniform_", uniform_)


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_the_published_one(quick_weights, name):
    fixture = np.load(GOLDEN / f"{name}_os16.npz")
    expected = json.loads((GOLDEN / f"{name}_os16.state_dict.json").read_text())
    expected = expected.items() if isinstance(expected, dict) else expected
    net = build(name).eval()
    ours = [(key, list(value.shape)) for key, value in net.state_dict().items()]
    assert ours == [(key, list(shape)) for key, shape in expected]

    set_by_rule(net)
    with torch.inference_mode():
        features, logits = net.forward_features(golden_input())
        full = F.interpolate(logits, (128, 256), mode="bilinear", align_corners=False)
        torch.testing.assert_close(net(golden_input()), full)
    assert np.abs(full[0, :, ::8, ::8].numpy() - fixture["logits_stride8"]).max() < 1e-3
    assert (full[0].argmax(0).numpy() == fixture["argmax"]).mean() >= 0.999

    superpixels = golden_superpixels()
    prob, score, _ = pool_predictions(logits[0], superpixels, 40)
    figures = {
        "region_feat": pool_features(features[0], superpixels, 40),
        "region_prob": prob,
        "region_entropy": score[:, 0],
        "region_confidence": score[:, 1],
        "region_margin": score[:, 2],
    }
    for key, value in figures.items():
        scale = np.abs(fixture[key]).max()
        assert np.allclose(value.numpy(), fixture[key], rtol=1e-4, atol=1e-5 * scale), key


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_sizes_of_features_and_logits(quick_weights, name, output_stride):
    net = build(name, output_stride)
    x = torch.randn(2, 3, 32, 64)
    stride = 4 if "v3plus" in name else output_stride
    with torch.no_grad():
        features, logits = net.train().forward_features(x)
        assert features.shape == (2, 256, 32 // stride, 64 // stride)
        assert logits.shape == (2, 19, 32 // stride, 64 // stride)
        assert net.eval()(x[:1]).shape == (1, 19, 32, 64)
        last = net(x[:1].to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, net(x[:1]), rtol=1e-3, atol=1e-3)


def test_dilated_mobilenet_sees_what_the_strided_one_saw():
    """Dilation instead of stride: the same values, at every position instead of each second."""
    torch.manual_seed(0)
    wide, narrow = (build("deeplabv3_mobilenet", stride).backbone.eval() for stride in (8, 16))
    narrow.load_state_dict(wide.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(wide(x)["out"][..., ::2, ::2], narrow(x)["out"])


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet"])
def test_separable_head(backbone):
    plain = build(f"deeplabv3plus_{backbone}").state_dict()
    separable = build(f"deeplabv3plus_{backbone}", separable_conv=True).state_dict()
    changed = [k for k, v in plain.items() if k.startswith("classifier") and v.shape[2:] == (3, 3)]
    assert len(changed) == 4  # three of ASPP and the last 3x3
    for key in changed:
        stem = key.removesuffix(".weight")
        out, channels = plain[key].shape[:2]
        assert separable.pop(f"{stem}.body.0.weight").shape == (channels, 1, 3, 3)
        assert separable.pop(f"{stem}.body.1.weight").shape == (out, channels, 1, 1)
        del plain[key]
    assert {k: v.shape for k, v in plain.items()} == {k: v.shape for k, v in separable.items()}
    with pytest.raises(UserError, match="--separable_conv"):
        build(f"deeplabv3_{backbone}", separable_conv=True)


@pytest.mark.parametrize(
    ("name", "separable"),
    [
        ("deeplabv2_mobilenet", False),
        ("deeplabv3_mobilenet", False),
        ("deeplabv3plus_mobilenet", False),
        ("deeplabv3plus_mobilenet", True),
    ],
)
def test_heads_start_as_the_specification_says(name, separable):
    """V3 and V3+: Kaiming-normal weights by fan in; V2 and every bias: PyTorch's uniform ones."""
    torch.manual_seed(0)
    head = build(name, separable_conv=separable).classifier
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            fan_in, largest = weight[0].numel(), float(weight.abs().max())
            if name == "deeplabv2_mobilenet":
                variance = 1 / (3 * fan_in)
                assert largest <= fan_in**-0.5
            else:
                variance = 2 / fan_in
                assert largest > (3 * variance) ** 0.5  # the bound of a uniform distribution
            error = 5 / np.sqrt(2 * weight.numel())
            assert float(weight.std()) == pytest.approx(variance**0.5, rel=error)
    bias = head.final.bias.detach()  # of fan in 256
    assert bias.abs().max() <= 1 / 16
    assert float(bias.std()) == pytest.approx(1 / 16 / 3**0.5, rel=0.5)


def test_discriminator():
    net = Discriminator(19)
    assert {key.split(".")[0] for key in net.state_dict()} == {
        *("conv1", "conv2", "conv3", "conv4", "classifier")
    }
    widths = [net.conv1.in_channels, net.conv1.out_channels, net.conv4.out_channels]
    assert widths == [19, 64, 512]
    assert net(torch.rand(2, 19, 64, 128)).shape == (2, 1, 2, 4)


def test_offline_names_the_flag(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(type(WEIGHTS["mobilenet"]), "get_state_dict", refuse)
    with pytest.raises(UserError, match=r"--backbone_weights imagenet.*none"):
        get_model("deeplabv3plus_mobilenet", 19)


def test_backbone_weights_from_a_file(tmp_path):
    path = tmp_path / "weights.pth"
    first, second = build("deeplabv2_mobilenet"), build("deeplabv3plus_mobilenet")
    plain = first.backbone.state_dict()
    for state in (
        {**plain, "classifier.1.weight": torch.zeros(1000, 1280)},
        {"model_state_dict": first.state_dict()},
    ):
        torch.save(state, path)
        load_backbone(second, str(path))
        for key, value in second.backbone.state_dict().items():
            assert torch.equal(value, plain[key]), key
        second = build("deeplabv3plus_mobilenet")
    before = second.state_dict()
    load_backbone(second, "none")
    assert all(torch.equal(v, before[k]) for k, v in second.state_dict().items())


def test_wrong_backbone_files_are_named(tmp_path):
    net = build("deeplabv2_mobilenet")
    path = tmp_path / "weights.pth"
    with pytest.raises(UserError, match=r"weights\.pth"):
        load_backbone(net, str(path))
    path.write_text("nothing of the kind")
    with pytest.raises(UserError, match=r"weights\.pth"):
        load_backbone(net, str(path))
    torch.save({"features.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"features\.0\.0\.weight is \(1,\)"):
        load_backbone(net, str(path))


def test_imagenet_weights_have_the_backbones_names():
    """The published weights' own metadata are not on disk; their names are torchvision's."""
    from torchvision.models import mobilenet_v2, resnet50

    for name, build_net in (("mobilenet", mobilenet_v2), ("resnet50", resnet50)):
        published = build_net(weights=None).state_dict()
        ours = build(f"deeplabv3_{name}").backbone.state_dict()
        assert all(published[key].shape == value.shape for key, value in ours.items())


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_folded_batch_norm_changes_nothing_in_float32(quick_weights, name):
    torch.manual_seed(0)
    net = build(name).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    x = torch.randn(1, 3, 64, 128)
    with torch.inference_mode():
        expected = net(x)
        folded = fold_batch_norm(net)(x)
    torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())

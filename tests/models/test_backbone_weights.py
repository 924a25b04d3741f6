"""Where a backbone starts: torchvision's own loading code, and files of another network."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import mobilenet_v2, resnet50

from models import get_model, load_backbone
from utils.errors import UserError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty download cache below ``tmp_path``."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path


def without_counters(state):
    """As in torchvision's older files, which do not know how many batches BatchNorm has seen."""
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def on_meta(name):
    """A network of shapes alone: what is refused must be refused before anything is copied."""
    with torch.device("meta"):
        return get_model(name, 5, pretrained_backbone=False)


def save_shapes(shapes, path):
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "whole_network"),
    [("deeplabv3plus_mobilenet", mobilenet_v2), ("deeplabv3_resnet50", resnet50)],
)
def test_imagenet_file_is_checked_and_loads_by_name(name, whole_network, hub, monkeypatch):
    published = without_counters(whole_network(weights=None).state_dict())
    hashes = []

    def download(url, target, hash_prefix=None, progress=True):
        hashes.append((url, hash_prefix))
        torch.save(published, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    ours = get_model(name, 5).backbone.state_dict()
    ((url, hash_prefix),) = hashes
    assert hash_prefix and hash_prefix in url
    for key, value in without_counters(ours).items():
        assert torch.equal(value, published[key]), key


@pytest.mark.parametrize(
    "error",
    [URLError("no route to host"), TimeoutError("timed out"), RuntimeError("invalid hash value")],
)
def test_failed_download_is_one_line_with_the_remedy(error, hub, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(
        UserError, match=r"--backbone_weights imagenet:.*none or the PATH"
    ) as raised:
        load_backbone(on_meta("deeplabv3plus_mobilenet"), "imagenet")
    assert "\n" not in str(raised.value)


def test_downloaded_file_runs_nothing(hub, monkeypatch):
    class Trap:
        def __reduce__(self):
            return Path.touch, (hub / "sprung",)

    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda _, target, *__, **___: torch.save(Trap(), target)
    )
    with pytest.raises(UserError, match=r"--backbone_weights imagenet.*Weights only") as raised:
        load_backbone(on_meta("deeplabv3plus_mobilenet"), "imagenet")
    assert "\n" not in str(raised.value)
    assert not (hub / "sprung").exists()


def test_deeper_network_is_refused(tmp_path):
    """All names of ResNet-50 occur in ResNet-101, with the same shapes."""
    deeper = {k: v.shape for k, v in on_meta("deeplabv2_resnet101").backbone.state_dict().items()}
    path = save_shapes(deeper, tmp_path / "resnet101.pth")
    with pytest.raises(UserError, match=r"resnet101\.pth: layer3\.6\.\S+ is .*unexpected"):
        load_backbone(on_meta("deeplabv3_resnet50"), path)


def test_shallower_network_is_refused(tmp_path):
    shapes = {k: v.shape for k, v in on_meta("deeplabv3_resnet50").backbone.state_dict().items()}
    path = save_shapes(shapes, tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match=r"resnet50\.pth: layer3\.6\.\S+ is missing, expected"):
        load_backbone(on_meta("deeplabv2_resnet101"), path)


def test_file_below_state_dict_and_backbone_loads(tmp_path):
    net = get_model("deeplabv2_mobilenet", 5, pretrained_backbone=False)
    other = mobilenet_v2(weights=None).state_dict()
    wrapped = {"state_dict": {f"backbone.{k}": v for k, v in other.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "w.pth")
    head = {k: v.clone() for k, v in net.classifier.state_dict().items()}
    load_backbone(net, str(tmp_path / "w.pth"))
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, other[key]), key
    for key, value in net.classifier.state_dict().items():
        assert torch.equal(value, head[key]), key


@pytest.mark.parametrize("content", [torch.zeros(3), {"conv1.weight": 3}, {"state_dict": [1]}])
def test_file_that_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: not a state dict"):
        load_backbone(on_meta("deeplabv3plus_mobilenet"), str(tmp_path / "w.pth"))

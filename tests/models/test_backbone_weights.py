"""Where a backbone starts: torchvision's own loading code, and files of another network."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.models import mobilenet_v2, resnet50
from torchvision.models.segmentation import deeplabv3_resnet50

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


def save_like(name, path):
    """A backbone of zeros, in half precision."""
    tensors = on_meta(name).backbone.state_dict().items()
    half = {
        k: torch.zeros(v.shape, dtype=torch.bfloat16 if v.ndim else v.dtype) for k, v in tensors
    }
    torch.save(half, path)
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
    remedy = (
        r"--backbone_weights imagenet: https://.*mobilenet_v2.*PATH of the file, or choose none"
    )
    with pytest.raises(UserError, match=remedy) as raised:
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
    path = save_like("deeplabv2_resnet101", tmp_path / "resnet101.pth")
    with pytest.raises(UserError, match=r"resnet101\.pth: layer3\.6\.\S+ is .*unexpected"):
        load_backbone(on_meta("deeplabv3_resnet50"), path)


def test_shallower_network_is_refused(tmp_path):
    path = save_like("deeplabv3_resnet50", tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match=r"resnet50\.pth: layer3\.6\.\S+ is missing, expected"):
        load_backbone(on_meta("deeplabv2_resnet101"), path)


OTHER_PARTS = {
    "classifier.4.weight": torch.zeros(21, 256, 1, 1),
    "aux_classifier.4.weight": torch.zeros(21, 256, 1, 1),
    "decode_head.conv_seg.weight": torch.zeros(19, 512, 1, 1),
    "fc.weight": torch.zeros(1000, 1280),
}


def below(*wrappers):
    """The weights below keys, and with prefixes (that end with a dot) before their names."""

    def wrap(state):
        for wrapper in reversed(wrappers):
            if wrapper.endswith("."):
                state = {wrapper + key: value for key, value in state.items()}
            else:
                state = {wrapper: state, "epoch": 3, "best": np.float64(0.5)}
        return state

    return wrap


@pytest.mark.parametrize(
    "around", [(), ("model",), ("state_dict", "module."), ("state_dict", "model.")]
)
@pytest.mark.parametrize("inner", [(), ("backbone.",)])
def test_backbone_below_the_usual_wrappers_loads(around, inner, tmp_path):
    net = get_model("deeplabv2_mobilenet", 5, pretrained_backbone=False)
    other = mobilenet_v2(weights=None).state_dict()  # with the classifier's last convolution
    torch.save(below(*around)(below(*inner)(other) | OTHER_PARTS), tmp_path / "w.pth")
    head = {k: v.clone() for k, v in net.classifier.state_dict().items()}
    load_backbone(net, str(tmp_path / "w.pth"))
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, other[key]), key
    for key, value in net.classifier.state_dict().items():
        assert torch.equal(value, head[key]), key


@pytest.mark.parametrize(
    "wrap",
    [
        below("model_state_dict", "module.", "_orig_mod."),
        below("model", "state_dict"),
        below("state_dict", "module.encoder_q."),
        below("model_state_dict", "backbone"),
    ],
)
def test_resnet_below_the_usual_wrappers_loads(wrap, tmp_path):
    """Its names, as conv1.weight, occur in each of its blocks, too."""
    net = get_model("deeplabv3_resnet50", 5, pretrained_backbone=False)
    expected = {
        k: torch.full_like(v, i) for i, (k, v) in enumerate(net.backbone.state_dict().items())
    }
    torch.save(wrap(without_counters(expected)), tmp_path / "w.pth")
    load_backbone(net, str(tmp_path / "w.pth"))
    for key, value in without_counters(net.backbone.state_dict()).items():
        assert torch.equal(value, expected[key]), key


def test_the_first_of_two_networks_is_taken_and_told(tmp_path, caplog):
    """As MoCo's query and key encoders."""
    net = get_model("deeplabv2_mobilenet", 5, pretrained_backbone=False)
    query = mobilenet_v2(weights=None).state_dict()
    key = {name: value + 1 for name, value in query.items()}
    torch.save(below("encoder_q.")(query) | below("encoder_k.")(key), tmp_path / "w.pth")
    load_backbone(net, str(tmp_path / "w.pth"))
    assert all(torch.equal(v, query[name]) for name, v in net.backbone.state_dict().items())
    assert (
        "their names begin with 'encoder_q.' and 'encoder_k.'; 'encoder_q.' is taken" in caplog.text
    )


def test_torchvision_segmentation_network_gives_its_backbone(tmp_path):
    whole = deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict()
    torch.save(whole, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    net = on_meta("deeplabv2_resnet101")
    with pytest.raises(UserError, match=r"w\.pth: layer3\.6\.conv1\.weight is missing, expected"):
        load_backbone(net, str(tmp_path / "w.pth"))
    net = get_model("deeplabv3_resnet50", 5, pretrained_backbone=False)
    load_backbone(net, str(tmp_path / "w.pth"))
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, whole[f"backbone.{key}"]), key


def test_backbone_with_nan_is_refused(tmp_path):
    state = mobilenet_v2(weights=None).state_dict()
    state["features.3.conv.0.0.weight"][0] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    net = get_model("deeplabv2_mobilenet", 5, pretrained_backbone=False)
    with pytest.raises(
        UserError, match=r"--backbone_weights \S+w\.pth: features\.3\.\S+ holds NaN"
    ):
        load_backbone(net, str(tmp_path / "w.pth"))


@pytest.mark.parametrize("content", [torch.zeros(3), {"conv1.weight": 3}, {"state_dict": [1]}])
def test_file_that_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: not a state dict"):
        load_backbone(on_meta("deeplabv3plus_mobilenet"), str(tmp_path / "w.pth"))

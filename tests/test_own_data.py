"""What users meet on a first day with own classes, own checkpoints and own photos."""

import subprocess
import sys
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluation
import inference
import train_ADA
from dataloader.dataset_info import load_dataset
from dataloader.domain import agree_on_classes
from dataloader.loaders import Loader
from utils.checkpoint import save_checkpoint
from utils.errors import UserError
from utils.files import write_json, write_png
from utils.metrics import padded_names
from utils.runtime import Runtime
from utils.validation import validate

ROOT = Path(__file__).parents[1]
OWN = {
    "image": "img/{stem}.png",
    "label": "lab/{stem}.png",
    "superpixel": "superpixel/{stem}.png",
    "splits": {"train": "", "val": ""},
    "label_to_train": {"0": 0, "1": 1, "2": 2},
    "label_reader": "index",
    "class_names": ["soil", "plant", "weed"],
    "palette": [[9, 8, 7], [0, 255, 0], [255, 0, 0]],
}
FACTS = {key: OWN[key] for key in ("class_names", "palette")} | {"dataset": "field"}


@pytest.fixture()
def checkpoint(monkeypatch, tmp_path) -> str:
    """A checkpoint that knows its own three classes, of a network of one layer."""
    network = torch.nn.Conv2d(3, 3, 1)
    monkeypatch.setattr(inference, "get_model", lambda *_: torch.nn.Conv2d(3, 3, 1))
    path = tmp_path / "own.tar"
    save_checkpoint(path, network, torch.optim.SGD(network.parameters()), network=FACTS)
    return str(path)


def own(**changes) -> Namespace:
    """The flags of a dataset with these keys of info.json changed."""
    path = Path(changes.pop("folder")) / "info.json"
    write_json(path, OWN | changes)
    return Namespace(val_dataset=str(path), num_classes=None)


def test_photos_are_predicted_in_the_checkpoints_own_classes(checkpoint, tmp_path):
    """Without a description of its dataset; cityscapes, the default, has other classes."""
    write_png(tmp_path / "in" / "a.png", np.zeros((32, 64, 3), np.uint8))
    flags = f"--num_workers 0 --image_size 32 64 --trained_model_path {checkpoint}".split()
    flags += ["--image_dir", str(tmp_path / "in"), "--save_dir", str(tmp_path / "out")]
    inference.main(flags)
    label = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    color = np.asarray(Image.open(tmp_path / "out" / "a_color.png"))
    assert (color == np.array(OWN["palette"])[label]).all()
    for more in (["--val_dataset", "cityscapes"], ["--label_ids"]):
        with pytest.raises(UserError, match=r"its class 0 is road, .*network is soil"):
            inference.main([*flags, *more])


def test_more_or_fewer_classes_than_the_networks_are_refused(tmp_path):
    names = OWN["class_names"]
    agree_on_classes(own(folder=tmp_path), "val", network=padded_names(names, 5))  # --num_classes 5
    for network, words in (
        ([*names, "rock"], "class 3 is missing, .* network is rock"),
        (names[:2], "class 2 is weed, .* network is missing"),
        (["soil", "weed", "plant"], "class 1 is plant, .* network is weed"),
    ):
        with pytest.raises(UserError, match=words):
            agree_on_classes(own(folder=tmp_path), "val", network=network)


def test_pictures_of_predictions_are_told_from_predictions(tmp_path):
    args = own(folder=tmp_path / "info")
    for folder, shape in (("img", (8, 8, 3)), ("lab", (8, 8)), ("pred", (8, 8, 3))):
        write_png(tmp_path / folder / "a.png", np.zeros(shape, np.uint8))
    flags = ["--dataset", args.val_dataset, "--root_dir", str(tmp_path)]
    with pytest.raises(UserError, match="of train ids, not of colours; run"):
        evaluation.main([*flags, "--pred_dir", str(tmp_path / "pred")])


@pytest.mark.parametrize("rate", ["2.5e-4", "1e-3"])
def test_train_lr_of_the_release_is_told_whatever_its_value(rate, monkeypatch, tmp_path):
    monkeypatch.setattr(train_ADA, "agree_on_classes", lambda *_, **__: None)
    monkeypatch.setattr(train_ADA, "run_rounds", lambda *_: None)
    flags = ["-p", str(tmp_path), "--init_checkpoint", "x"]
    train_ADA.main(flags)
    train_ADA.main([*flags, "--train_lr", rate])
    config = tmp_path / "own.toml"
    for text, times in ((f"train_lr = {rate}", 1), (f"[train_ADA]\ntrain_lr = {rate}", 2)):
        config.write_text(text)
        train_ADA.main([*flags, "--config", str(config)])
        lines = (tmp_path / "log_train.txt").read_text().splitlines()
        assert len(lines) == times
        assert all("--train_lr is that of the warm-up" in line for line in lines)


def test_more_workers_than_cores_and_large_photos_are_no_news(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Loader([0, 1], 1000)
    Image.new("1", (10000, 9000)).save(tmp_path / "90.png")
    code = (
        f"from dataloader.images import read_size; print(read_size({str(tmp_path / '90.png')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(9000, 10000)\n", "")


def toy_labels(folder: Path, labels: np.ndarray, predictions: np.ndarray) -> list[str]:
    """Flags of evaluation.py for one Cityscapes image with these (H, W) arrays."""
    stem = "ulm_000000_000019"
    write_png(folder / f"leftImg8bit/val/ulm/{stem}_leftImg8bit.png", np.zeros((8, 8, 3), np.uint8))
    write_png(folder / f"gtFine/val/ulm/{stem}_gtFine_labelIds.png", labels)
    write_png(folder / f"pred/{stem}_leftImg8bit.png", predictions)
    return ["--root_dir", str(folder), "--pred_dir", str(folder / "pred")]


def test_labels_of_train_ids_are_told_by_few_classes_and_predictions_not_blamed(tmp_path, caplog):
    labels = np.full((8, 8), 255, np.uint8)
    labels[2:4], labels[4:6], labels[6:] = 0, 8, 10
    evaluation.main(toy_labels(tmp_path / "a", labels, labels))
    assert "these look like train ids" in caplog.text
    assert "numbered in another way" not in caplog.text
    labels[labels == 8] = 0
    with pytest.raises(UserError, match=r"no pixel has a class.*these look like train ids"):
        evaluation.main(toy_labels(tmp_path / "b", labels, labels))


def test_predictions_without_any_class_are_refused(tmp_path, caplog):
    labels, nothing = np.full((8, 8), 7, np.uint8), np.full((8, 8), 255, np.uint8)
    with pytest.raises(UserError, match=r"100.00 % of the predicted values are no class, .* 255"):
        evaluation.main(toy_labels(tmp_path / "a", labels, nothing))
    nothing[:2] = 0
    evaluation.main(toy_labels(tmp_path / "b", labels, nothing))
    assert "75.00 % of the predicted values are no class, most often 255" in caplog.text


def test_colours_of_labels_are_those_of_the_table():
    info = load_dataset("cityscapes")
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert (info.colors(labels) == info.color_table[labels]).all()


def test_validation_on_classes_that_do_not_count_is_refused():
    """Not a mean over the classes that are predicted, which would be 0.00 without a word."""
    labels = torch.full((1, 8, 8), 2, dtype=torch.uint8)
    batches = [([0], torch.zeros(1, 3, 8, 8), labels, [None])]
    network, runtime = torch.nn.Conv2d(3, 3, 1), Runtime(torch.device("cpu"))
    names = OWN["class_names"]
    assert validate(network, batches, names, runtime).miou in (0, 1)
    for absent, missing in (([2], []), ([], [2])):
        with pytest.raises(UserError, match="has a class that counts; see --val_dataset"):
            validate(network, batches, names, runtime, missing, absent=absent)

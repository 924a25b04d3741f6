"""docs/own_data.md: its files and commands, as a reader types them, on drawn images."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataloader.dataset_info import load_dataset
from tests.in_process import ROOT

PAGE = (ROOT / "docs" / "own_data.md").read_text()
HEIGHT, WIDTH = 48, 64
TINY = {
    "image_size": f"[{HEIGHT}, {WIDTH}]",
    "num_workers": "0",
    "train_batch_size": "2",
    "backbone_weights": '"none"',
    "total_itrs": "2",
    "ramp_itrs": "1",
    "val_period": "2",
    "finetune_itrs": "2",
}
VOID = 11


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def place(text: str, folder: Path) -> str:
    """The page's paths, which are relative to where the reader stands, below a folder."""
    return re.sub(r"(?<![\w/.])(own/|data/own|exp/own|answers$)", rf"{folder}/\1", text, flags=re.M)


def draw(folder: Path, label: bool, colors: np.ndarray, rng: np.random.Generator) -> None:
    """A scene of three classes as JPEG, and its label in colours, in folders with blanks."""
    scene = np.full((HEIGHT, WIDTH), 0)
    scene[20:], scene[20:40, 10:30], scene[35:, 40:] = 3, 1, VOID
    scene = np.roll(scene, rng.integers(WIDTH), 1)
    noise = rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
    image, drawn = (Path(str(folder).format(what)) for what in ("images", "labels"))
    image.parent.mkdir(parents=True, exist_ok=True)
    pixels = (colors[scene] + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(image.with_suffix(".jpg"))
    if label:
        drawn.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colors[scene]).save(drawn.with_suffix(".png"))


@pytest.fixture
def reader(tmp_path) -> Path:
    """Where a reader stands who has data laid out as on the page, and its two files."""
    (description,), (settings,) = blocks("json"), blocks("toml")
    for key, value in TINY.items():
        settings, count = re.subn(rf"^{key} = [^#\n]*", f"{key} = {value} ", settings, flags=re.M)
        assert count
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "info.json").write_text(description)
    (tmp_path / "own" / "own.toml").write_text('device = "cpu"\n' + place(settings, tmp_path))
    rng = np.random.default_rng(0)
    palette = json.loads(description)["palette"]
    colors = np.array([*palette, [0, 0, 0]], np.uint8)
    data = tmp_path / "data" / "own"
    for number in range(4):
        draw(data / f"labelled/{{}}/train/monday drive/frame f{number}", True, colors, rng)
        draw(data / f"camera/{{}}/train/evening drive/frame 0{number}", False, colors, rng)
    for number in range(2):
        draw(data / f"camera/{{}}/val/evening drive/frame 1{number}", True, colors, rng)
    bonnet = np.zeros((HEIGHT, WIDTH), np.uint8)
    bonnet[44:] = 255
    Image.fromarray(bonnet).save(data / "camera" / "bonnet.png")
    return tmp_path


def label(package: Path, folder: Path) -> None:
    """What people do: paint over the first guess, and skip a region."""
    folder.mkdir()
    for path in (package / "masks_color").iterdir():
        numbers = np.asarray(Image.open(package / "regions" / path.name))
        painted = np.asarray(Image.open(path)).copy()
        painted[numbers > 0] = (110, 70, 120)
        Image.fromarray(painted).save(folder / path.name)


def test_the_page_leads_to_predictions_in_own_classes(script, reader, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # superpixels in this process
    said = []
    commands = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    for command in commands:
        assert command.startswith("python ")
        if "import.py" in command:
            label(reader / "exp/own/annotation/round_00", reader / "answers")
        said.append(script(place(command, reader).removeprefix("python ")))
    assert len(said) == 9
    masked = re.search(r"ignore_mask: (.*) % of the pixels are never asked for", said[1])
    assert 100 * 4 / HEIGHT <= float(masked[1]) < 30  # and superpixels that are mostly bonnet
    for out, number in ((said[3], 0), (said[5], 1)):
        assert f"round {number:02d}: label " in out and "--resume" in out
        assert f"open {reader}/exp/own/annotation/round_{number:02d}/index.html" in out
    assert "answered" in said[4]
    record = json.loads((reader / "exp/own/AL_record/round_01.json").read_text())
    assert record["labelled_pixels"] > 0 and "IoU" in str(record)
    report = (reader / "exp/own/report/index.html").read_text()
    assert "numbered as in the labelling package" in report
    info = load_dataset(str(reader / "own" / "info.json"))
    assert all(name in said[8] for name in info.class_names) and "mIoU" in said[8]
    for folder, name in (("predictions", "frame 10"), ("drive", "frame 00")):
        found = list((reader / "exp/own" / folder).rglob(f"{name}*"))
        assert sorted(path.name.removeprefix(name) for path in found) == [
            ".png",
            "_color.png",
            "_overlay.png",
        ]
        ids = np.asarray(Image.open(min(found, key=lambda path: len(path.name))))
        assert ids.shape == (HEIGHT, WIDTH) and ids.max() < info.num_classes


def test_the_page_explains_the_keys_that_it_uses():
    description = json.loads(blocks("json")[0])
    table = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == set(description)

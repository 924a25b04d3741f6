"""The commands and files of a small experiment on the toy city."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

ROUNDS = 2
SIZE = 0.3  # images' worth of pixels a round
NETWORK = (
    "-m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 --num_workers 0 --device cpu"
)


def flags(city: Path, source: str = "GTA5") -> str:
    return (
        f"{NETWORK} --no-freeze_bn --train_batch_size 2 "
        f"--src_dataset {source} --src_data_dir {city}/{source} "
        f"--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes"
    )


def load(path: Path):
    return pickle.loads(path.read_bytes())


def region_sets(datalist):
    """Labelled and pool regions as sets of (superpixel path, id)."""
    return (
        {(path, region) for path, ids in datalist[key].items() for region in ids}
        for key in ("trg_label_suppix", "trg_pool_suppix")
    )


def areas_of(city: Path) -> dict:
    areas = {}
    for path in (city / "Cityscapes" / "superpixel" / "train").rglob("*_superpixel.png"):
        counts = np.bincount(np.asarray(Image.open(path)).ravel())
        areas |= {(str(path), region): int(n) for region, n in enumerate(counts) if n}
    return areas


def assert_same_files(exp: Path, expected: Path) -> None:
    """Two runs left the same files: weights and lists byte for byte, records by their values."""
    names = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
    assert {path.relative_to(exp) for path in exp.rglob("*") if path.is_file()} == names
    for name in names:
        ours, theirs = exp / name, expected / name
        if name.suffix in (".pkl", ".tar"):
            assert ours.read_bytes() == theirs.read_bytes(), name
        elif name.parent.name == "AL_record":
            assert json.loads(ours.read_text()) == json.loads(theirs.read_text()), name

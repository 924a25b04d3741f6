"""The benchmark's inputs: street scenes of full size, synthetic features, networks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dataloader.datalist import read_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.domain import Domain
from dataloader.images import read_superpixels
from dataloader.item import Item
from models import get_model

ROOT = Path(__file__).parents[1]
CITY = ROOT / "benchmarks" / "data"
FULL, CELLS = (1024, 2048), (256, 512)
REGIONS, CLASSES = 40, 19


def draw_city() -> None:
    """Draw street scenes of full size, with superpixels, unless they exist."""
    if (CITY / "Cityscapes" / "superpixel" / "train.dict").is_file():
        return
    for command in (
        f"toy_city.py --root {CITY} --images 4 --size {FULL[0]} {FULL[1]} --quiet",
        f"superpixel_gen.py --dataset cityscapes --datadir {CITY}/Cityscapes",
    ):
        script, *flags = command.split()
        subprocess.run(
            [sys.executable, ROOT / "data_preprocessing" / script, *flags],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def street() -> tuple[list[Item], Path]:
    """Return the training images of the drawn city, and their root."""
    draw_city()
    root = CITY / "Cityscapes"
    return read_datalist(root / "train.txt", root), root


def street_domain() -> Domain:
    """Return the training images of the drawn city, with their regions."""
    items, root = street()
    return Domain(load_dataset("cityscapes"), str(root), items).with_regions("train")


def superpixels() -> tuple[torch.Tensor, int]:
    """Return (1024, 2048) int64 region ids of a street scene, from 0 on, and their number."""
    items, _ = street()
    ids = torch.from_numpy(read_superpixels(items[0].superpixel).astype(np.int64))
    return ids, int(ids.max()) + 1


def made_up_features(
    centres: np.ndarray, spread: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return (n, d) float32 features similar to a network's: correlated, noisy, non-negative.

    Args:
        centres: (n, d), the centre that each row is drawn around.
        spread: (r, d) directions in which rows vary.
        rng: source of the random numbers.
    """
    features = centres + rng.normal(size=(len(centres), len(spread))) @ spread
    return np.maximum(features + 0.3 * rng.normal(size=centres.shape), 0).astype(np.float32)


def clustered_features(rows: int, seed: int) -> np.ndarray:
    """Return (rows, 256) float32 features around 30 centres."""
    rng = np.random.default_rng(seed)
    centres, spread = 0.3 * rng.normal(size=(30, 256)), 0.3 * rng.normal(size=(40, 256))
    return made_up_features(centres[rng.integers(0, 30, rows)], spread, rng)


def draw_pairs(items: list[Item], pairs: int, folder: Path, info: DatasetInfo) -> None:
    """Write labels and predictions for this project's evaluation and for the official one.

    The folder gets ``data`` (Cityscapes' layout) and ``predictions`` (train ids) for this project,
    and ``official/truth`` and ``official/predictions`` (label ids) for Cityscapes' script. An
    existing folder is left unchanged.
    """
    from cityscapesscripts.helpers.labels import trainId2label

    if folder.exists():
        return
    to_id = np.array([trainId2label[i].id if i < CLASSES else 0 for i in range(256)], np.uint8)
    part = folder.with_suffix(".part")
    rng = np.random.default_rng(0)
    for number in range(pairs):
        name = f"city_{number:06d}_000019"
        label_ids = np.roll(
            np.asarray(Image.open(items[number % len(items)].label)), 40 * number, 1
        )
        truth = info.label_table[label_ids]
        blocks = np.kron(rng.random((32, 64)) < 0.3, np.ones((32, 32), bool))
        others = np.kron(rng.integers(0, CLASSES, (32, 64)), np.ones((32, 32), int))
        predicted = np.where(blocks | (truth == 255), others, truth).astype(np.uint8)
        for path, pixels in (
            (f"data/leftImg8bit/val/city/{name}_leftImg8bit.png", np.zeros((1, 1), np.uint8)),
            (f"data/gtFine/val/city/{name}_gtFine_labelIds.png", label_ids),
            (f"predictions/{name}_leftImg8bit.png", predicted),
            (f"official/predictions/{name}.png", to_id[predicted]),
            (f"official/truth/{name}.png", label_ids),
        ):
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(part / path)
    part.rename(folder)


def network(name: str) -> nn.Module:
    """Return a network with random weights, for 19 classes, in evaluation mode."""
    torch.manual_seed(0)
    return get_model(name, CLASSES, pretrained_backbone=False).eval()

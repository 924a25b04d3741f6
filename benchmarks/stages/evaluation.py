"""From labels and predictions to IoU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.inputs import CITY, CLASSES, FULL, ROOT, draw_pairs, street
from benchmarks.stage import Work, close, stage
from dataloader.dataset_info import load_dataset
from dataloader.images import read_label
from utils.metrics import ConfusionMatrix


def reference_iou(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Intersection over union, a class at a time: (classes,), NaN where a class is in neither."""
    counted = label != 255
    result = []
    for c in range(classes):
        is_label, is_predicted = label == c, (prediction == c) & counted
        union = np.sum(is_label | is_predicted)
        result.append(np.sum(is_label & is_predicted) / union if union else np.nan)
    return np.array(result)


@stage(target_ratio=8, runs=11, check=close(1e-12))
def confusion() -> tuple[Work, Work]:
    """IoU of every class, of one image."""
    items, _ = street()
    label = read_label(items[0].label, load_dataset("cityscapes"))
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.random((64, 128)) < 0.3, np.ones((16, 16), bool))
    prediction = np.where(blocks, rng.integers(0, CLASSES, FULL), np.minimum(label, CLASSES - 1))
    prediction = prediction.astype(np.uint8)

    def ours() -> np.ndarray:
        matrix = ConfusionMatrix(CLASSES)
        matrix.add(label, prediction)
        return matrix.iou()

    return ours, lambda: reference_iou(label, prediction, CLASSES)


def run_script(*command: str | Path) -> None:
    """Run a script of the project, quietly."""
    subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True, env=os.environ
    )


def same_ious(ours: dict[str, float | None], reference: dict[str, float]) -> str:
    """Check the IoUs of both scripts, ours in percent, by the names that each gives a class."""
    for name, iou in ours.items():
        official = reference[f"traffic {name}" if name in ("light", "sign") else name]
        assert iou is None or abs(iou - 100 * official) < 1e-9, name
    return "same IoU of every class"


@stage(target_ratio=2, runs=3, check=same_ious, cores=2, own_memory=False)
def evaluation_py() -> tuple[Work, Work]:
    """50 pairs of full size: evaluation.py against Cityscapes' own script, a process each."""
    (items, _), folder = street(), CITY / "evaluation"
    draw_pairs(items, 50, folder, load_dataset("cityscapes"))
    figures, official_figures = CITY / "figures.json", CITY / "official.json"

    def ours() -> dict[str, float | None]:
        paths = ("--root_dir", folder / "data", "--pred_dir", folder / "predictions")
        run_script("evaluation.py", *paths, "--json", figures)
        return json.loads(figures.read_text())["IoU"]

    def reference() -> dict[str, float]:
        run_script("benchmarks/official_evaluation.py", folder / "official", official_figures)
        return json.loads(official_figures.read_text())

    return ours, reference

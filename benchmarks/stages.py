"""The stages of the benchmark: the project's way, the plain way, and whether they agree."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from active_selection.density import fit_mixture, take_turns
from active_selection.mixture import Mixture
from active_selection.pooling import pool_features, pool_predictions, sum_by_region
from active_selection.region_table import SCORES
from active_selection.schedule import weighted_round_robin
from active_selection.selection import TableBuilder, spend
from active_selection.strategies import Candidates, phases
from benchmarks import references
from benchmarks.inputs import (
    CELLS,
    CITY,
    CLASSES,
    FULL,
    REGIONS,
    ROOT,
    clustered_features,
    draw_pairs,
    network,
    street,
    superpixels,
)
from benchmarks.measure import Stage, close
from benchmarks.other_slics import Cut, by_fast_slic, by_scikit_image
from data_preprocessing.slic import slic
from dataloader.active_set import ActiveSet
from dataloader.datalist import Item
from dataloader.dataset_info import load_dataset
from dataloader.datasets import EvaluationSet, Sample, SeededIndex, TrainingSet
from dataloader.images import read_image, read_label
from dataloader.regions import load_regions
from experiments.superpixel_quality import achievable_segmentation_accuracy
from models.folding import fold_batch_norm
from utils.metrics import ConfusionMatrix
from utils.runtime import Runtime
from utils.threads import map_in_threads

CPU = torch.device("cpu")

Build = Callable[[], Stage]
STAGES: dict[str, tuple[Build, int]] = {}
"""Name -> what builds the stage, and the cores that it may use."""


def stage(cores: int = 1) -> Callable[[Build], Build]:
    """Enter a function into :data:`STAGES` under its own name."""

    def enter(build: Build) -> Build:
        STAGES[build.__name__] = (build, cores)
        return build

    return enter


def pooling(maps: torch.Tensor, ours: Callable, reference: Callable, target_ratio: float) -> Stage:
    """Two ways from (C, 256, 512) maps to figures of the regions of a street scene."""
    work = (maps, superpixels(), REGIONS)
    return Stage(
        lambda: ours(*work),
        lambda: reference(*work),
        close(1e-5),
        runs=3,
        target_ratio=target_ratio,
    )


@stage()
def region_features() -> Stage:
    return pooling(torch.randn(256, *CELLS), pool_features, references.region_features, 40)


@stage()
def region_probs_uncertainty() -> Stage:
    logits = 3 * torch.randn(CLASSES, *CELLS)
    return pooling(logits, pool_predictions, references.region_predictions, 3)


@stage()
def region_scores_groupby() -> Stage:
    ids = superpixels().to(torch.uint8)
    scores = torch.rand(FULL)

    def ours() -> np.ndarray:
        sums, counts = sum_by_region(scores.view(1, -1), ids.view(-1), REGIONS)
        return (sums[:, 0] / counts).numpy()

    def reference() -> np.ndarray:
        return references.region_means(scores.numpy(), ids.numpy())

    return Stage(ours, reference, close(1e-5), runs=21, target_ratio=50)


@stage()
def selection_overhead() -> Stage:
    """A whole pass, files to table, against the network's bare forward passes on its images.

    A pass begins with a fingerprint of the weights, so that two rounds of the images are made.
    """
    (items, root), size = street(), (512, 1024)
    items = 2 * items
    model = network("deeplabv3plus_resnet101")
    info, regions = load_dataset("cityscapes"), load_regions(items, root, "train")
    images = [EvaluationSet(items, info, size)[index][1][None] for index in range(len(items))]

    def ours() -> int:
        builder = TableBuilder(model, CLASSES, size, 1, 0, Runtime(CPU), CITY / "features")
        with builder.table("bench", items, info, regions) as table:
            return len(table)

    @torch.inference_mode()
    def bare() -> int:
        return len([model.forward_features(image) for image in images])

    def check(ours: int, reference: int) -> str:
        assert ours == REGIONS * reference
        return f"{reference} images"

    return Stage(ours, bare, check, runs=3, target_ratio=1 / 1.10)


@stage()
def target_passes() -> Stage:
    """Passes over the target in a round's selection by density and uncertainty."""
    (items, root), size = street(), (128, 256)
    model = network("deeplabv3plus_mobilenet")
    info, regions = load_dataset("cityscapes"), load_regions(items, root, "train")
    folder = CITY / "features"
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))

    def table():
        builder = TableBuilder(model, CLASSES, size, len(items), 0, Runtime(CPU), folder)
        return builder.table("target", items, info, regions)

    def select(plan: list[tuple[str, int]], active: ActiveSet) -> None:
        with table() as target:
            evidence = Candidates(target, target, seed=0)
            spend(plan, evidence, active, regions, folder, 1)
        for path in folder.glob("*_selection_01.pkl"):
            path.unlink()

    plan = phases("d2ada", SCORES[0], 2, 100_000, 1, 1)

    def passes(plans: list[list[tuple[str, int]]]) -> tuple[int, dict]:
        calls.clear()
        active = ActiveSet([], items, regions)
        for one in plans:
            select(one, active)
        return len(calls), active.labelled

    def check(ours: tuple[int, dict], reference: tuple[int, dict]) -> str:
        assert ours == (1, reference[1])
        return f"{ours[0]} pass against {reference[0]}"

    return Stage(
        lambda: passes([plan]), lambda: passes([[phase] for phase in plan]), check, target_ratio=1
    )


def fits(sizes: list[tuple[int, int]], runs: int) -> Stage:
    """Fits of (rows, components) and the log densities of their rows."""
    data = [(clustered_features(rows, seed), k) for seed, (rows, k) in enumerate(sizes)]

    def ours() -> list[Mixture]:
        return map_in_threads(lambda fit: fit_mixture(*fit), data, lambda fit: fit[0].size)

    def check(ours, reference) -> str:
        worst = 0.0
        for (rows, _), a, b in zip(data, ours, reference, strict=True):
            expected = b.score_samples(rows[:2000].astype(np.float64))
            error = np.abs(a.log_density(rows[:2000]) - expected) / np.abs(expected)
            worst = max(worst, float(error.max()))
        assert worst <= 1e-6, worst
        return f"log densities differ by {worst:.1e}, relatively"

    return Stage(
        ours,
        lambda: [references.mixture(rows, k) for rows, k in data],
        check,
        runs=runs,
        target_ratio=3,
    )


@stage()
def gmm_fit() -> Stage:
    return fits([(20_000, 10)], runs=3)


@stage(cores=2)
def gmm_round() -> Stage:
    """38 fits: 19 classes of the target, from 20 to 4,000 regions, and as many of the source."""
    target = np.geomspace(20, 4000, CLASSES).astype(int)
    source = np.geomspace(30, 8000, CLASSES).astype(int)
    components = np.clip(target // 100, 1, 10)
    sizes = [
        (int(n), int(k)) for ns in (target, source) for n, k in zip(ns, components, strict=True)
    ]
    return fits(sizes, runs=3)


@stage()
def expand_labelled_set() -> Stage:
    count, chosen_count = 2975, 1160
    (street_items, root), folder = street(), CITY / "many"
    folder.mkdir(exist_ok=True)
    maps = [folder / f"{number:04d}.png" for number in range(count)]
    originals = [item.superpixel for item in street_items]
    for path, original in zip(maps, itertools.cycle(originals)):
        if not path.exists():
            os.link(original, path)
    known = load_regions(street_items, root, "train")
    areas = {str(m): known[o] for m, o in zip(maps, itertools.cycle(originals))}
    items = [Item(f"{path}.image", f"{path}.label", str(path)) for path in maps]
    rng = np.random.default_rng(0)
    every = [(item.superpixel, region) for item in items for region in areas[item.superpixel]]
    chosen = [every[i] for i in rng.choice(len(every), chosen_count, replace=False)]

    def ours() -> tuple[dict, int]:
        active.label(chosen)
        return active.labelled, sum(areas[path][region] for path, region in chosen)

    def reference() -> tuple[dict, int]:
        return references.expand_labelled_set(pool, images, chosen)

    def fresh(function: Callable) -> Callable:
        def call():
            nonlocal active, pool
            active = ActiveSet([], items, areas)
            pool = {path: list(ids) for path, ids in areas.items()}
            return function()

        return call

    active, pool = ActiveSet([], items, areas), {}
    images = [list(item) for item in items]

    def check(a, b) -> None:
        assert a == b

    return Stage(fresh(ours), fresh(reference), check, runs=3, target_ratio=100)


@stage()
def round_robin() -> Stage:
    rng = np.random.default_rng(0)
    lists = [rng.permutation(10_000).tolist() for _ in range(CLASSES)]
    weights = rng.integers(1, 6, CLASSES).tolist()

    def check(a, b) -> None:
        assert a.tolist() == b == weighted_round_robin(lists, weights)

    arrays = [np.array(entries) for entries in lists]  # as the classes' ranked rows are
    return Stage(
        lambda: take_turns(arrays, weights),
        lambda: references.round_robin(lists, weights),
        check,
        target_ratio=20,
    )


@stage()
def confusion() -> Stage:
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

    return Stage(
        ours,
        lambda: references.iou(label, prediction, CLASSES),
        close(1e-12),
        runs=11,
        target_ratio=8,
    )


@stage(cores=2)
def evaluation_py() -> Stage:
    """50 pairs of full size: the script against the official one, each a process of its own."""
    (items, _), folder = street(), CITY / "evaluation"
    draw_pairs(items, 50, folder, load_dataset("cityscapes"))
    figures, theirs = CITY / "figures.json", CITY / "official.json"

    def ours() -> dict:
        where = ("--root_dir", folder / "data", "--pred_dir", folder / "predictions")
        run("evaluation.py", *where, "--json", figures)
        return json.loads(figures.read_text())["IoU"]

    def reference() -> dict:
        run("benchmarks/official_evaluation.py", folder / "official", theirs)
        return json.loads(theirs.read_text())

    def check(a: dict, b: dict) -> str:
        for name, share in a.items():
            other = b[f"traffic {name}" if name in ("light", "sign") else name]
            assert share is None or abs(share - 100 * other) < 1e-9, name
        return "same IoU of every class"

    return Stage(ours, reference, check, runs=3, target_ratio=2, own_memory=False)


def run(*command: str | Path) -> None:
    """Run a script of the project, quietly."""
    subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True, env=os.environ
    )


def superpixel_stage(reference: Cut, target_ratio: float) -> Stage:
    """Ours against another SLIC on a street scene of full size."""
    items, _ = street()
    image, truth = (
        read_image(items[0].image),
        read_label(items[0].label, load_dataset("cityscapes")),
    )

    def accuracy(ids: np.ndarray) -> float:
        right, counted = achievable_segmentation_accuracy(ids.astype(np.uint8), truth)
        return right / counted

    def check(a: np.ndarray, b: np.ndarray) -> str:
        counts, shares = [len(np.unique(ids)) for ids in (a, b)], [accuracy(a), accuracy(b)]
        assert counts[0] == REGIONS and shares[0] >= shares[1], (counts, shares)
        regions = f"{counts[0]} regions against {counts[1]}"
        return f"{regions}, accuracy {shares[0]:.3f} against {shares[1]:.3f}"

    return Stage(
        lambda: slic(image), lambda: reference(image), check, runs=3, target_ratio=target_ratio
    )


@stage()
def superpixels_scikit_image() -> Stage:
    return superpixel_stage(by_scikit_image(REGIONS, 10), 12)


@stage()
def superpixels_fast_slic() -> Stage:
    return superpixel_stage(by_fast_slic(REGIONS, 10), 1 / 1.5)


@stage()
def train_loader() -> Stage:
    items, root = street()
    regions = load_regions(items, root, "train")
    info = load_dataset("cityscapes")
    data = TrainingSet([Sample(item, info, list(regions[item.superpixel])) for item in items], FULL)
    seeds = itertools.count()
    rng = np.random.default_rng(0)

    def ours() -> tuple:
        return [data[SeededIndex(i % len(items), next(seeds))] for i in range(8)]

    def reference() -> tuple:
        return [references.training_sample(*items[i % len(items)], FULL, rng) for i in range(8)]

    def check(a: list, b: list) -> str:
        """Both draw at random, so shapes and ranges are what can agree."""
        for ours, theirs in zip(a, b, strict=True):
            assert ours[0].shape == theirs[0].shape == (3, *FULL)
            assert ours[0].dtype == theirs[0].dtype == torch.float32
            assert ours[1].shape == theirs[1].shape == FULL
            assert ours[0].min() >= -2.2 and ours[0].max() <= 2.7
        return "8 samples"

    return Stage(ours, reference, check, runs=5, target_ratio=2)


@stage()
def inference() -> Stage:
    model, plain = network("deeplabv3plus_resnet101"), network("deeplabv3plus_resnet101")
    runtime = Runtime(CPU, "bf16", channels_last=True)
    runtime.prepare(fold_batch_norm(model))
    image = torch.randn(1, 3, 512, 1024)

    @torch.inference_mode()
    def ours() -> torch.Tensor:
        with runtime.autocast():
            return model(image).argmax(1)

    def reference() -> torch.Tensor:
        with torch.no_grad():
            return plain(image).argmax(1)

    def check(a: torch.Tensor, b: torch.Tensor) -> str:
        return f"{100 * (a == b).float().mean():.2f} % of pixels equal, of a random network"

    return Stage(ours, reference, check, runs=3, target_ratio=2)

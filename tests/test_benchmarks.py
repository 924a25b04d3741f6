"""The benchmark runs, its references agree with the project, and the script of growth ends."""

import json

import numpy as np
import pytest
import torch

from active_selection.pooling import pool_features, pool_predictions, sum_by_region
from benchmarks import references
from benchmarks.measure import Stage, close, measure, peak_mb
from dataloader.active_set import ActiveSet
from dataloader.datalist import read_datalist
from dataloader.regions import load_regions
from utils.metrics import ConfusionMatrix

QUICK = ("round_robin",)


def test_a_stage_is_measured_and_written(script, tmp_path):
    out = script(
        f"benchmarks/bench.py --stages {' '.join(QUICK)} --json {tmp_path}/figures.json",
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == list(QUICK)
    for name, figure in figures.items():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ours=")]
        assert f"ratio={figure['ratio']:.3g} peak_mb=" in line
        assert figure["ratio"] == pytest.approx(figure["reference"] / figure["ours"])
    assert figures["round_robin"]["ratio"] > 5  # 20 and more by itself


def test_results_that_differ_stop_the_benchmark():
    def check(a, b):
        assert a == b

    stage = Stage(lambda: 1, lambda: 2, check)
    with pytest.raises(AssertionError):
        measure(stage)


def test_close_sees_every_difference():
    nan = float("nan")
    check = close(0.1)
    assert check(np.array([1.0, nan]), np.array([1.05, nan])) == "largest difference 5.0e-02"
    for ours, reference in (
        ([1.0, nan], [1.0, 5.0]),
        (([1.0], [nan]), ([1.0], [0.0])),
        ([[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]),
        ([1.0], [1.2]),
    ):
        with pytest.raises(AssertionError):
            check(ours, reference)


def test_references_agree_with_the_project():
    """On small inputs, what the stages check on large ones."""
    torch.manual_seed(0)
    features, logits = torch.randn(12, 8, 16), 3 * torch.randn(19, 8, 16)
    superpixels = torch.arange(32 * 64).view(32, 64) // 100 % 7
    work = (superpixels, 7)
    same = close(1e-5)
    same(pool_features(features, *work), references.region_features(features, *work))
    same(pool_predictions(logits, *work), references.region_predictions(logits, *work))

    scores, ids = features[0].ravel(), torch.arange(8 * 16) // 50
    sums, counts = sum_by_region(scores[None], ids, 3)
    same(sums[:, 0] / counts, references.region_means(scores.numpy(), ids.numpy()))

    label, prediction = np.random.default_rng(0).integers(0, 5, (2, 30, 40)).astype(np.uint8)
    label[label == 4] = 255
    matrix = ConfusionMatrix(5)
    matrix.add(label, prediction)
    same(matrix.iou(), references.iou(label, prediction, 5))


def test_the_reference_of_labelling_agrees_with_the_project(toy_city):
    root = toy_city / "Cityscapes"
    items = read_datalist(root / "train.txt", root)
    areas = load_regions(items, root, "train")
    chosen = [(item.superpixel, region) for item in items for region in (3, 1)]
    active = ActiveSet([], items, areas)
    active.label(chosen)
    pool = {path: list(ids) for path, ids in areas.items()}
    labelled, pixels = references.expand_labelled_set(pool, [list(i) for i in items], chosen)
    assert labelled == active.labelled
    assert pixels == sum(areas[path][region] for path, region in chosen)
    assert {path: set(ids) for path, ids in pool.items()} == {
        path: set(ids) for path, ids in active.pool.items()
    }


def test_peak_memory_is_what_a_call_adds():
    stage = Stage(lambda: bytearray(50_000_000), lambda: bytearray(200_000_000), lambda a, b: None)
    peak = measure(stage)["peak_mb"]
    assert 40 < peak["ours"] < 70
    assert 180 < peak["reference"] < 230


def test_peak_memory_counts_what_freed_memory_could_serve():
    """The allocator keeps freed memory; a call that gets it needs it all the same."""
    pieces = [bytearray(100_000) for _ in range(700)]
    del pieces[:-1]  # the last one keeps the others' room from being given back
    assert 40 < peak_mb(lambda: bytearray(50_000_000)) < 70


def test_growth_ends_with_a_line_a_size(script):
    out = script("benchmarks/scale.py --regions 400 800 --active_method d2ada ReDAL")
    header, *lines = (line.split() for line in out.splitlines()[:5])
    assert header == ["active_method", "regions", "select_s", "us_per_region", "peak_mb"]
    sizes = ("400", "800")
    assert [line[:2] for line in lines] == [[m, n] for m in ("d2ada", "ReDAL") for n in sizes]


def test_fits_of_some_source_regions_are_compared_with_those_of_all(script):
    out = script("benchmarks/source_regions.py --regions 20000 --max_source_regions 99999 20")
    regions, _, *rest = out.splitlines()
    assert regions == "17880 source and 2120 target regions, 21 taken"
    lines = (line.split() for line in rest)
    same = {(count, seed): float(share) for count, seed, _, share in lines}
    assert same["all", "0"] == same["99999", "0"] == 100
    assert same["20", "0"] < 100

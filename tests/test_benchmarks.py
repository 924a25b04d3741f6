"""The benchmarks: references agree with the project, figures are what they claim, scripts end."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from active_selection.density import DensityOptions, take_turns
from active_selection.mixture import fit_mixture
from active_selection.pooling import pool_features, pool_predictions, sum_by_region
from active_selection.strategies import method_names
from benchmarks import agreement, bench, gpu, loader, scale
from benchmarks.device_work import measured
from benchmarks.inputs import clustered_features
from benchmarks.measure import measure_stage, peak_mb
from benchmarks.stage import close, stage
from benchmarks.stages.evaluation import reference_iou
from benchmarks.stages.mixtures import reference_mixture, same_densities
from benchmarks.stages.pooling import reference_features, reference_means, reference_predictions
from benchmarks.stages.selection import reference_labelling, reference_round_robin
from dataloader.active_set import ActiveSet
from dataloader.datalist import read_datalist
from dataloader.regions import load_regions
from models import get_model
from utils.errors import UserError
from utils.metrics import ConfusionMatrix
from utils.runtime import Runtime


def test_a_stage_is_measured_in_a_process_of_its_own_and_written(tmp_path, capsys):
    bench.main(["--stages", "round_robin", "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["round_robin"]
    figure = figures["round_robin"]
    assert figure["target_ratio"] == 20
    assert figure["ratio"] == pytest.approx(figure["reference"] / figure["ours"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("round_robin ours=")
    assert f"ratio={figure['ratio']:.3g} peak_mb=" in line


def test_a_package_that_is_missing_is_named(monkeypatch):
    @stage(target_ratio=1)
    def needs_more():
        raise ModuleNotFoundError("No module named 'slic'", name="slic")

    monkeypatch.setitem(bench.STAGES, "needs_more", needs_more)
    with pytest.raises(UserError, match="needs_more: needs slic, which `make bench` installs"):
        bench.main(["--only", "needs_more"])


def test_results_that_differ_stop_a_stage():
    @stage(target_ratio=1)
    def one_and_two():
        return lambda: 1, lambda: 2

    with pytest.raises(AssertionError):
        measure_stage(one_and_two)


def test_close_finds_every_difference():
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
    same(pool_features(features, *work), reference_features(features, *work))
    same(pool_predictions(logits, *work), reference_predictions(logits, *work))

    scores, ids = features[0].ravel(), torch.arange(8 * 16) // 50
    sums, counts = sum_by_region(scores[None], ids, 3)
    same(sums[:, 0] / counts, reference_means(scores.numpy(), ids.numpy()))

    label, prediction = np.random.default_rng(0).integers(0, 5, (2, 30, 40)).astype(np.uint8)
    label[label == 4] = 255
    matrix = ConfusionMatrix(5)
    matrix.add(label, prediction)
    same(matrix.iou(), reference_iou(label, prediction, 5))

    lists, weights = [[4, 0, 7], [], [1, 2, 3, 5, 6]], [1, 2, 2]
    merged = take_turns([np.array(entries, int) for entries in lists], weights)
    assert merged.tolist() == reference_round_robin(lists, weights) == [4, 1, 2, 0, 3, 5, 7, 6]


def test_the_reference_of_mixtures_agrees_with_the_project():
    rows, other = clustered_features(300, seed=0), clustered_features(300, seed=1)
    reference = [(rows, reference_mixture(rows, 2))]
    same_densities([(rows, fit_mixture(rows, 2))], reference)
    with pytest.raises(AssertionError):
        same_densities([(rows, fit_mixture(other, 2))], reference)


def test_the_reference_of_labelling_agrees_with_the_project(toy_city):
    root = toy_city / "Cityscapes"
    items = read_datalist(root / "train.txt", root)
    areas = load_regions(items, root, "train")
    chosen = [(item.superpixel, region) for item in items for region in (3, 1)]
    active = ActiveSet([], items, areas)
    active.label(chosen)
    pool = {path: list(ids) for path, ids in areas.items()}
    labelled, pixels = reference_labelling(pool, items, chosen)
    assert labelled == active.labelled
    assert pixels == sum(areas[path][region] for path, region in chosen)
    assert {path: set(ids) for path, ids in pool.items()} == {
        path: set(ids) for path, ids in active.pool.items()
    }


def test_peak_memory_is_what_a_call_adds():
    @stage(target_ratio=1, check=lambda ours, reference: "")
    def allocations():
        return lambda: bytearray(50_000_000), lambda: bytearray(200_000_000)

    peak = measure_stage(allocations)["peak_mb"]
    assert 40 < peak["ours"] < 70
    assert 180 < peak["reference"] < 230


def test_peak_memory_counts_what_freed_memory_could_serve():
    """The allocator keeps freed memory; a call that gets it needs it all the same."""
    pieces = [bytearray(100_000) for _ in range(700)]
    del pieces[:-1]  # the last one keeps the others' room from being given back
    assert 40 < peak_mb(lambda: bytearray(50_000_000)) < 70


@pytest.mark.parametrize("method", method_names())
def test_every_method_selects_among_made_up_regions(method):
    result = scale.time_selection(400, method, 0.5, DensityOptions())
    assert result["peak_mb"] > 0


def test_growth_is_measured_in_a_process_of_its_own(capsys):
    scale.main(["--regions", "400", "--active_method", "RIPU"])
    header, line = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["active_method", "regions", "select_s", "us_per_region", "peak_mb"]
    assert line[:2] == ["RIPU", "400"]


def test_fits_of_some_source_regions_are_compared_with_those_of_all(script):
    out = script("benchmarks/source_regions.py --regions 20000 --max_source_regions 99999 20")
    regions, _, *rest = out.splitlines()
    assert regions == "17880 source and 2120 target regions, 21 taken"
    lines = (line.split() for line in rest)
    same = {(count, seed): float(share) for count, seed, _, share in lines}
    assert same["all", "0"] == same["99999", "0"] == 100
    assert same["20", "0"] < 100


def test_a_loader_is_timed_with_each_step_and_number_of_workers(toy_city, capsys):
    loader.main(
        f"--trg_data_dir {toy_city}/Cityscapes --image_size 32 64 --step 0.001 0.002"
        " --num_workers 0 --iterations 3".split()
    )
    header, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["step_s", "num_workers", "s_per_iteration", "waiting_%"]
    assert [line[:2] for line in lines] == [["0.001", "0"], ["0.002", "0"]]
    assert all(0 <= float(line[3]) <= 100 for line in lines)


class Constant(nn.Module):
    """A network that gives the left ``columns`` of every image class 1, and the rest class 0."""

    def __init__(self, columns: int):
        super().__init__()
        self.columns = columns

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[-2:])
        logits[:, 1] = -1
        logits[:, 1, :, : self.columns] = 1
        return logits


def test_agreement_is_the_share_of_pixels_with_equal_labels():
    batches = [([0], torch.zeros(1, 3, 4, 8), None, None)]
    runtime = Runtime(torch.device("cpu"))
    assert agreement.agreement(Constant(6), Constant(4), batches, runtime) == 0.75


def test_a_trained_network_is_compared_with_itself(toy_city, tmp_path, capsys):
    torch.manual_seed(0)
    model = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False)
    checkpoint = tmp_path / "checkpoint.tar"
    torch.save({"model_state_dict": model.state_dict()}, checkpoint)
    agreement.main(
        f"--trained_model_path {checkpoint} -m deeplabv3plus_mobilenet --image_size 32 64"
        f" --val_data_dir {toy_city}/Cityscapes --num_workers 0 --amp none".split()
    )
    share, rest = capsys.readouterr().out.split(maxsplit=1)
    assert rest == "% of pixels equal\n"
    assert float(share) > 99  # all but what the rounding of folded BatchNorm decides


def test_the_table_of_a_gpu_is_printed_and_written(tmp_path, capsys):
    flags = "--device cpu -m deeplabv2_mobilenet --image_size 16 32 --arithmetic float32 --runs 1"
    flags += f" --val_batch_size 2 --regions 100 --json {tmp_path}/figures.json"
    gpu.main(flags.split())
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    about, _, *table = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__}; deeplabv2_mobilenet at 16 x 32" in about
    assert len(table) == 2 + len(figures) == 2 + 9
    for line in table[2:]:
        assert all(float(cell) >= 0 for cell in line.split("|")[3:7] if cell.strip())
    assert figures["adversarial step, float32"]["images"] == 2
    assert figures["selection pass, float32"]["note"].endswith("times the forward pass")


def test_a_machine_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU here"):
        gpu.main([])


def test_work_that_does_not_fit_into_memory_is_said():
    def too_much():
        raise torch.OutOfMemoryError

    figure = measured(too_much, torch.device("cpu"), 1, images=4)
    assert gpu.row("step", "bf16", figure) == (
        "| step | bf16 | 4 |  |  |  | does not fit into memory |"
    )

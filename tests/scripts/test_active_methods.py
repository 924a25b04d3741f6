"""Every strategy as a user runs it, by region and by whole image."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.experiment import SIZE, areas_of, flags, load, region_sets
from utils.files import locked_folder
from utils.recorder import read_metrics


@pytest.mark.parametrize("method", ["AADA", "BADGE", "CLUE", "coreset", "ReDAL", "RIPU"])
def test_every_baseline_selects(script, experiment, toy_city, tmp_path, method):
    if method == "ReDAL":
        toy_city = shutil.copytree(toy_city, tmp_path / "city")  # others have no edges
        script(
            "data_preprocessing/edge_detection.py --dataset cityscapes "
            f"--datadir {toy_city}/Cityscapes --workers 1"
        )
    script(baseline(experiment, toy_city, tmp_path, method) + " --max_iterations 1")
    chosen = load(tmp_path / f"{method}_selection_00.pkl")
    areas = areas_of(toy_city)
    assert sum(areas[p.split(",")[2], i] for _, p, i in chosen) >= SIZE * 64 * 128
    labelled, _ = region_sets(load(tmp_path / "datalist_00.pkl"))
    assert {(p.split(",")[2], i) for _, p, i in chosen} == labelled


def test_source_mixtures_are_fitted_to_some_regions_when_asked(
    script, experiment, toy_city, tmp_path
):
    command = baseline(experiment, toy_city, tmp_path, "density")
    script(f"{command} --max_iterations 1 --max_source_regions 3 --keep_features")
    some, full = (
        np.load(folder / "features" / "round00_mixtures.npz") for folder in (tmp_path, experiment)
    )
    assert set(some) == set(full)
    equal = {key for key in full if np.array_equal(some[key], full[key])}
    assert {key for key in full if key.startswith("target")} <= equal
    of_source = {key for key in full if key.startswith("source") and key.endswith("means")}
    assert of_source
    assert not of_source & equal


def baseline(experiment: Path, toy_city: Path, folder: Path, method: str) -> str:
    return (
        f"train_ADA.py -p {folder} {flags(toy_city)} --finetune_itrs 1 --active_method {method} "
        f"--active_selection_size {SIZE} --init_checkpoint {experiment}/checkpoint.tar"
    )


def test_adversarial_baseline_takes_whole_images_round_after_round(
    script, experiment, toy_city, tmp_path
):
    """The discriminator goes along from checkpoint to checkpoint."""
    command = baseline(experiment, toy_city, tmp_path, "AADA")
    script(f"{command} --max_iterations 2 --active_mode scan")
    for number in range(2):
        labelled, pool = region_sets(load(tmp_path / f"datalist_{number:02d}.pkl"))
        images = {path for path, _ in labelled}
        assert len(images) == number + 1  # an image is worth more than the budget
        assert not images & {path for path, _ in pool}
    first, last = (
        torch.load(folder / name, weights_only=True)["model_D"]
        for folder, name in ((experiment, "checkpoint.tar"), (tmp_path, "checkpoint02.tar"))
    )
    assert all(torch.equal(first[key], last[key]) for key in first)


@pytest.mark.parametrize("method", ["d2ada", "random"])
def test_scan_mode_labels_whole_images(script, experiment, toy_city, tmp_path, method):
    script(
        f"train_ADA.py -p {tmp_path} {flags(toy_city)} --active_mode scan "
        f"--active_method {method} --init_checkpoint {experiment}/checkpoint00.tar "
        "--max_iterations 1 --finetune_itrs 1 --active_selection_size 2"
    )
    data = load(tmp_path / "datalist_00.pkl")
    assert len(data["trg_label_im_idx"]) == 2
    assert len(data["trg_pool_im_idx"]) == 4
    assert all(sorted(ids) == list(range(40)) for ids in data["trg_label_suppix"].values())


@pytest.mark.parametrize("mode", ["region", "scan"])
def test_random_looks_at_no_image_and_picks_the_same_if_it_does(
    script, experiment, toy_city, tmp_path, mode
):
    """Keeping features makes the pass over the target that random does not need."""
    chosen = []
    for folder, keep in ((tmp_path / "without", ""), (tmp_path / "with", " --keep_features")):
        command = baseline(experiment, toy_city, folder, "random")
        script(f"{command} --max_iterations 1 --active_mode {mode}{keep}")
        stages = [line.get("name") for line in read_metrics(folder / "metrics.jsonl")]
        assert ("pass_target" in stages) == bool(keep)
        chosen.append(load(folder / "random_selection_00.pkl"))
    assert chosen[0] == chosen[1]


def test_a_feature_folder_is_one_runs_alone(script, experiment, toy_city, tmp_path):
    """Files of several experiments would have the same names there."""
    features = tmp_path / "features"

    def command(name: str, folder: Path = features) -> str:
        run = baseline(experiment, toy_city, tmp_path / name, "RIPU")
        return f"{run} --max_iterations 1 --save_feat_dir {folder}"

    script(f"{command('one')} --keep_features")
    kept = {path: path.read_bytes() for path in features.iterdir()}
    assert features / "round00_target_feature.npy" in kept
    shutil.rmtree(tmp_path / "one")
    script(f"{command('one')} --keep_features")  # these are its own
    assert {path: path.read_bytes() for path in features.iterdir()} == kept

    for flag in ("", "--resume"):
        refused = script(f"{command('two')} {flag}", fails=True)
        assert f"--save_feat_dir {features}: holds features of another run" in refused
    with locked_folder(features, "here"):
        refused = script(command("two"), fails=True)
    assert f"--save_feat_dir {features}: another run is at work" in refused
    assert {path: path.read_bytes() for path in features.iterdir()} == kept

    no_folder = experiment / "checkpoint.tar"
    assert "checkpoint.tar: cannot be used" in script(command("two", no_folder), fails=True)
    script(command("two", tmp_path / "two"))  # -p itself

"""Every script as a user runs it: warm-up, rounds 0 to 2, continuation, prediction, evaluation."""

import json
import pickle
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train_ADA
from active_selection.rounds import Experiment
from active_selection.run_folder import RunFolder
from active_selection.table_pass import PassOptions, measure
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from models import get_model
from tests.experiment import NETWORK, ROUNDS, SIZE, areas_of, flags, load, region_sets
from utils import recorder
from utils.checkpoint import load_model
from utils.runtime import Runtime


def test_every_file_of_an_experiment_is_there(experiment):
    names = {path.name for path in experiment.iterdir()}
    assert names == {
        "checkpoint.tar",
        *(f"checkpoint{n:02d}.tar" for n in range(ROUNDS + 1)),
        *(f"datalist_{n:02d}.pkl" for n in range(ROUNDS)),
        *(f"density_selection_{n:02d}.pkl" for n in range(ROUNDS)),
        *(f"softmax_entropy_selection_{n:02d}.pkl" for n in range(ROUNDS)),
        *("log_train.txt", "metrics.jsonl", "AL_record", "features"),
        *(
            "warmup_settings.json",
            "train_ADA_settings.json",
            "warmup.toml",
            "train_ADA.toml",
            ".lock",
        ),
    }
    warmup = torch.load(experiment / "checkpoint.tar", weights_only=True)
    assert set(warmup) == {"model_state_dict", "opt_state_dict", "model_D", "network"}
    trained = torch.load(experiment / "checkpoint02.tar", weights_only=True)
    assert set(trained) == {"model_state_dict", "opt_state_dict", "network"}
    kept = {path.name for path in (experiment / "features").iterdir()}
    for number in range(ROUNDS):
        for name in ("source_feature.npy", "target_feature.npy", "mixtures.npz"):
            assert f"round{number:02d}_{name}" in kept
    features = np.load(experiment / "features" / "round00_target_feature.npy")
    assert features.shape == (240, 256)
    assert np.isfinite(features).all()


def test_round_zero_is_the_warm_up(experiment):
    first = torch.load(experiment / "checkpoint00.tar", weights_only=True)["model_state_dict"]
    warmup = torch.load(experiment / "checkpoint.tar", weights_only=True)["model_state_dict"]
    trained = torch.load(experiment / "checkpoint01.tar", weights_only=True)["model_state_dict"]
    assert all(torch.equal(first[key], warmup[key]) for key in warmup)
    assert any(not torch.equal(first[key], trained[key]) for key in warmup)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_selection_looks_through_the_checkpoint_that_was_kept(
    experiment, toy_city, tmp_path, number
):
    """Not through the weights of the last iteration."""
    root = toy_city / "Cityscapes"
    items = read_datalist(root / "train.txt", root)
    model = get_model("deeplabv3plus_mobilenet", 19, 16, True, pretrained_backbone=False)
    load_model(experiment / f"checkpoint{number:02d}.tar", model)
    runtime = Runtime(torch.device("cpu"))
    domain = Domain(load_dataset("cityscapes"), str(root), items).with_regions("train")
    kept = np.load(experiment / "features" / f"round{number:02d}_target_feature.npy")
    options = PassOptions((32, 64), 4, 0, runtime, tmp_path)
    table = measure("again", domain, model, None, options)
    np.testing.assert_allclose(table.feature, kept, rtol=1e-4, atol=1e-5)


def test_a_selection_by_density_and_uncertainty_looks_at_every_image_once(
    experiment, toy_city, tmp_path
):
    args = train_ADA.parser().parse_args(
        f"-p {tmp_path} {flags(toy_city)} --num_classes 19 --init_iteration 1 --max_iterations 2 "
        f"--init_checkpoint {experiment}/checkpoint01.tar "
        f"--datalist_path {experiment}/datalist_00.pkl --active_selection_size {SIZE}".split()
    )
    rounds = Experiment(args, RunFolder(args), 1)
    seen = []
    rounds.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    spent = rounds.select(1)
    assert [phase.strategy for phase in spent] == ["density", "softmax_entropy"]
    assert all(phase.pixels for phase in spent)
    assert sum(seen) == len(rounds.active_set.source) + len(rounds.active_set.target)


def test_a_pool_that_is_emptied_before_the_last_selection_is_told_of(
    experiment, toy_city, tmp_path, caplog
):
    for last in (1, 2):
        args = train_ADA.parser().parse_args(
            f"-p {tmp_path}/{last} {flags(toy_city)} --num_classes 19 --max_iterations {last} "
            f"--init_checkpoint {experiment}/checkpoint.tar --active_method random "
            "--active_selection_size 100%".split()
        )
        (tmp_path / str(last)).mkdir()
        assert Experiment(args, RunFolder(args), 0).select(0)[0].regions
        assert ("rounds after 1 have nothing new" in caplog.text) is (last == 2)


def test_what_was_spent_is_logged_by_phase_round_and_in_total(experiment):
    text = (experiment / "log_train.txt").read_text()
    total = 0
    for number in range(ROUNDS):
        record = json.loads((experiment / "AL_record" / f"round_{number:02d}.json").read_text())
        spent = sum(phase["pixels"] for phase in record["selection"])
        total += spent
        assert f"round {number:02d}: spent {spent} px, {total} px" in text
        for phase in record["selection"]:
            assert (
                "selection {:02d}: {strategy} takes {regions} regions, {pixels} px of a budget of "
                "{budget} px; {void} regions are void throughout"
            ).format(number, **phase) in text


def test_the_metrics_hold_the_kinds_and_values_that_are_documented(experiment):
    lines = recorder.read_metrics(experiment / "metrics.jsonl")
    told = dict(re.findall(r"^``(\w+)`` +(.*(?:\n .*)*)", recorder.__doc__, re.MULTILINE))
    assert {line["kind"] for line in lines} == told.keys()
    for line in lines:
        if line["kind"] == "selection":
            values = line.keys() - {"kind", "round", "iteration"}
            assert values == {*re.findall(r"``(\w+)``", told["selection"])}


def test_pool_and_labelled_regions_part_all_regions(experiment, toy_city):
    everything = set(areas_of(toy_city))
    for number in range(ROUNDS):
        labelled, pool = region_sets(load(experiment / f"datalist_{number:02d}.pkl"))
        assert not labelled & pool
        assert labelled | pool == everything


def test_labelled_set_grows_by_the_budget(experiment, toy_city):
    areas = areas_of(toy_city)
    biggest = max(areas.values())
    budget = SIZE * 64 * 128
    spent = [0]
    for number in range(ROUNDS):
        labelled, _ = region_sets(load(experiment / f"datalist_{number:02d}.pkl"))
        spent.append(sum(areas[region] for region in labelled))
    for before, after in pairwise(spent):
        assert budget <= after - before < budget + 2 * biggest  # a last region for each phase
    record = json.loads((experiment / "AL_record" / "round_02.json").read_text())
    assert record["labelled_pixels"] == spent[-1]
    assert record["labelled_percent"] == pytest.approx(100 * spent[-1] / sum(areas.values()))


def test_selections_are_what_was_labelled_in_their_order(experiment, toy_city):
    areas = areas_of(toy_city)
    labelled: list = []
    for number, density_share in ((0, 1), (1, 0.5)):
        pixels = []
        for strategy in ("density", "softmax_entropy"):
            chosen = load(experiment / f"{strategy}_selection_{number:02d}.pkl")
            regions = []
            for score, paths, region in chosen:
                image, label, superpixel = paths.split(",")
                assert Path(image).is_file() and Path(label).is_file()
                assert type(score) is float and type(region) is int
                regions.append((superpixel, region))
            labelled += regions
            pixels.append(sum(areas[region] for region in regions))
            if strategy == "softmax_entropy":
                scores = [entry[0] for entry in chosen]
                assert scores == sorted(scores, reverse=True)
        budget = SIZE * 64 * 128
        assert pixels[0] >= density_share * budget
        assert (pixels[1] == 0) if density_share == 1 else (pixels[1] >= 0.5 * budget)
        expected, _ = region_sets(load(experiment / f"datalist_{number:02d}.pkl"))
        assert set(labelled) == expected
        assert len(labelled) == len(expected)


def test_log_has_a_validation_line_for_every_round(experiment):
    text = (experiment / "log_train.txt").read_text()
    for number in range(ROUNDS + 1):
        assert f"round {number:02d}: mIoU" in text
    lines = [line.split("validation ")[1] for line in text.splitlines() if "validation " in line]
    # warm-up: after 4 and 6; round 0; rounds 1 and 2: after 5 (in the last third) and 6
    assert len(lines) == 2 + 1 + 2 + 2
    assert all(len(line.split(",")) == 20 for line in lines)


def test_continuing_repeats_what_an_unbroken_run_did(script, experiment, toy_city, tmp_path):
    """The flags of the published script; the list is loaded once, not in every round."""
    out = script(
        f"train_ADA.py -p {tmp_path} {flags(toy_city)} --init_iteration 1 "
        f"--init_checkpoint {experiment}/checkpoint01.tar "
        f"--datalist_path {experiment}/datalist_00.pkl --max_iterations {ROUNDS} "
        f"--finetune_itrs 6 --val_period 5 --finetune_lr 5e-3 --active_selection_size {SIZE}"
    )
    assert "neither in its pool" not in out and "where it lists them" not in out
    assert load(tmp_path / "datalist_01.pkl") == load(experiment / "datalist_01.pkl")
    assert not (tmp_path / "datalist_02.pkl").exists()
    assert not list((tmp_path / "features").glob("round*"))
    ours, theirs = (
        torch.load(folder / "checkpoint02.tar", weights_only=True)["model_state_dict"]
        for folder in (tmp_path, experiment)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_published_datalist_continues(script, experiment, toy_city, tmp_path):
    """Absolute paths, NumPy ids, and no entry for what is empty, as the release wrote them."""
    data = load(experiment / "datalist_00.pkl")
    for key in ("trg_label_suppix", "trg_pool_suppix"):
        data[key] = {path: [np.int64(i) for i in ids] for path, ids in data[key].items() if ids}
    path, ids = next(iter(data["trg_pool_suppix"].items()))
    lost = path, ids.pop()
    published = tmp_path / "published.pkl"
    published.write_bytes(pickle.dumps(data, protocol=4))
    assert all(Path(p).is_absolute() for entry in data["trg_pool_im_idx"] for p in entry)
    out = script(
        f"train_ADA.py -p {tmp_path} {flags(toy_city)} --init_iteration 1 "
        f"--init_checkpoint {experiment}/checkpoint01.tar --datalist_path {published} "
        f"--max_iterations 2 --finetune_itrs 1 --active_selection_size {SIZE} "
        "--active_method softmax_margin"
    )
    assert re.search(rf"published\.pkl: 1 of \d+ regions .*\(the first is region {lost[1]} of", out)
    before, _ = region_sets(data)
    after, pool = region_sets(load(tmp_path / "datalist_01.pkl"))
    assert before < after
    assert after | pool == set(areas_of(toy_city)) - {lost}


def test_synthia_source_has_two_means_and_skips_its_missing_classes(script, toy_city, tmp_path):
    data = flags(toy_city, "SYNTHIA")
    out = script(
        f"warmup.py -p {tmp_path} {data} --warmup sup_warmup --backbone_weights none "
        "--total_itrs 2 --ramp_itrs 0 --loss_type focal_loss --amp bf16 --channels_last"
    )
    (line,) = [line for line in out.splitlines() if "validation " in line]
    assert len(line.split("validation ")[1].split(",")) == 18  # two means, the 16 classes it has
    checkpoint = torch.load(tmp_path / "checkpoint.tar", weights_only=True)
    weights = checkpoint["model_state_dict"]
    (bias,) = (key for key in weights if key.endswith("final.bias"))
    weights[bias][9] += 1e4  # every region looks like terrain, which SYNTHIA lacks
    torch.save(checkpoint, tmp_path / "terrain.tar")
    rounds = (
        f"--init_checkpoint {tmp_path}/terrain.tar "
        "--max_iterations 1 --finetune_itrs 1 --active_selection_size 0.1"
    )
    out = script(f"train_ADA.py -p {tmp_path}/a {data} {rounds}")
    assert "terrain:" not in out
    out = script(f"train_ADA.py -p {tmp_path}/b {flags(toy_city)} {rounds}")
    assert "terrain:" in out
    for folder in ("a", "b"):
        assert (tmp_path / folder / "datalist_00.pkl").exists()


def test_source_warm_up_needs_no_target_and_adaptation_no_target_labels(script, toy_city, tmp_path):
    short = "--backbone_weights none --total_itrs 1 --ramp_itrs 0"
    data = flags(toy_city).replace(f"--trg_data_dir {toy_city}/Cityscapes", "")
    script(f"warmup.py -p {tmp_path}/a {data} {short} --warmup sup_warmup --trg_data_dir nowhere")
    saved = torch.load(tmp_path / "a" / "checkpoint.tar", weights_only=True)
    assert set(saved) == {"model_state_dict", "opt_state_dict", "network"}
    listed = (toy_city / "Cityscapes" / "train.txt").read_text().splitlines()
    unlabelled = tmp_path / "unlabelled.txt"
    unlabelled.write_text(
        "".join(f"{line.split()[0]} none none{i}\n" for i, line in enumerate(listed))
    )
    script(f"warmup.py -p {tmp_path}/b {flags(toy_city)} {short} --trg_datalist {unlabelled}")
    line = script(
        f"warmup.py -p {tmp_path}/c {flags(toy_city)} {short} --trg_datalist {unlabelled} "
        "--warmup target_supervised",
        fails=True,
    )
    assert "none" in line


def test_batch_norm_is_frozen_unless_told(script, experiment, toy_city, tmp_path):
    """Statistics and affine parameters, in warm-up and rounds; --no-freeze_bn lets them learn."""
    data = flags(toy_city).replace("--no-freeze_bn", "")
    first = f"--init_checkpoint {experiment}/checkpoint.tar"
    script(f"warmup.py -p {tmp_path}/a {data} {first} --total_itrs 2 --ramp_itrs 0 --train_lr 1e-2")
    rounds = "--max_iterations 1 --finetune_itrs 2 --finetune_lr 1e-2 --active_selection_size 0.1"
    script(f"train_ADA.py -p {tmp_path}/a {data} {first} {rounds} --active_method random")
    before, warm, tuned, learning = (
        torch.load(path, weights_only=True)["model_state_dict"]
        for path in (
            experiment / "checkpoint.tar",
            tmp_path / "a" / "checkpoint.tar",
            tmp_path / "a" / "checkpoint01.tar",
            experiment / "checkpoint01.tar",
        )
    )
    of_norms = [
        key.replace("running_mean", rest)
        for key in before
        if key.endswith("running_mean")
        for rest in ("running_mean", "running_var", "weight", "bias")
    ]
    assert len(of_norms) > 100
    for trained in (warm, tuned):
        assert all(torch.equal(before[key], trained[key]) for key in of_norms)
        assert any(not torch.equal(before[key], trained[key]) for key in before)
    assert not any(torch.equal(before[key], learning[key]) for key in of_norms if "running" in key)


def test_upper_bound_needs_no_source(script, toy_city, experiment, tmp_path):
    script(
        f"warmup.py -p {tmp_path} {flags(toy_city).replace('GTA5/', 'nowhere/')} "
        f"--src_data_dir nowhere --warmup target_supervised --total_itrs 2 "
        f"--init_checkpoint {experiment}/checkpoint.tar"
    )
    assert (tmp_path / "checkpoint.tar").exists()


@pytest.fixture(scope="module")
def predictions(script, experiment, toy_city, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    script(
        f"inference.py {NETWORK} --trained_model_path {experiment}/checkpoint02.tar "
        f"--val_data_dir {toy_city}/Cityscapes --save_dir {folder}"
    )
    return folder


def test_predictions_have_the_images_size_and_names(predictions, toy_city):
    images = sorted((toy_city / "Cityscapes" / "leftImg8bit" / "val").rglob("*.png"))
    assert len(list(predictions.glob("*.png"))) == 2 * len(images) == 6
    for image in images:
        labels = np.asarray(Image.open(predictions / image.name))
        colors = np.asarray(Image.open(predictions / f"{image.stem}_color.png"))
        assert labels.dtype == np.uint8
        assert labels.shape == (64, 128)
        assert labels.max() < 19
        road = labels == 0
        assert (colors[road] == [128, 64, 128]).all()


def test_prediction_of_any_folder(script, experiment, tmp_path):
    for number, size in enumerate([(50, 90), (128, 64)]):
        pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    script(
        f"inference.py {NETWORK} --trained_model_path {experiment}/checkpoint00.tar "
        f"--image_dir {tmp_path} --save_dir {tmp_path}/out"
    )
    sizes = [Image.open(tmp_path / "out" / f"{n}.png").size for n in (0, 1)]
    assert sizes == [(90, 50), (64, 128)]


@pytest.fixture(scope="module")
def mistakes(toy_city, tmp_path_factory) -> Path:
    """Predictions that are right in some places: the truth with a third of it drawn anew."""
    folder = tmp_path_factory.mktemp("mistakes")
    rng = np.random.default_rng(0)
    info = load_dataset("cityscapes")
    for path in sorted((toy_city / "Cityscapes" / "gtFine" / "val").rglob("*_labelIds.png")):
        labels = info.label_table[np.asarray(Image.open(path))].copy()
        anew = (labels == 255) | (rng.random(labels.shape) < 0.3)
        labels[anew] = rng.integers(0, 19, anew.sum())
        name = path.name.replace("gtFine_labelIds", "leftImg8bit")
        Image.fromarray(labels.astype(np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("made", ["predictions", "mistakes"])
def test_evaluation_equals_the_official_one(script, made, request, toy_city, tmp_path):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
    from cityscapesscripts.helpers.labels import trainId2label

    predictions = request.getfixturevalue(made)
    out = script(
        f"evaluation.py --root_dir {toy_city}/Cityscapes --pred_dir {predictions} "
        f"--json {tmp_path}/figures.json"
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    to_label = np.array([trainId2label[i].id if i < 19 else 0 for i in range(256)], np.uint8)
    predicted, truth = [], []
    for path in sorted((toy_city / "Cityscapes" / "gtFine" / "val").rglob("*_labelIds.png")):
        name = path.name.replace("gtFine_labelIds", "leftImg8bit")
        labels = np.asarray(Image.open(predictions / name))
        Image.fromarray(to_label[labels]).save(tmp_path / name)
        predicted.append(str(tmp_path / name))
        truth.append(str(path))
    options = official.args
    options.quiet, options.evalInstLevelScore, options.evalPixelAccuracy = True, False, False
    result = official.evaluateImgLists(predicted, truth, options)
    for name, share in result["classScores"].items():
        ours = figures["IoU"].get(name.replace("traffic ", ""))
        if name.replace("traffic ", "") in figures["IoU"] and not np.isnan(share):
            assert ours == pytest.approx(100 * share, abs=1e-9), name
    present = [100 * s for s in result["classScores"].values() if not np.isnan(s)]
    assert figures["mIoU"] == pytest.approx(np.mean(present))
    assert f"{figures['mIoU']:.2f}" in out
    names = {name.removeprefix("traffic "): share for name, share in result["classScores"].items()}
    sixteen = [n for n in figures["IoU"] if n not in ("terrain", "truck", "train")]
    thirteen = [n for n in sixteen if n not in ("wall", "fence", "pole")]
    for name, classes in (("mIoU16", sixteen), ("mIoU13", thirteen)):
        shares = [100 * names[n] for n in classes if not np.isnan(names[n])]
        assert figures[name] == pytest.approx(np.mean(shares))
        assert f"{figures[name]:.2f}" in out

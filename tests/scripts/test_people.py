"""Rounds with people: they end as rounds do whose labels come from files."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataloader.dataset_info import INIT_DATA, load_dataset
from tests.experiment import SIZE, areas_of, flags, load
from tests.killing import Moment, Signal, run_signalled

VOID, SKIP = 19, 20  # the codes of "no class fits" and "leave it out", beyond the 19 classes


@pytest.fixture
def blind_city(toy_city, tmp_path) -> Path:
    """The toy city, whose target has no label file at all."""
    city = shutil.copytree(toy_city, tmp_path / "blind")
    shutil.rmtree(city / "Cityscapes" / "gtFine" / "train")
    (city / "Cityscapes" / "train.txt").unlink(missing_ok=True)
    return city


def answers(toy_city: Path, folder: Path, last: int | None = None) -> Path:
    """What somebody who knows the truth draws: maps of class numbers, named as the images."""
    info = load_dataset("cityscapes")
    folder.mkdir(exist_ok=True)
    truth = toy_city / "Cityscapes" / "gtFine" / "train"
    for path in sorted(truth.rglob("*_labelIds.png"))[:last]:
        drawn = info.train_ids(np.asarray(Image.open(path)))
        name = path.name.replace("gtFine_labelIds", "leftImg8bit")
        Image.fromarray(np.where(drawn == 255, VOID, drawn).astype(np.uint8)).save(folder / name)
    return folder


def rounds(city: Path, exp: Path, start: Path, rest: str = "") -> str:
    return (
        f"train_ADA.py -p {exp} {flags(city)} --init_checkpoint {start}/checkpoint.tar "
        "--max_iterations 2 --finetune_itrs 4 --val_period 5 --finetune_lr 5e-3 "
        f"--active_selection_size {SIZE} {rest}"
    )


def assert_corrections_wait(script, command: str, exp: Path) -> None:
    """Of answers that are corrected while a round is trained, even the maps may be replaced."""
    stop = Signal(signal.SIGTERM, exp, Moment("os.rename", "round_state.tar"))
    assert run_signalled(f"{command} --resume --save_period 1", stop).code == 128 + signal.SIGTERM
    masks = exp / "annotation" / "round_00" / "masks"
    for path in masks.glob("*.png"):
        codes = np.asarray(Image.open(path))
        Image.fromarray(np.where(codes < 19, 18 - codes, codes).astype(np.uint8)).save(path)
    script(f"annotation/import.py -p {exp} {masks}")
    assert "they count from the next round on" in script(f"{command} --resume")


def assert_labelled_answers_stay(script, exp: Path, folder: Path) -> None:
    """What a run has labelled regions by cannot be withdrawn, so that it can be resumed."""
    folder.mkdir()
    for path in (exp / "annotation" / "round_00" / "masks").glob("*.png"):
        Image.new("L", Image.open(path).size, 255).save(folder / path.name)
    command = f"annotation/import.py -p {exp} {folder} --withdraw"
    line = script(f"{command} --package {exp}/annotation/round_00", fails=True)
    assert "is labelled in" in line and "datalist_01.pkl already; answer it anew" in line


def assert_package_is_checked(script, command: str, exp: Path) -> None:
    """A round that was stopped before its record takes its own package, and no other."""
    manifest, record = exp / "annotation/round_00/package.json", exp / "AL_record/round_00.json"
    text = manifest.read_text()
    record.unlink()
    manifest.write_text(text.replace('"pixels": ', '"pixels": 1', 1))
    line = script(f"{command} --resume", fails=True)
    assert "round_00: is a labelling package of an earlier run" in line
    manifest.write_text(text)
    assert "then take the answers in" in script(f"{command} --resume")
    assert record.is_file()


def test_people_who_know_the_truth_end_where_its_files_end(
    script, experiment, toy_city, blind_city, tmp_path
):
    people = tmp_path / "people"
    command = rounds(blind_city, people, experiment, "--oracle people")
    out = script(command)
    package = people / "annotation" / "round_00"
    assert f"open {package / 'index.html'}" in out
    assert "annotation/import.py" in out and "--resume" in out
    asked = load(people / "datalist_00.pkl")
    assert not asked["trg_label_suppix"]
    assert sum(map(len, asked["trg_asked_suppix"].values())) > 3

    assert_package_is_checked(script, command, people)
    line = script(f"{command} --resume", fails=True)
    assert "are not answered" in line and "--accept_partial" in line
    script(f"annotation/import.py -p {people} {answers(toy_city, tmp_path / 'drawn')}")
    meanwhile = shutil.copytree(people, tmp_path / "meanwhile")
    assert "people are asked for" in script(f"{command} --resume")
    assert "trg_asked_suppix" not in load(people / "datalist_00.pkl")
    assert (people / "annotation" / "round_01" / "index.html").is_file()
    assert_corrections_wait(script, command.replace(str(people), str(meanwhile)), meanwhile)
    trained = [(folder / "checkpoint01.tar").read_bytes() for folder in (people, meanwhile)]
    assert trained[0] == trained[1]
    script(f"annotation/import.py -p {people} {tmp_path / 'drawn'}")
    assert_labelled_answers_stay(script, people, tmp_path / "empty")
    assert "done: rounds 0 to 2" in script(f"{command} --resume")

    files = tmp_path / "files"
    script(rounds(toy_city, files, experiment))
    for number in (1, 2):
        ours, theirs = (
            torch.load(folder / f"checkpoint{number:02d}.tar", weights_only=True)
            for folder in (people, files)
        )
        weights = theirs["model_state_dict"]
        assert all(torch.equal(ours["model_state_dict"][name], weights[name]) for name in weights)
    labelled = [
        {Path(path).name: ids for path, ids in load(folder / name)["trg_label_suppix"].items()}
        for folder in (people, files)
        for name in ("datalist_00.pkl", "datalist_01.pkl")
    ]
    assert labelled[:2] == labelled[2:]


def test_without_labels_the_flag_for_people_is_named(script, experiment, blind_city, tmp_path):
    """Neither by the own list nor by a given one, nor where all pixels are void."""
    command = rounds(blind_city, tmp_path / "exp", experiment)
    hint = "if people are still to label them, give --oracle people"
    assert hint in script(command, fails=True)
    city, lines = blind_city / "Cityscapes", []
    for path in sorted((city / "leftImg8bit" / "train").rglob("*.png")):
        image = path.relative_to(city).as_posix()
        label = image.replace("leftImg8bit/", "gtFine/").replace("leftImg8bit.", "gtFine_labelIds.")
        lines.append(f"{image} {label} {image.replace('leftImg8bit', 'superpixel')}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    listed = f"{command} --trg_datalist {tmp_path}/list.txt"
    line = script(listed, fails=True)
    assert "no such file, and" in line and hint in line
    for line in lines:
        image, label, _ = line.split()
        (city / label).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", Image.open(city / image).size).save(city / label)
    assert hint in script(listed, fails=True)


def test_what_8_bit_maps_cannot_hold_is_refused_before_anything_is_selected(
    script, experiment, blind_city, tmp_path
):
    info = json.loads((INIT_DATA / "cityscapes" / "info.json").read_text())
    info["label_to_train"] = {str(300 + i): i for i in range(19)}
    (tmp_path / "large.json").write_text(json.dumps(info))
    rest = f"--oracle people --trg_dataset {tmp_path}/large.json"
    line = script(rounds(blind_city, tmp_path / "exp", experiment, rest), fails=True)
    assert "people's labels are 8-bit maps" in line
    split = blind_city / "Cityscapes" / "superpixel"
    path, *_ = sorted(split.rglob("train/**/*.png"))
    Image.fromarray(np.arange(128 * 64).astype(np.uint8).reshape(64, 128)).save(path)
    for name, ids in (("train.dict", list(range(256))), ("train.areas", [32] * 256)):
        (file,) = split.parent.rglob(f"*{name}")
        content = json.loads(file.read_text())
        key = next(key for key in content if key.endswith(path.name))
        file.write_text(json.dumps(content | {key: ids}))
    line = script(rounds(blind_city, tmp_path / "exp", experiment, "--oracle people"), fails=True)
    assert f"{path.name}: 256 regions, but people can be asked for at most 255" in line
    assert not (tmp_path / "exp" / "checkpoint00.tar").exists()


def test_unanswered_regions_go_back_into_the_pool_when_asked_to(
    script, experiment, toy_city, blind_city, tmp_path
):
    people = tmp_path / "people"
    command = rounds(blind_city, people, experiment, "--oracle people --active_method random")
    script(command)
    asked = load(people / "datalist_00.pkl")
    script(f"annotation/import.py -p {people} {answers(toy_city, tmp_path / 'drawn', last=3)}")
    assert "are not answered" in script(f"{command} --resume", fails=True)
    out = script(f"{command} --resume --accept_partial")
    after = load(people / "datalist_00.pkl")
    labelled = {(p, i) for p, ids in after["trg_label_suppix"].items() for i in ids}
    pool = {(p, i) for p, ids in after["trg_pool_suppix"].items() for i in ids}
    wanted = {(p, i) for p, ids in asked["trg_asked_suppix"].items() for i in ids}
    assert labelled < wanted
    assert wanted - labelled <= pool
    assert f"{len(wanted - labelled)} not answered and back in the pool" in out


def test_skipped_regions_leave_for_good_and_cost_no_budget(
    script, experiment, toy_city, blind_city, tmp_path
):
    """Also where every region of an image is skipped, which then has none labelled or in pool."""
    people = tmp_path / "people"
    rest = "--oracle people --active_method random --active_mode scan"
    command = rounds(blind_city, people, experiment, rest)
    script(command)
    ((path, ids),) = load(people / "datalist_00.pkl")["trg_asked_suppix"].items()
    drawn = answers(toy_city, tmp_path / "drawn")
    for name in drawn.iterdir():
        if name.name.startswith(Path(path).name.removesuffix("superpixel.png")):
            Image.fromarray(np.full((64, 128), SKIP, np.uint8)).save(name)
    script(f"annotation/import.py -p {people} {drawn}")
    out = script(f"{command} --resume")
    areas = areas_of(blind_city)
    skipped = sum(areas[path, region] for region in ids)
    assert f"{len(ids)} skipped for good ({skipped} px)" in out
    assert f"px holds {skipped} px of skipped regions" in out
    for number in (0, 1):
        after = load(people / f"datalist_{number:02d}.pkl")
        assert path not in {**after["trg_label_suppix"], **after.get("trg_asked_suppix", {})}
        assert not after["trg_pool_suppix"][path]
        assert path in {item[2] for item in after["trg_pool_im_idx"]}
    first, second = (
        json.loads((people / "AL_record" / f"round_0{n}.json").read_text()) for n in (0, 1)
    )
    budget = round(SIZE * sum(areas.values()) / len({path for path, _ in areas}))
    assert [record["selection"][0]["budget"] for record in (first, second)] == [
        budget,
        budget + skipped,
    ]
    assert first["answers"]["skipped_pixels"] == skipped
    assert second["labelled_pixels"] == 0
    back = f"--withdraw --package {people}/annotation/round_00"  # also to the first guess
    for more in ("", back):  # corrected too late
        script(f"annotation/import.py -p {people} {answers(toy_city, drawn)} {more}")
    for path in (people / "annotation" / "labels").rglob("*.png"):  # edited by hand
        Image.new("L", (128, 64), 255).save(path)
    changed = "labelled regions have other labels than were imported"
    assert changed not in out
    out = script(f"{command} --resume")
    assert f"{len(ids)} answered regions are not trained on" in out
    assert changed in out
    assert "done: rounds 0 to 2" in out


def test_labelled_regions_without_answers_are_told_before_anything_is_trained(
    script, experiment, toy_city, tmp_path
):
    """Where the answers are lost, or another folder or oracle goes on with the datalist."""
    people = tmp_path / "people"
    command = rounds(toy_city, people, experiment, "--oracle people --active_method random")
    script(command)
    rest = f"--active_method random --init_iteration 1 --datalist_path {people}/datalist_00.pkl"
    later = rounds(toy_city, tmp_path / "later", people, rest)
    later = later.replace("checkpoint.tar", "checkpoint00.tar")
    assert "people are asked for regions of it" in script(later, fails=True)
    assert "done: rounds 1 to 2" in script(f"{later} --accept_partial")

    script(f"annotation/import.py -p {people} {answers(toy_city, tmp_path / 'drawn')}")
    script(f"{command} --resume")
    line = script(
        later.replace(str(tmp_path / "later"), str(tmp_path / "other")) + " --oracle people",
        fails=True,
    )
    assert "has no answers for" in line and "copy the folder annotation" in line
    maps = sorted((people / "annotation" / "labels").rglob("*.png"))
    maps[0].rename(tmp_path / "lost.png")
    for again in (f"{command} --resume", f"annotation/import.py -p {people} {tmp_path / 'drawn'}"):
        assert f"{maps[0]}: no such file; restore it, or remove" in script(again, fails=True)
    (tmp_path / "lost.png").rename(maps[0])
    path = people / "annotation" / "labels" / "answers.json"
    content = json.loads(path.read_text())
    first = min(content["images"])
    content["images"].pop(first)
    path.write_text(json.dumps(content))
    line = script(f"{command} --resume", fails=True)
    assert "has no answers for" in line and f"the first in {first}" in line


def test_people_are_never_asked_for_masked_pixels(script, experiment, blind_city, tmp_path):
    info = json.loads((INIT_DATA / "cityscapes" / "info.json").read_text())
    del info["$schema"]
    (tmp_path / "hood.json").write_text(json.dumps(info | {"ignore_mask": "hood.png"}))
    mask = np.zeros((64, 128), np.uint8)
    mask[40:] = mask[:, 100:] = 1
    Image.fromarray(mask).save(blind_city / "Cityscapes" / "hood.png")
    people = tmp_path / "people"
    rest = f"--oracle people --active_method ReDAL --trg_dataset {tmp_path}/hood.json"
    script(
        "data_preprocessing/edge_detection.py --workers 1 --dataset cityscapes "
        f"--datadir {blind_city}/Cityscapes"
    )
    command = rounds(blind_city, people, experiment, rest)
    script(command)
    left, target = {}, 0
    for (path, region), area in areas_of(blind_city).items():
        inside = np.asarray(Image.open(path)) == region
        left[path, region] = int((inside & (mask == 0)).sum())
        if 2 * left[path, region] < area:
            left[path, region] = 0
        target += left[path, region]
    record = json.loads((people / "AL_record" / "round_00.json").read_text())
    assert record["target_pixels"] == target
    assert record["selection"][0]["budget"] == round(SIZE * target / 6)
    datalist = load(people / "datalist_00.pkl")
    asked = [(p, r) for p, ids in datalist["trg_asked_suppix"].items() for r in ids]
    pool = [(p, r) for p, ids in datalist["trg_pool_suppix"].items() for r in ids]
    assert {*asked, *pool} == {region for region, pixels in left.items() if pixels}
    assert record["asked_pixels"] == sum(left[region] for region in asked)
    maps = (people / "annotation" / "round_00" / "regions").iterdir()
    numbers = [np.asarray(Image.open(path)) for path in maps]
    assert sum(int((n > 0).sum()) for n in numbers) == record["asked_pixels"]
    assert not any((n > 0)[mask > 0].any() for n in numbers)

    mask[39] = 1
    Image.fromarray(mask).save(blind_city / "Cityscapes" / "hood.png")
    line = script(f"{command} --resume", fails=True)
    assert "ignore mask, is" in line

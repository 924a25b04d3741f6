"""Rounds with people: they end as rounds do whose labels come from files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataloader.dataset_info import load_dataset
from tests.experiment import SIZE, flags, load

VOID = 19  # the code of "no class fits", one beyond the 19 classes


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

    line = script(f"{command} --resume", fails=True)
    assert "are not answered" in line and "--accept_partial" in line
    script(f"annotation/import.py -p {people} {answers(toy_city, tmp_path / 'drawn')}")
    assert "people are asked for" in script(f"{command} --resume")
    assert "trg_asked_suppix" not in load(people / "datalist_00.pkl")
    assert (people / "annotation" / "round_01" / "index.html").is_file()
    script(f"annotation/import.py -p {people} {tmp_path / 'drawn'}")
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

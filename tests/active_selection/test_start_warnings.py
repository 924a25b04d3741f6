"""A datalist to start from that does not fit the data is told of, and one that does is not."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import train_ADA
from active_selection.start_warnings import (
    warn_of_other_data,
    warn_of_other_list,
    warn_of_other_root,
    warn_of_other_round,
    warn_of_unlisted,
)
from dataloader.active_set import ActiveSet
from dataloader.data_record import describe_data
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item


@pytest.fixture()
def target(tmp_path) -> Domain:
    """Two images of four regions each, in a data root."""
    items = [Item(f"{n}.png", "", f"s{n}.png").below(tmp_path / "root") for n in range(2)]
    (tmp_path / "root").mkdir()
    regions = {item.superpixel: dict.fromkeys(range(4), 9) for item in items}
    return Domain(load_dataset("cityscapes"), str(tmp_path / "root"), items, regions)


def test_regions_that_a_list_does_not_know_are_counted(target, tmp_path, caplog):
    first, second = (item.superpixel for item in target.items)
    sets = {first: [0, 1]}, {first: [2], second: [0, 1, 2, 3]}, {first: [3]}
    warn_of_unlisted(tmp_path / "l.pkl", ActiveSet([], target.items, *sets), target)
    assert not caplog.records
    warn_of_unlisted(tmp_path / "l.pkl", ActiveSet([], target.items, {first: [0, 1, 2]}), target)
    assert "l.pkl: 5 of 8 regions" in caplog.text
    assert f"(the first is region 3 of {first})" in caplog.text


def test_data_that_were_altered_since_the_run_before_are_told_of(target, tmp_path, caplog):
    (tmp_path / "link").symlink_to(target.root)
    for value, item in enumerate(target.items):
        Image.new("L", (4, 2), value).save(item.superpixel)

    def describe(root: str = target.root, **changes) -> dict:
        items = [Item(*(p.replace(target.root, root) for p in item)) for item in target.items]
        return describe_data(items, root, replace(target.info, **changes), "superpixel")

    args = Namespace(src_dataset="own", oracle="files", trg_datalist=None)
    args.datalist_path, args.init_checkpoint = f"{tmp_path}/l.pkl", f"{tmp_path}/checkpoint.tar"
    flags = {"src_dataset": "own", "oracle": "files", "trg_datalist": None}

    def say(script: str, settings, now: dict) -> str:
        (tmp_path / f"{script}_settings.json").write_text(json.dumps(settings))
        caplog.clear()
        warn_of_other_data(args, {"src": now, "trg": now})
        return caplog.text

    before = describe()
    of_run = {"flags": flags, "data": {"src": before, "trg": before}}
    scaled, linked = describe(random_scale=(0.1, 3)), describe(str(tmp_path / "link"))
    for now in (before, scaled, linked):
        assert not say("train_ADA", of_run, now) + say("warmup", of_run, now)
    renumbered = describe(label_to_train={**target.info.label_to_train, 7: 1})
    assert "its network was trained with other label ids" in say("warmup", of_run, renumbered)
    Image.new("L", (4, 2), 5).save(target.items[1].superpixel)
    assert "l.pkl: the run that wrote it had other superpixel maps" in say(
        "train_ADA", of_run, describe()
    )
    free = {"flags": flags | {"trg_datalist": "half.txt"}, "data": of_run["data"]}
    older = {"flags": flags, "data": {"trg": {"each_data": before["each_data"], "regions": "x"}}}
    for unlike in ("{", {"data": 3}, free, older):
        assert not say("train_ADA", unlike, describe())


@pytest.mark.parametrize(
    ("facts", "told"), [("SYNTHIA", True), ("GTA5", False), ("cityscapes", False), (None, False)]
)
def test_a_network_of_another_source_is_told_of(facts, told, tmp_path, caplog):
    path = tmp_path / "c.tar"
    description = {"dataset": facts} if facts else {}
    torch.save({"model_state_dict": {"a": torch.zeros(1)}, "network": description}, path)
    train_ADA.complete(train_ADA.parser().parse_args(["--init_checkpoint", str(path)]), [])
    assert (f"--init_checkpoint {path} was trained on SYNTHIA; to go on" in caplog.text) is told
    assert bool(caplog.records) is told


def test_regions_that_people_skipped_explain_themselves(target, tmp_path, caplog):
    folder = tmp_path / "annotation" / "labels"
    folder.mkdir(parents=True)
    active_set = ActiveSet([], target.items, target.regions | {target.items[0].superpixel: [0]})
    regions = {key: {"status": "skipped", "labelled": 0} for key in "123"}
    content = {"images": {"0.png": {"label": "0.png", "regions": regions}}}
    Image.new("L", (4, 2)).save(folder / "0.png")
    Image.new("RGB", (4, 2)).save(target.items[0].image)
    (folder / "answers.json").write_text(json.dumps(content))
    warn_of_unlisted(tmp_path / "l.pkl", active_set, target)
    assert not caplog.records
    (folder / "answers.json").write_text("{")
    warn_of_unlisted(tmp_path / "l.pkl", active_set, target)
    assert "l.pkl: 3 of 8 regions" in caplog.text


def test_a_list_of_another_folder_than_the_root_is_told_of(target, tmp_path, caplog):
    link = tmp_path / "link"
    link.symlink_to(target.root)
    for root in (target.root, link, tmp_path / "absent"):
        domain = Domain(target.info, str(root), target.items)
        warn_of_other_root(Path("l.pkl"), domain, "--trg_data_dir")
    assert not caplog.records
    (tmp_path / "other").mkdir()
    domain = Domain(target.info, str(tmp_path / "other"), target.items)
    warn_of_other_root(Path("l.pkl"), domain, "--trg_data_dir")
    assert (
        f"l.pkl: its images are read where it lists them ({target.items[0].image})" in caplog.text
    )
    assert f"not from --trg_data_dir {tmp_path / 'other'}; to read those, give --relocate OLD=" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("first_round", "checkpoint", "datalist", "told"),
    [
        (3, "checkpoint03.tar", "datalist_02.pkl", []),
        (3, "best.tar", "mine.pkl", []),
        (0, "checkpoint.tar", "datalist_02.pkl", []),
        (
            3,
            "checkpoint.tar",
            "datalist_02.pkl",
            ["checkpoint.tar: is named as the network of the"],
        ),
        (3, "checkpoint02.tar", "datalist_02.pkl", ["named as the network of round 2, and is val"]),
        (
            3,
            "checkpoint03.tar",
            "datalist_03.pkl",
            ["datalist_03.pkl: is named as that of round 3"],
        ),
        (3, "checkpoint01.tar", "datalist_01.pkl", ["name checkpoint03.tar", "datalist_02.pkl"]),
        (0, "checkpoint02.tar", "datalist_01.pkl", ["those of round 2; give --init_iteration 2"]),
        (3, "checkpoint02.tar", "datalist_01.pkl", ["those of round 2; give --init_iteration 2"]),
    ],
)
def test_files_of_another_round_are_told_of(first_round, checkpoint, datalist, told, caplog):
    warn_of_other_round(first_round, Path("exp", checkpoint), Path("exp", datalist))
    assert len(caplog.records) == len(told)
    assert all(part in message for part, message in zip(told, caplog.messages, strict=True))


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("1.png - s1.png\n0.png - s0.png\n", ""),
        ("0.png\n2.png\n3.png\n", ".txt: does not count, as l.pkl lists the images: 2, of which 1"),
        (None, "--trg_datalist: is not needed, as l.pkl lists the images ("),
    ],
)
def test_a_list_beside_a_datalist_is_told_of_where_it_differs(
    target, tmp_path, caplog, listed, told
):
    path = tmp_path / "list.txt"
    if listed:
        path.write_text(listed)
    warn_of_other_list(Path("l.pkl"), target, "--trg_datalist", None)
    warn_of_other_list(Path("l.pkl"), target, "--trg_datalist", str(path))
    assert len(caplog.records) == bool(told)
    assert told in caplog.text

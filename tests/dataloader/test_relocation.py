"""Datalists of another machine: moved by --relocate, or by themselves where the root is clear."""

import logging
import pickle
from pathlib import Path

import pytest

from dataloader.active_set import ActiveSet
from dataloader.datalist import Item, read_datalist
from dataloader.relocation import Locator

NAMES = ["images/a/1.png", "labels/a/1.png", "superpixel/a/1.png"]


@pytest.fixture()
def root(tmp_path):
    for name in NAMES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "data"


def test_paths_here_and_relative_paths_stay(root, caplog):
    here = [str(root / name) for name in NAMES]
    caplog.set_level(logging.INFO)
    locate = Locator("/elsewhere", [], "list")
    assert [locate(path) for path in here] == here
    assert locate("x/../b.png") == "/elsewhere/b.png"
    assert not caplog.records


def test_other_machine_is_recognised_and_said(root, caplog):
    caplog.set_level(logging.INFO)
    paths = [f"/theirs/city/{name}" for name in NAMES]
    locate = Locator(root, [], "some.pkl")
    assert [locate(path) for path in paths] == [str(root / name) for name in NAMES]
    assert locate("/theirs/city/images/b/2.png") == str(root / "images/b/2.png")
    assert locate("/theirs/city2/1.png") == "/theirs/city2/1.png"
    (record,) = caplog.records
    assert "some.pkl" in record.message and "/theirs/city" in record.message


def test_superpixels_in_a_root_of_their_own(root):
    paths = ["/data/city/images/a/1.png", "/data/city/labels/a/1.png", "/out/superpixel/a/1.png"]
    locate = Locator(root, [], "list")
    assert [locate(path) for path in paths] == [str(root / name) for name in NAMES]


def test_moves_of_the_user_go_first(root, tmp_path):
    moves = [("/theirs/city/images", str(tmp_path / "mine")), ("/theirs", "/mine")]
    locate = Locator(root, moves, "list")
    assert locate("/theirs/city/images/a/1.png") == str(tmp_path / "mine" / "a/1.png")
    assert locate("/theirs/x.png") == "/mine/x.png"
    assert locate("/theirs2/x.png") == "/theirs2/x.png"
    assert Locator(root, [("/", "/mnt")], "list")("/a/b.png") == "/mnt/a/b.png"


def test_text_datalist_and_pickle(root, tmp_path):
    away = [f"/theirs/city/{name}" for name in NAMES]
    (tmp_path / "list.txt").write_text(" ".join(away) + "\n")
    here = Item(*(str(root / name) for name in NAMES))
    assert read_datalist(tmp_path / "list.txt", root) == [here]
    data = {
        "src_label_im_idx": [away],
        "trg_label_im_idx": [away],
        "trg_pool_im_idx": [away],
        "trg_label_suppix": {away[2]: [4, 2]},
        "trg_pool_suppix": {away[2]: [0]},
    }
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data))
    active = ActiveSet.load(tmp_path / "list.pkl", "/mine", root, [("/theirs/city", "/mine")])
    assert active.source == [Item(*(f"/mine/{name}" for name in NAMES))]
    assert active.labelled == {f"/mine/{NAMES[2]}": [4, 2]}
    active = ActiveSet.load(tmp_path / "list.pkl", root, root)
    assert active.target == [here]
    assert active.pool == {here.superpixel: [0]}


def test_scripts_relocate_and_refuse_what_is_nowhere(script, toy_city, tmp_path):
    """A list of another machine trains where its files are found; else three names are said."""
    city = toy_city / "Cityscapes"
    lines = (city / "train.txt").read_text().splitlines()
    flags = (
        "-m deeplabv3plus_mobilenet --image_size 64 128 --num_workers 0 --device cpu "
        "--backbone_weights none --total_itrs 1 --ramp_itrs 0 --val_period 1 "
        f"--src_data_dir {toy_city}/GTA5 --trg_data_dir {city} --val_data_dir {city} "
        f"--warmup target_supervised --trg_datalist {tmp_path}/list.txt"
    )

    def write(prefix: str) -> None:
        rows = [" ".join(f"{prefix}/{name}" for name in line.split()) for line in lines]
        (tmp_path / "list.txt").write_text("\n".join(rows))

    write("/theirs/cityscapes")
    out = script(f"warmup.py -p {tmp_path}/a {flags}")
    assert f"nothing in /theirs/cityscapes; using {city} instead" in out
    write("/theirs")
    Path(tmp_path / "moved").symlink_to(city)
    out = script(f"warmup.py -p {tmp_path}/b {flags} --relocate /theirs={tmp_path}/moved")
    assert "nothing in" not in out
    write("/theirs/other")
    line = script(f"warmup.py -p {tmp_path}/c {flags} --relocate /theirs=/nowhere", fails=True)
    first, second = (entry.split() for entry in lines[:2])
    for name in (*first[:2], second[0]):
        assert f"/nowhere/other/{name}" in line
    assert line.count("no such file") == 3
    assert "OLD=NEW" in script(f"warmup.py -p {tmp_path}/c {flags} --relocate /theirs", fails=True)

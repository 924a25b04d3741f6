"""Datalists of another machine: moved by --relocate, or by themselves where the root is clear."""

import logging
import pickle
from pathlib import Path

import pytest

from dataloader.active_set import ActiveSet
from dataloader.datalist import read_datalist
from dataloader.item import Item
from dataloader.relocation import Locator, moves_of, renamed
from utils.resume_flags import MovedSince

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


def test_a_missing_map_is_not_taken_for_its_image(tmp_path):
    """CamVid's layout: train/1.png and superpixel/train/1.png, which is still to be made."""
    names = ["train/1.png", "trainannot/1.png", "superpixel/train/1.png"]
    for name in names[:2]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for prefix in ("", "./", "/theirs/city/"):
        locate = Locator(tmp_path, [], "list")
        located = [locate(prefix + name) for name in names]
        assert located == [str(tmp_path / name) for name in names], prefix


def test_moves_of_the_user_go_first(root, tmp_path):
    moves = [("/theirs/city/images", str(tmp_path / "mine")), ("/theirs", "/mine")]
    locate = Locator(root, moves, "list")
    assert locate("/theirs/city/images/a/1.png") == str(tmp_path / "mine" / "a/1.png")
    assert locate("/theirs/x.png") == "/mine/x.png"
    assert locate("/theirs2/x.png") == "/theirs2/x.png"
    assert Locator(root, [("/", "/mnt")], "list")("/a/b.png") == "/mnt/a/b.png"


def test_data_that_moved_since(tmp_path):
    """After the user's own rule; into a folder of the old one, too; if the old ones are there."""
    old, new = tmp_path / "old", tmp_path / "old" / "new"
    for root in (old, new):
        (root / "train").mkdir(parents=True)
        (root / "train" / "a.png").touch()
    since = [MovedSince("trg", str(old), str(new)), MovedSince("src", "/x", "/y")]
    locate = Locator(new, moves_of([("/their", str(old)), *since], "trg"), "list.txt")
    for path in (f"{old}/train/a.png", f"{new}/train/a.png", "/their/train/a.png", "train/a.png"):
        assert locate(path) == f"{new}/train/a.png"
    assert locate("/x/train/b.png") == "/x/train/b.png"


def test_content_of_a_file_with_paths_is_renamed():
    moves = [("/data/city", "/b/city"), ("/data", "/data/2")]
    before = {"/data/city/x.png": [(0.5, "/data/city/a,b.png,,/data/s.png", 3), ("/data2/x", [])]}
    after = {"/b/city/x.png": [(0.5, "/b/city/a,b.png,,/data/2/s.png", 3), ("/data2/x", [])]}
    assert renamed(before, moves) == renamed(after, moves) == after


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


@pytest.mark.parametrize("cwd", ["here", "elsewhere"])
def test_relative_paths_of_the_release(root, tmp_path, monkeypatch, cwd):
    """./data/... as its flags gave them: from the working directory, or by their ends."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path if cwd == "here" else tmp_path / "elsewhere")
    theirs = [f"./data/{name}" for name in NAMES]
    here = Item(*(str(root / name) for name in NAMES))
    data = {
        "src_label_im_idx": [theirs],
        "trg_label_im_idx": [theirs],
        "trg_pool_im_idx": [theirs],
        "trg_label_suppix": {theirs[2]: [4]},
        "trg_pool_suppix": {theirs[2]: [0]},
    }
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data))
    active = ActiveSet.load(tmp_path / "list.pkl", root, root)
    assert active.source == active.target == [here]
    assert (active.pool, active.labelled) == ({here.superpixel: [0]}, {here.superpixel: [4]})
    (tmp_path / "list.txt").write_text(" ".join(theirs))
    assert read_datalist(tmp_path / "list.txt", root) == [here]


def test_the_data_root_comes_before_the_working_directory(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "data")
    other = tmp_path / "other"
    (other / "images" / "a").mkdir(parents=True)
    (other / NAMES[0]).touch()
    assert Locator(other, [], "list")(NAMES[0]) == str(other / NAMES[0])


def test_maps_that_are_still_to_be_made_lie_beside_what_is_there(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    locate = Locator("/elsewhere", [], "list")
    assert locate(f"./data/{NAMES[0]}") == str(root / NAMES[0])
    assert locate("./data/superpixel/b/2.png") == str(root / "superpixel/b/2.png")
    locate = Locator(root, [], "list")
    assert locate("theirs/city/images/a/1.png") == str(root / NAMES[0])
    assert locate("theirs/city/superpixel/b/2.png") == str(root / "superpixel/b/2.png")
    assert Locator(root, [], "list")("superpixel/b/2.png") == str(root / "superpixel/b/2.png")


def test_paths_of_windows(root):
    for before in ("", "data\\Cityscapes\\", "C:\\their data\\", "./data/city\\"):
        locate = Locator(root, [], "list")
        paths = [before + name.replace("/", "\\") for name in NAMES]
        assert [locate(path) for path in paths] == [str(root / name) for name in NAMES]
        later = locate(before + "superpixel\\b\\2.png")
        assert later == str(root / "superpixel/b/2.png")
    locate = Locator("/elsewhere", [("C:\\data", "/mine")], "list")
    assert locate("C:\\data\\city\\1.png") == "/mine/city/1.png"
    (root / "images" / "back\\slash.png").touch()  # a name of Linux stays as it is
    locate = Locator(root, [], "list")
    assert locate("images/back\\slash.png") == str(root / "images" / "back\\slash.png")


def test_mixed_forms_in_one_list(root, tmp_path, monkeypatch):
    """Every folder is looked for by itself, and blanks at the ends are no part of a name."""
    monkeypatch.chdir(tmp_path)
    locate = Locator(root, [], "list")
    here = [str(root / name) for name in NAMES]
    assert locate(here[0]) == here[0]
    assert locate(f"./data/{NAMES[1]} ") == here[1]
    assert locate(f"/theirs/{NAMES[2]}\r") == here[2]
    assert locate(f" {NAMES[0]}") == here[0]


def test_one_name_in_common_is_not_enough(root):
    """root/1.png is not what images/1.png and labels/1.png were."""
    (root / "1.png").touch()
    locate = Locator(root, [], "list")
    assert locate("/theirs/pictures/1.png") == "/theirs/pictures/1.png"
    assert locate("pictures/1.png") == str(root / "pictures/1.png")


def test_scripts_relocate_and_refuse_what_is_nowhere(script, toy_city, tmp_path):
    """A list of another machine trains where its files are found; else the first name is said."""
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
    count = 2 * len(lines) - 1  # images and labels
    assert f"/nowhere/other/{lines[0].split()[0]}: no such file, and {count} more files;" in line
    assert "OLD=NEW" in script(f"warmup.py -p {tmp_path}/c {flags} --relocate /theirs", fails=True)

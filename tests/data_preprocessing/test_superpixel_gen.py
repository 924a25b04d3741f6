"""superpixel_gen.py and make_datalist.py: what they write, keep, make again and refuse."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_preprocessing import make_datalist, superpixel_gen
from data_preprocessing.slic import slic
from dataloader.provenance import image_digest
from tests.processes import ROOT, children, name_of, start
from utils.errors import UserError
from utils.files import write_png


@pytest.fixture()
def dataset(tmp_path):
    """Five small GTA5 images."""
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 80, 3), np.uint8)
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:05d}.png")
        Image.fromarray(np.full((40, 80), 7, np.uint8)).save(
            tmp_path / "labels" / f"{number:05d}.png"
        )
    return tmp_path


def command(root, more=""):
    return f"data_preprocessing/superpixel_gen.py --dataset GTA5 --datadir {root} {more}"


def flags(root, more=""):
    return ["--dataset", "GTA5", "--datadir", str(root), "--workers", "1", *more.split()]


def generate(root, more=""):
    """Run superpixel_gen.py in this process."""
    superpixel_gen.main(flags(root, more))


def refused(root, more="", main=superpixel_gen.main):
    """The line with which a script ends, in this process."""
    with pytest.raises(UserError) as error:
        main(flags(root, more) if main is superpixel_gen.main else more.split())
    return error.value.line


def pixels(path):
    return np.asarray(Image.open(path))


def maps(root):
    paths = sorted((root / "superpixel").glob("*.png"))
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_maps_dictionary_and_previews(script, dataset):
    out = script(command(dataset, "--workers 2 --preview 2"))
    assert re.search(r"5 superpixel maps of \d+ to 40 regions", out)
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    areas = json.loads((dataset / "superpixel" / "train.areas").read_text())
    assert list(regions) == [f"superpixel/{n:05d}.png" for n in range(5)]
    for name, ids in regions.items():
        stored = pixels(dataset / name)
        image = pixels(dataset / name.replace("superpixel", "images"))
        assert np.array_equal(stored, slic(image))
        assert ids == np.unique(stored).tolist()
        assert areas[name] == np.bincount(stored.ravel()).tolist()
    previews = list((dataset / "superpixel" / "preview").glob("*.png"))
    assert len(previews) == 2
    assert Image.open(previews[0]).size == (80, 40)


def test_previews_are_spread_over_the_list(dataset):
    generate(dataset, "--preview 3")
    previews = sorted((dataset / "superpixel" / "preview").glob("*.png"))
    assert [path.stem for path in previews] == ["00000", "00001", "00003"]


def test_equal_names_in_two_folders_have_a_preview_each(dataset):
    for folder in ("day", "night"):
        image = dataset / "images" / folder / "a.png"
        image.parent.mkdir()
        write_png(image, np.full((40, 80, 3), 9 if folder == "night" else 200, np.uint8))
        write_png(dataset / "labels" / folder / "a.png", np.zeros((40, 80), np.uint8))
    generate(dataset, "--preview 7")
    preview = dataset / "superpixel" / "preview"
    found = {path.relative_to(preview).as_posix() for path in preview.rglob("*.png")}
    assert found == {*(f"{n:05d}.png" for n in range(5)), "day/a.png", "night/a.png"}
    assert pixels(preview / "day/a.png").mean() > pixels(preview / "night/a.png").mean()


def test_a_second_run_makes_only_what_is_missing_broken_or_outdated(dataset):
    generate(dataset)
    first = maps(dataset)
    (dataset / "superpixel" / "00001.png").unlink()
    (dataset / "superpixel" / "00002.png").write_bytes(first["00002.png"][0][:60])
    (dataset / "superpixel" / "00004.png").write_bytes(first["00004.png"][0][:-30])
    generate(dataset)
    second = maps(dataset)
    assert {name: data for name, (data, _) in second.items()} == {
        name: data for name, (data, _) in first.items()
    }
    kept = {name for name in first if first[name] == second[name]}
    assert kept == {"00000.png", "00003.png"}
    generate(dataset, "--num_segments 10")
    assert all(pixels(path).max() <= 9 for path in (dataset / "superpixel").glob("*.png"))


def test_the_map_of_a_replaced_image_is_made_again(dataset):
    generate(dataset)
    before = maps(dataset)
    image = dataset / "images" / "00002.png"
    image.write_bytes((dataset / "images" / "00003.png").read_bytes())  # of the same size
    generate(dataset)
    after = maps(dataset)
    assert [name for name in before if before[name] != after[name]] == ["00002.png"]
    path = dataset / "superpixel" / "00002.png"
    assert np.array_equal(pixels(path), pixels(dataset / "superpixel" / "00003.png"))
    note = Image.open(path).info["Comment"]
    assert note == (
        "SLIC by scikit-image, num_segments=40, compactness=10, image="
        + image_digest(pixels(image))
    )
    areas = json.loads((dataset / "superpixel" / "train.areas").read_text())
    assert areas["superpixel/00002.png"] == areas["superpixel/00003.png"]


def test_maps_of_an_earlier_version_are_made_again(dataset):
    path = dataset / "superpixel" / "00003.png"
    write_png(path, np.zeros((40, 80), np.uint8), note="SLIC num_segments=40 compactness=10")
    generate(dataset)
    assert np.array_equal(pixels(path), slic(pixels(dataset / "images" / "00003.png")))


@pytest.mark.parametrize("note", [None, "Created with GIMP"])
def test_maps_made_elsewhere_are_kept(dataset, note, caplog):
    foreign = np.repeat(np.arange(4, dtype=np.uint8), 20)[None].repeat(40, 0)
    write_png(dataset / "superpixel" / "00003.png", foreign, note=note)
    generate(dataset)
    assert np.array_equal(pixels(dataset / "superpixel" / "00003.png"), foreign)
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    assert regions["superpixel/00003.png"] == [0, 1, 2, 3]
    assert not caplog.records
    lines = 255 * ((np.arange(40) % 20 == 9)[:, None] | (np.arange(80) % 20 == 9))
    write_png(dataset / "superpixel" / "00003.png", lines.astype(np.uint8), note=note)
    generate(dataset)
    assert "00003.png: has two values, one of them on narrow lines" in caplog.text


def test_a_run_on_some_images_leaves_the_others_in_the_dictionary(dataset, capsys):
    for pattern, name in (("0000[01]*", "a.txt"), ("00004*", "b.txt")):
        make_datalist.main(
            f"--dataset GTA5 --datadir {dataset} --filter {pattern} --out {dataset}/{name}".split()
        )
        assert name in capsys.readouterr().out
        generate(dataset, f"--datalist {dataset}/{name}")
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    assert list(regions) == [f"superpixel/{n:05d}.png" for n in (0, 1, 4)]


def test_bad_input_is_one_line(script, dataset, tally):
    (dataset / "images" / "00002.png").write_bytes(b"no image")
    assert "00002.png" in script(command(dataset, "--workers 1"), fails=True)
    assert "--num_segments" in refused(dataset, "--num_segments 256")
    assert "unknown" in refused(dataset, "--dataset none")
    lists = f"--dataset SYNTHIA --datadir {dataset}"
    assert "no image matches" in refused(dataset, lists, make_datalist.main)
    tally["bad inputs refused"] += 3


def test_the_releases_command_needs_no_flags(dataset, monkeypatch):
    """Cityscapes in ./data/Cityscapes; other datasets beside it."""
    with pytest.raises(UserError, match=r"^data/Cityscapes: no such folder"):
        monkeypatch.chdir(dataset)
        superpixel_gen.main([])
    (dataset / "data").mkdir()
    for folder in ("images", "labels"):
        (dataset / "data" / "GTA5").mkdir(exist_ok=True)
        (dataset / folder).rename(dataset / "data" / "GTA5" / folder)
    superpixel_gen.main(["--dataset", "GTA5", "--workers", "1"])
    assert len(maps(dataset / "data" / "GTA5")) == 5


def test_image_with_broken_pixels_is_named_by_the_worker(script, dataset):
    path = dataset / "images" / "00003.png"
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes(len(data) - 1000) + data[-500:])  # head and tail are whole
    assert "00003.png" in script(command(dataset, "--workers 2"), fails=True)


def test_a_list_cannot_make_it_write_over_other_files(dataset, tmp_path_factory, tally):
    """Outside the root; over an image, a label, another picture, a text, a map of another size."""
    outside = tmp_path_factory.mktemp("outside") / "model.png"
    outside.write_bytes(b"precious")
    image = next((dataset / "images").glob("*.png"))
    label = next((dataset / "labels").glob("*.png"))
    Image.new("RGB", (80, 40)).save(dataset / "photo.png")
    Image.new("L", (8, 8)).save(dataset / "map.png")
    Image.new("L", (80, 40)).save(dataset / "photo.bmp")
    (dataset / "notes.txt").write_text("precious")
    (dataset / "text.png").write_text("precious")
    names = ("photo.png", "map.png", "photo.bmp", "notes.txt", "text.png")
    for target in (outside, "../model.png", image, label, *names):
        (dataset / "list.txt").write_text(f"{image} {label} {target}\n")
        before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
        line = refused(dataset, f"--datalist {dataset}/list.txt")
        assert Path(target).name in line
        assert ("folder of links" in line) == ("model.png" in line)
        assert {p: p.read_bytes() for p in dataset.rglob("*") if p.is_file()} == before
        tally["bad inputs refused"] += 1
    assert outside.read_bytes() == b"precious"


def test_a_root_that_goes_up_and_down_is_the_same_root(dataset):
    generate(dataset / "images" / "..", "--preview 1")
    assert len(maps(dataset)) == 5
    assert (dataset / "superpixel" / "preview" / "00000.png").is_file()


def test_a_dead_worker_ends_it(dataset):
    """A worker that is killed is noticed and said."""
    for folder, shape in (("images", (800, 1600, 3)), ("labels", (800, 1600))):
        write_png(dataset / folder / "00000.png", np.zeros(shape, np.uint8))
        for number in range(1, 40):  # enough to be at work for a while
            shutil.copy(dataset / folder / "00000.png", dataset / folder / f"{number:05d}.png")
    process = start(command(dataset, "--workers 2"))
    while not maps(dataset):
        assert process.poll() is None
        time.sleep(0.05)
    below = children(process.pid)
    victim = next(pid for pid in below if not children(pid) and "forkserver" in name_of(pid))
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "a worker died" in errors.splitlines()[-1]


def test_a_list_of_another_machine(dataset):
    (dataset / "theirs.txt").write_text(
        "/far/images/00001.png /far/labels/00001.png /far/superpixel/00001.png\n"
    )
    generate(dataset, f"--datalist {dataset}/theirs.txt --relocate /far={dataset}")
    assert list(maps(dataset)) == ["00001.png"]


def test_progress_is_shown_on_a_terminal(dataset):
    """One that says that it has 0 columns, as those of `script` and of some containers do."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *command(dataset, "--workers 1").split()],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # when the process has closed the terminal
        while part := os.read(main, 4096):
            shown += part
    os.close(main)
    assert process.wait() == 0
    assert b"superpixels: 100%" in shown and b"5/5" in shown


def test_a_target_without_a_single_label_is_cut(dataset):
    shutil.rmtree(dataset / "labels")
    generate(dataset)
    listed = (dataset / "train.txt").read_text().splitlines()
    assert len(listed) == len(maps(dataset)) == 5
    assert all(line.split()[1] == "-" for line in listed)

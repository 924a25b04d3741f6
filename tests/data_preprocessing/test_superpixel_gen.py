"""superpixel_gen.py and make_datalist.py as subprocesses."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import children, name_of, start


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


def maps(root):
    paths = sorted((root / "superpixel").glob("*.png"))
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_maps_dictionary_and_previews(script, dataset):
    out = script(command(dataset, "--workers 2 --preview 2"))
    assert "5 superpixel maps of 40 to 40 regions" in out
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    areas = json.loads((dataset / "superpixel" / "train.areas").read_text())
    assert list(regions) == [f"superpixel/{n:05d}.png" for n in range(5)]
    for name, ids in regions.items():
        pixels = np.asarray(Image.open(dataset / name))
        assert pixels.dtype == np.uint8
        assert pixels.shape == (40, 80)
        assert ids == np.unique(pixels).tolist()
        assert areas[name] == np.bincount(pixels.ravel()).tolist()
    previews = list((dataset / "superpixel" / "preview").glob("*.png"))
    assert len(previews) == 2
    assert Image.open(previews[0]).size == (80, 40)


def test_previews_are_spread_over_the_list(script, dataset):
    script(command(dataset, "--workers 1 --preview 3"))
    previews = sorted((dataset / "superpixel" / "preview").glob("*.png"))
    assert [path.stem for path in previews] == ["00000", "00001", "00003"]


def test_a_second_run_makes_only_what_is_missing_broken_or_outdated(script, dataset):
    script(command(dataset, "--workers 1"))
    first = maps(dataset)
    (dataset / "superpixel" / "00001.png").unlink()
    (dataset / "superpixel" / "00002.png").write_bytes(first["00002.png"][0][:60])
    script(command(dataset, "--workers 2"))
    second = maps(dataset)
    assert {name: data for name, (data, _) in second.items()} == {
        name: data for name, (data, _) in first.items()
    }
    kept = {name for name in first if first[name] == second[name]}
    assert kept == {"00000.png", "00003.png", "00004.png"}
    script(command(dataset, "--workers 1 --num_segments 10"))
    assert all(np.asarray(Image.open(p)).max() == 9 for p in (dataset / "superpixel").glob("*.png"))


def test_maps_made_elsewhere_are_kept(script, dataset):
    foreign = np.repeat(np.arange(4, dtype=np.uint8), 20)[None].repeat(40, 0)
    (dataset / "superpixel").mkdir()
    Image.fromarray(foreign).save(dataset / "superpixel" / "00003.png")
    script(command(dataset, "--workers 1"))
    assert np.array_equal(np.asarray(Image.open(dataset / "superpixel" / "00003.png")), foreign)
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    assert regions["superpixel/00003.png"] == [0, 1, 2, 3]


def test_a_run_on_some_images_leaves_the_others_in_the_dictionary(script, dataset):
    lists = "data_preprocessing/make_datalist.py --dataset GTA5"
    for pattern, name in (("0000[01]*", "a.txt"), ("00004*", "b.txt")):
        out = script(f"{lists} --datadir {dataset} --filter '{pattern}' --out {dataset}/{name}")
        assert name in out
        script(command(dataset, f"--workers 1 --datalist {dataset}/{name}"))
    regions = json.loads((dataset / "superpixel" / "train.dict").read_text())
    assert list(regions) == [f"superpixel/{n:05d}.png" for n in (0, 1, 4)]


def test_bad_input_is_one_line(script, dataset):
    (dataset / "images" / "00002.png").write_bytes(b"no image")
    assert "00002.png" in script(command(dataset, "--workers 1"), fails=True)
    assert "--num_segments" in script(command(dataset, "--num_segments 256"), fails=True)
    assert "unknown" in script(
        f"data_preprocessing/superpixel_gen.py --dataset none --datadir {dataset}", fails=True
    )
    assert "no image matches" in script(
        f"data_preprocessing/make_datalist.py --dataset SYNTHIA --datadir {dataset}", fails=True
    )


def test_image_with_broken_pixels_is_named_by_the_worker(script, dataset):
    path = dataset / "images" / "00003.png"
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes(len(data) - 1000) + data[-500:])  # head and tail are whole
    assert "00003.png" in script(command(dataset, "--workers 2"), fails=True)


def test_a_list_cannot_make_it_write_over_other_files(script, dataset, tmp_path, tmp_path_factory):
    """Outside the root, over an image, over a checkpoint, over another picture."""
    outside = tmp_path_factory.mktemp("outside") / "model.png"
    outside.write_bytes(b"precious")
    image = next((dataset / "images").glob("*.png"))
    label = next((dataset / "labels").glob("*.png"))
    Image.new("RGB", (8, 8)).save(dataset / "photo.png")
    (dataset / "notes.txt").write_text("precious")
    for target in (outside, "../model.png", image, "photo.png", "notes.txt"):
        (tmp_path / "list.txt").write_text(f"{image} {label} {target}\n")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        line = script(command(dataset, f"--datalist {tmp_path}/list.txt"), fails=True)
        assert Path(target).name in line
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_root_that_goes_up_and_down_is_the_same_root(script, dataset):
    assert "5 superpixel maps" in script(command(dataset / "images" / "..", "--workers 1"))


def test_dead_worker_ends_it_within_seconds(dataset):
    """A worker that is killed is noticed and said."""
    shape = (1500, 3000)
    for number in range(40):  # big enough to be at work for a while
        Image.fromarray(np.full((*shape, 3), number, np.uint8)).save(
            dataset / "images" / f"{number:05d}.png"
        )
        Image.fromarray(np.zeros(shape, np.uint8)).save(dataset / "labels" / f"{number:05d}.png")
    process = start(command(dataset, "--workers 2"))
    while not maps(dataset):
        assert process.poll() is None
        time.sleep(0.05)
    victim = next(pid for pid in children(process.pid) if "spawn_main" in name_of(pid))
    os.kill(victim, signal.SIGKILL)
    since = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - since < 30
    assert process.returncode == 2
    assert "a worker died" in errors.splitlines()[-1]


def test_a_list_of_another_machine(script, dataset, tmp_path):
    (dataset / "theirs.txt").write_text(
        "/far/images/00001.png /far/labels/00001.png /far/superpixel/00001.png\n"
    )
    script(command(dataset, f"--datalist {dataset}/theirs.txt --relocate /far={dataset}"))
    assert list(maps(dataset)) == ["00001.png"]

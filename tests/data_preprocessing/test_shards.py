"""--shard I/N: whatever order shards run and end in, their files are those of one run."""

import errno
import itertools
import json
import shutil
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from data_preprocessing import edge_detection, superpixel_gen
from data_preprocessing.shards import Parts, Shard
from dataloader import regions
from dataloader.item import Item
from dataloader.regions import Regions, load_regions, regions_of_maps, save_regions
from utils import files
from utils.errors import UserError
from utils.files import write_png

IMAGES = 7


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Small GTA5 images, and an entry of an image of another list in the dictionary."""
    root = tmp_path_factory.mktemp("original")
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 40, 3), np.uint8)
        write_png(root / "images" / f"{number:05d}.png", pixels)
        write_png(root / "labels" / f"{number:05d}.png", np.full((24, 40), 7, np.uint8))
    save_regions(root, "train", {str(root / "superpixel" / "other.png"): {3: 960}})
    return root


@pytest.fixture()
def dataset(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


@pytest.fixture(scope="module")
def whole(original, tmp_path_factory):
    """What a run without --shard makes of it."""
    root = shutil.copytree(original, tmp_path_factory.mktemp("whole") / "data")
    generate(root, "--preview 3")
    generate(root, "", edge_detection.main)
    return tree(root)


def generate(root, more="", main=superpixel_gen.main):
    main(["--dataset", "GTA5", "--datadir", str(root), "--workers", "1", *more.split()])


def tree(root) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def dictionary(root) -> dict[str, list[int]]:
    return json.loads((root / "superpixel" / "train.dict").read_text())


@pytest.mark.parametrize("order", [(3, 1, 2), (1, 2, 3)])
def test_any_order_gives_the_files_of_one_run(dataset, whole, order, capsys):
    for index in order:
        assert list(dictionary(dataset)) == ["superpixel/other.png"]
        generate(dataset, f"--shard {index}/3 --preview 3")
        waits = "have no entry" in capsys.readouterr().out
        assert waits == (index != order[-1])
        generate(dataset, f"--shard {index}/3", edge_detection.main)
    assert tree(dataset) == whole


def test_overlapping_and_repeated_shards(dataset, whole):
    """Of one number and another; the images count, not the shards."""
    for shard in ("2/2", "2/2", "1/3", "2/3", "9/9", "3/3"):
        generate(dataset, f"--shard {shard} --preview 3")
    generate(dataset, "", edge_detection.main)
    assert tree(dataset) == whole
    generate(dataset, "--shard 1/3")
    assert tree(dataset) == whole
    image = dataset / "images" / "00003.png"
    write_png(image, np.zeros((24, 40, 3), np.uint8))  # an image of the first of three shards
    generate(dataset, "--shard 1/3")
    after = tree(dataset)
    generate(dataset)
    assert tree(dataset) == after != whole


def end(parts: Parts, shard: Shard, made: Regions, lock_error: int, barrier) -> None:
    """In another process: a shard whose maps are made ends together with the others."""
    if lock_error:
        files._lock = no_lock(lock_error)
    barrier.wait()
    parts.join(shard, made)


def end_list(root: Path, names: list[str], barrier) -> None:
    """In another process: a run on a list of its own ends, and another one reads before it writes.

    They take some time between the two, in which the other would read what is there yet.
    """
    read = regions._read_dictionary
    regions._read_dictionary = lambda *args, **more: (read(*args, **more), time.sleep(0.2))[0]
    made = {f"{root}/superpixel/{name}.png": {0: 960} for name in names}
    barrier.wait()
    save_regions(root, "train", made)


def listed(root: Path) -> list[Item]:
    names = [f"{number:05d}.png" for number in range(IMAGES)]
    folders = ("images", "labels", "superpixel")
    return [Item(*(str(root / folder / name) for folder in folders)) for name in names]


def maps_of(root: Path) -> list[str]:
    return [item.superpixel for item in listed(root)]


def no_lock(code: int):
    def refuse(file, required=False):
        if required:
            raise OSError(code, "no locks")

    return refuse


def at_once(target, arguments) -> None:
    """Run processes that pass a barrier together."""
    context = get_context("fork")  # without imports, and what runs in them starts no threads
    barrier = context.Barrier(len(arguments))
    processes = [context.Process(target=target, args=(*each, barrier)) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize("lock_error", [0, errno.ENOLCK])
def test_shards_that_end_at_once_lose_no_entry(dataset, whole, lock_error):
    generate(dataset, "--shard 1/1")
    for path in (dataset / "superpixel").glob("train.*"):
        path.unlink()
    save_regions(dataset, "train", {str(dataset / "superpixel" / "other.png"): {3: 960}})
    settings = superpixel_gen.superpixel_writer(40, 10).settings
    parts, paths = Parts(dataset, "train", listed(dataset), settings), maps_of(dataset)
    ends = []
    for shard in (Shard(index, 4) for index in (1, 2, 3, 4)):
        ends.append((parts, shard, regions_of_maps(shard.of(paths)), lock_error))
    at_once(end, ends)
    made = tree(dataset)
    assert made == {name: whole[name] for name in made}
    assert not (dataset / "superpixel" / "train.shards").exists()
    assert len(dictionary(dataset)) == IMAGES + 1


def test_runs_with_other_lists_that_end_at_once_lose_no_entry(tmp_path):
    at_once(end_list, [(tmp_path, ["a", "b"]), (tmp_path, ["c"])])
    assert set(dictionary(tmp_path)) == {f"superpixel/{name}.png" for name in "abc"}


def test_a_shard_that_crashed_is_continued_by_the_same_command(dataset, whole, monkeypatch):
    """Before any of its writes."""
    generate(dataset, "--shard 1/2 --preview 3")
    real = files.atomic_write
    for fails_at in itertools.count():
        writes = itertools.count()

        def crash(path, writes=writes, fails_at=fails_at):
            if next(writes) == fails_at:
                raise KeyboardInterrupt
            return real(path)

        monkeypatch.setattr(files, "atomic_write", crash)
        trial = shutil.copytree(dataset, dataset.parent / str(fails_at))
        try:
            generate(trial, "--shard 2/2 --preview 3")
        except KeyboardInterrupt:
            monkeypatch.setattr(files, "atomic_write", real)
            generate(trial, "--shard 2/2 --preview 3")
        else:
            break
        generate(trial, "", edge_detection.main)
        assert tree(trial) == whole
    assert fails_at == 3 + 1 + 2  # maps, the shard's own file, both of the dictionary


def test_a_shard_that_crashed_before_the_files_of_the_others_were_removed(
    dataset, whole, monkeypatch
):
    monkeypatch.setattr(Parts, "_remove", lambda *_: None)
    generate(dataset, "--shard 1/2")
    generate(dataset, "--shard 2/2")
    assert len(list((dataset / "superpixel" / "train.shards").iterdir())) == 2
    monkeypatch.undo()
    generate(dataset, "--shard 2/2 --preview 3")
    generate(dataset, "--shard 1/2 --preview 3")
    generate(dataset, "", edge_detection.main)
    assert tree(dataset) == whole


def test_a_dictionary_read_while_it_is_replaced_keeps_its_entries(dataset):
    """Where nothing can be locked: areas of now, and ids of before."""
    areas = json.loads((dataset / "superpixel" / "train.areas").read_text())
    ids = dictionary(dataset) | {"superpixel/00000.png": [0, 1]}
    (dataset / "superpixel" / "train.dict").write_text(json.dumps(ids))
    (dataset / "superpixel" / "train.areas").write_text(
        json.dumps(areas | {"superpixel/00000.png": [960]})
    )
    generate(dataset)
    names = [Path(path).relative_to(dataset).as_posix() for path in maps_of(dataset)]
    assert set(dictionary(dataset)) == {"superpixel/other.png", *names}
    load_regions(listed(dataset), dataset, "train")


def test_shards_with_other_settings_do_not_meet(dataset, capsys, caplog):
    generate(dataset, "--shard 1/2 --num_segments 9")
    generate(dataset, "--shard 2/2")
    assert "4 of 7 images have no entry" in capsys.readouterr().out
    assert "1 of the files there are of another list of images" in caplog.text
    assert list(dictionary(dataset)) == ["superpixel/other.png"]


@pytest.mark.parametrize(
    "value", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4/2", "1/", "a/b", "\u0661/4"]
)
def test_bad_shards_are_one_line(tmp_path, value, tally):
    for main in (superpixel_gen.main, edge_detection.main):
        with pytest.raises(UserError, match=r"--shard: .* is not I/N with I from 1 to N") as error:
            generate(tmp_path, f"--shard={value}", main)
        assert "\n" not in str(error.value)
    tally["bad inputs refused"] += 1


def test_only_files_of_this_shard_are_cleared_away(dataset):
    """A temporary file of another shard may be in use on another machine."""
    generate(dataset)
    ours, other = (dataset / "superpixel" / f".0000{number}.png.12.tmp" for number in (0, 1))
    for path in (ours, other):
        path.touch()
    generate(dataset, "--shard 1/2")
    assert other.exists() and not ours.exists()


def test_a_map_of_another_shards_image_is_refused(dataset):
    """Two images of one map, each in another shard; a map in the place of another's image."""
    for target in ("superpixel/a.png", "images/00001.png"):
        (dataset / "list.txt").write_text(
            f"images/00000.png labels/00000.png {target}\n"
            "images/00001.png labels/00001.png superpixel/a.png\n"
        )
        with pytest.raises(UserError, match=r"listed 2 times|would overwrite this"):
            generate(dataset, f"--shard 1/2 --datalist {dataset}/list.txt")


def test_a_damaged_file_of_a_shard_is_one_line(dataset):
    generate(dataset, "--shard 1/2")
    (part,) = (dataset / "superpixel" / "train.shards").iterdir()
    for text in ("{", "[]", '{"ids": {"a": [0]}, "areas": {}}'):
        part.write_text(text)
        with pytest.raises(UserError, match="remove it, and run its shard again"):
            generate(dataset, "--shard 2/2")
    assert list(dictionary(dataset)) == ["superpixel/other.png"]
    part.unlink()
    generate(dataset, "--shard 1/2")
    assert len(dictionary(dataset)) == IMAGES + 1

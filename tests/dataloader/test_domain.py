"""Domains of one experiment: the same classes, regions and areas, and what needs which maps."""

import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import find_boundaries

import train_ADA
from data_preprocessing.slic import slic
from dataloader.datalist import write_datalist
from dataloader.dataset_info import INIT_DATA, load_dataset
from dataloader.domain import Domain, agree_on_classes, load_domains
from dataloader.item import Item
from utils.errors import UserError
from utils.files import write_png

CLASSES = load_dataset("cityscapes").class_names


def flags(**values) -> Namespace:
    """Flags of three domains with the classes of Cityscapes."""
    datasets = {"src_dataset": "GTA5", "trg_dataset": "cityscapes", "val_dataset": "cityscapes"}
    return Namespace(**(datasets | {"num_classes": None} | values))


@pytest.fixture()
def described(tmp_path):
    """A function that writes a description like Cityscapes' with other classes; its path."""

    def describe(class_names: list[str]) -> str:
        info = json.loads((INIT_DATA / "cityscapes" / "info.json").read_text())
        number = len(class_names)
        info["class_names"] = class_names
        info["palette"] = (info["palette"] * 2)[:number]
        table = {int(i): t for i, t in info["label_to_train"].items()}
        kept = {i: t for i, t in table.items() if t in (-1, 255) or t < number}
        kept |= {100 + t: t for t in range(number) if t not in kept.values()}
        info["label_to_train"] = {str(i): t for i, t in kept.items()}
        path = tmp_path / "own.json"
        path.write_text(json.dumps(info))
        return str(path)

    return describe


def test_the_number_of_classes_follows_the_datasets(described):
    args = flags()
    agree_on_classes(args, "src", "trg", "val")
    assert args.num_classes == 19
    args = flags(num_classes=23)  # published networks have more outputs than classes
    agree_on_classes(args, "src", "trg", "val")
    assert args.num_classes == 23
    args = flags(trg_dataset=described(["a", "b"]))
    agree_on_classes(args, "trg")
    assert args.num_classes == 2


def test_the_first_class_that_differs_is_named(described):
    other = CLASSES[:13] + ["vehicle"] + CLASSES[14:-1]
    args = flags(trg_dataset=described(other))
    wanted = r"--trg_dataset .*own\.json: its class 13 is vehicle, that of --src_dataset GTA5 is "
    with pytest.raises(UserError, match=wanted + CLASSES[13]):
        agree_on_classes(args, "src", "trg", "val")
    agree_on_classes(flags(val_dataset="cityscapes"), "src", "val")  # the target is not looked at


@pytest.mark.parametrize(
    ("count", "ours", "theirs"), [(18, "missing", CLASSES[18]), (20, "x", "missing")]
)
def test_a_list_that_ends_early_differs(described, count, ours, theirs):
    args = flags(val_dataset=described([*CLASSES, "x"][:count]))
    with pytest.raises(
        UserError, match=rf"--val_dataset .*: its class {min(count, 19)} is {ours}, "
    ):
        agree_on_classes(args, "trg", "val")


def test_fewer_outputs_than_classes_are_refused():
    with pytest.raises(
        UserError, match=r"--num_classes 16: GTA5 has 19; leave .* with --src_dataset"
    ):
        agree_on_classes(flags(num_classes=16), "src", "trg", "val")


def test_a_network_of_other_classes_is_refused():
    agree_on_classes(flags(), "val", network=CLASSES)
    agree_on_classes(flags(num_classes=23), "val", network=[*CLASSES, "class 19"])
    other = ["sky", *CLASSES[1:]]
    wanted = (
        "--val_dataset cityscapes: its class 0 is road, that of the checkpoint's network is sky"
    )
    with pytest.raises(UserError, match=wanted):
        agree_on_classes(flags(), "val", network=other)


def test_pixels_and_areas_are_sums_over_regions():
    regions = {"/s0": {0: 10, 2: 30}, "/s1": {1: 20, 5: 40}}
    items = [Item("", "", path) for path in regions]
    domain = Domain(load_dataset("cityscapes"), "/", items, regions)
    assert domain.pixels == 100
    assert domain.area({"/s0": [2], "/s1": [1, 5]}) == 90
    assert domain.area({}) == 0


@pytest.mark.parametrize(("value", "told"), [(0, True), (9, False)])
def test_maps_of_one_region_each_are_told_of(tmp_path, caplog, value, told):
    """As if 16-bit maps had been read with 8 bits."""
    items = [Item("", "", str(tmp_path / f"{i}.png")) for i in range(2)]
    for item in items:
        write_png(Path(item.superpixel), np.array([[0, value]], np.uint8))
    Domain(load_dataset("cityscapes"), str(tmp_path), items).with_regions("train")
    assert ("0.png and 1 other superpixel maps have one region each" in caplog.text) == told


def lines(ids: np.ndarray) -> np.ndarray:
    return 255 * find_boundaries(ids).astype(np.uint8)


def smoothed(ids: np.ndarray) -> np.ndarray:
    small = Image.fromarray(np.ascontiguousarray(ids[::2, ::2]))
    return np.asarray(small.resize(ids.shape[::-1], Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (np.asarray, ""),
        (lambda ids: np.uint8(ids > 20), ""),
        (lambda ids: np.uint8(ids == 20), ""),
        (lines, r"two values, one of them on narrow lines, .* \(3 of 3 superpixel maps looked at"),
        (smoothed, "0.png and 2 other superpixel maps: at many borders lies a pixel of an id"),
    ],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_maps_of_boundaries_or_resized_ones_are_told_of(tmp_path, caplog, draw, told, shuffled):
    """Good ones pass quietly: of SLIC, of two regions, in any order of ids."""
    rng = np.random.default_rng(0)
    items = [Item("", "", str(tmp_path / f"{i}.png")) for i in range(3)]
    for item in items:
        noise = rng.integers(0, 256, (12, 16, 3), np.uint8)
        ids = slic(np.asarray(Image.fromarray(noise).resize((240, 180))))
        table = rng.permutation(256).astype(np.uint8) if shuffled else np.arange(256, dtype="u1")
        write_png(Path(item.superpixel), draw(table[ids]))
    Domain(load_dataset("cityscapes"), str(tmp_path), items).with_regions("train")
    assert re.search(told, caplog.text) if told else not caplog.records


@pytest.fixture()
def args(toy_city) -> Namespace:
    return train_ADA.parser().parse_args(
        f"--init_checkpoint x --src_data_dir {toy_city}/GTA5 "
        f"--trg_data_dir {toy_city}/Cityscapes".split()
    )


def test_all_regions_are_in_the_pool_at_first(args):
    source, target, active_set = load_domains(args, frozenset({"network", "source"}), None)
    assert not active_set.labelled
    assert {path: set(ids) for path, ids in active_set.pool.items()} == {
        path: set(areas) for path, areas in target.regions.items()
    }
    assert target.pixels == 6 * 64 * 128
    assert source.regions.keys() == {item.superpixel for item in source.items}
    source, *_ = load_domains(args, frozenset({"network"}), None)
    assert not source.regions


def test_a_datalist_tells_what_is_labelled_and_regions_that_maps_lack_are_left_out(
    args, tmp_path, caplog
):
    _, target, active_set = load_domains(args, frozenset(), None)
    first, second = (item.superpixel for item in target.items[:2])
    active_set.label([(first, 3)])
    active_set.labelled[second] = [254]
    active_set.save(tmp_path / "list.pkl")
    _, _, again = load_domains(args, frozenset(), tmp_path / "list.pkl")
    assert again.labelled == {first: [3]}
    assert again.pool == active_set.pool
    assert "list.pkl: 1 of its regions are not in the superpixel maps" in caplog.text


def test_lists_whose_labels_are_those_of_other_images_are_told_of(args, tmp_path, caplog):
    items = load_domains(args, frozenset({"source"}), None)[0].items
    assert "by its name is that of" not in caplog.text
    labels = [item.label for item in items[1:] + items[:1]]
    swapped = [i._replace(label=label) for i, label in zip(items, labels, strict=True)]
    write_datalist(tmp_path / "list.txt", swapped)
    args.src_datalist = tmp_path / "list.txt"
    load_domains(args, frozenset({"source"}), None)
    assert f"({len(items)} of {len(items)} images are such)" in caplog.text

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataloader.datalist import find_or_make_datalist, read_datalist, write_datalist
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from dataloader.regions import load_regions, regions_of_maps, save_regions
from dataloader.scan import scan
from utils.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 2)).save(path)


def test_cityscapes_layout(tmp_path):
    touch(
        tmp_path,
        "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png",
        "leftImg8bit/train/aachen/aachen_2_leftImg8bit.png",
        "leftImg8bit/val/bonn/bonn_3_leftImg8bit.png",
        "leftImg8bit/train/ulm/unlabelled_leftImg8bit.png",
        "gtFine/train/ulm/ulm_1_gtFine_labelIds.png",
        "gtFine/train/aachen/aachen_2_gtFine_labelIds.png",
        "gtFine/val/bonn/bonn_3_gtFine_labelIds.png",
    )
    info = load_dataset("cityscapes")
    assert scan(info, tmp_path, "train").items == [
        Item(
            "leftImg8bit/train/aachen/aachen_2_leftImg8bit.png",
            "gtFine/train/aachen/aachen_2_gtFine_labelIds.png",
            "superpixel/train/aachen/aachen_2_superpixel.png",
        ),
        Item(
            "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png",
            "gtFine/train/ulm/ulm_1_gtFine_labelIds.png",
            "superpixel/train/ulm/ulm_1_superpixel.png",
        ),
    ]
    assert len(scan(info, tmp_path, "val").items) == 1
    assert len(scan(info, tmp_path, "train", "ulm*").items) == 1
    assert len(scan(info, tmp_path, "train", "*/aachen/*").items) == 1


def test_gta5_leaves_out_labels_that_do_not_fit(tmp_path):
    for number in (15187, 15188, 17705, 20800, 20801, 20860, 20861):
        touch(tmp_path, f"images/{number:05d}.png", f"labels/{number:05d}.png")
    stems = [Path(i.image).stem for i in scan(load_dataset("GTA5"), tmp_path, "train").items]
    assert stems == ["15187", "20800", "20861"]
    assert 24966 - len(load_dataset("GTA5").excluded_stems) == 24904


def test_lists_of_synthia_and_camvid(tmp_path):
    touch(tmp_path, "RGB/0000000.png", "GT/LABELS/0000000.png")
    assert scan(load_dataset("SYNTHIA"), tmp_path, "train").items == [
        Item("RGB/0000000.png", "GT/LABELS/0000000.png", "superpixel/0000000.png")
    ]
    touch(tmp_path, "test/a.png", "testannot/a.png")
    assert scan(load_dataset("camvid"), tmp_path, "val").items == [
        Item("test/a.png", "testannot/a.png", "superpixel/test/a.png")
    ]


def test_own_list_is_made_kept_and_found(tmp_path):
    touch(tmp_path, "images/1.png", "labels/1.png", "images/2.png", "labels/2.png")
    info = load_dataset("GTA5")
    made = find_or_make_datalist(info, tmp_path, "train")
    assert [Path(item.image).name for item in made] == ["1.png", "2.png"]
    assert all(Path(path).is_absolute() for item in made for path in item)
    (tmp_path / "train.txt").write_text("images/2.png labels/2.png superpixel/2.png\n")
    assert find_or_make_datalist(info, tmp_path, "train") == made[1:]


def test_round_trip_and_white_space(tmp_path):
    items = [Item("a.png", "b.png", "c.png"), Item("d/e.png", "f.png", "g.png")]
    write_datalist(tmp_path / "list.txt", items)
    assert read_datalist(tmp_path / "list.txt", "/data") == [i.below("/data") for i in items]
    (tmp_path / "list.txt").write_text("\n a.png\tb.png   c.png \n\n/x/d.png e.png f.png\n")
    again = read_datalist(tmp_path / "list.txt", "/data")
    assert again == [items[0].below("/data"), Item("/x/d.png", "/data/e.png", "/data/f.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a b\n", "line 1: 2 columns"),
        ("a b c\na b c d\n", "line 2: 4 columns"),
        ("a b c\nd e f\na b g\n", "a is listed 2 times"),
        ("a b c\nd e c\n", "c is listed 2 times"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_datalist(tmp_path / "list.txt", tmp_path)


def test_a_split_or_folder_that_is_not_there(tmp_path):
    info = load_dataset("GTA5")
    with pytest.raises(UserError, match="no GTA5 train images"):
        find_or_make_datalist(info, tmp_path, "train")
    with pytest.raises(UserError, match="no val split, only train"):
        scan(info, tmp_path, "val")
    with pytest.raises(UserError, match="no such folder"):
        find_or_make_datalist(info, tmp_path / "nowhere", "train")


def test_region_dictionary_has_the_real_ids_and_areas(tmp_path):
    items = [Item("i", "l", f"superpixel/{n}.png").below(tmp_path) for n in range(3)]
    maps = [np.array(m, np.uint8) for m in ([[0, 0], [2, 2]], [[1, 1], [1, 1]], [[5, 0], [5, 5]])]
    (tmp_path / "superpixel").mkdir()
    for item, pixels in zip(items, maps, strict=True):
        Image.fromarray(pixels).save(item.superpixel)
    expected = [{0: 2, 2: 2}, {1: 4}, {0: 1, 5: 3}]
    regions = load_regions(items, tmp_path, "train")
    assert list(regions.values()) == expected
    save_regions(tmp_path, "train", regions_of_maps(i.superpixel for i in items[:2]))
    published = json.loads((tmp_path / "superpixel" / "train.dict").read_text())
    assert published == {"superpixel/0.png": [0, 2], "superpixel/1.png": [1]}
    assert list(load_regions(items, tmp_path, "train").values()) == expected

"""Label mappings and readers, against the tables of the datasets' publishers."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from dataloader import dataset_info
from dataloader.checks.files import check_files
from dataloader.dataset_info import dataset_names, load_dataset
from dataloader.images import map_label, read_image, read_label, read_superpixels
from dataloader.item import Item
from dataloader.regions import regions_of_maps
from utils.errors import UserError

CITYSCAPES = dict(
    zip(
        [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33],
        range(19),
        strict=True,
    )
)
SYNTHIA = {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9, 1: 10, 10: 11, 17: 12}
SYNTHIA |= {8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18}
CAMVID = {3: 0, 4: 1, 1: 2, 7: 4, 2: 5, 6: 7, 5: 8, 0: 10, 9: 11, 10: 18, 8: 13}
TABLES = {"GTA5": CITYSCAPES, "cityscapes": CITYSCAPES, "SYNTHIA": SYNTHIA, "camvid": CAMVID}
TABLES |= {"ACDC": CITYSCAPES, "DarkZurich": CITYSCAPES}
TABLES |= {name: {i: i for i in range(19)} for name in ("BDD100K", "UrbanSyn")}


def test_every_folder_is_a_dataset(tmp_path, monkeypatch):
    assert {*TABLES, "camvid32"} <= set(dataset_names())
    for name in dataset_names():
        assert load_dataset(name).name == name
    folder = tmp_path / "own camera"
    folder.mkdir()
    (folder / "info.json").write_text(load_dataset("camvid").path.read_text())
    monkeypatch.setattr(dataset_info, "INIT_DATA", tmp_path)
    assert dataset_names() == ["own camera"]
    assert load_dataset("own camera").class_names[0] == "road"


@pytest.mark.parametrize("name", TABLES)
def test_every_value_maps_as_published_and_all_others_are_ignored(name):
    info = load_dataset(name)
    ids = np.arange(65536 if info.label_reader == "red16" else 256)
    expected = [TABLES[name].get(i, 255) for i in ids.tolist()]
    stored = ids.astype(np.uint16 if info.label_reader == "red16" else np.uint8)
    for mapped in (map_label(stored[None], info)[0], info.train_id_table[stored]):
        assert mapped.dtype == np.uint8
        assert mapped.ravel().tolist() == expected


def test_cityscapes_mapping_is_the_official_one():
    from cityscapesscripts.helpers.labels import id2label

    info = load_dataset("cityscapes")
    assert info.known_ids == set(id2label)
    for label_id, label in id2label.items():
        assert info.label_table[label_id] == (255 if label.trainId < 0 else label.trainId)
        if label.trainId in range(19):
            assert info.class_names[label.trainId] in label.name
            assert tuple(info.palette[label.trainId]) == label.color


def test_16_bit_labels_keep_their_red_channel(tmp_path):
    red = np.array([[3, 4, 21], [11, 300, 0]], np.uint16)
    green = np.array([[9, 70, 1000], [65535, 2, 3]], np.uint16)  # instance ids
    cv2.imwrite(str(tmp_path / "x.png"), np.dstack([np.zeros_like(red), green, red]))
    label = read_label(tmp_path / "x.png", load_dataset("SYNTHIA"))
    assert label.tolist() == [[0, 1, 3], [18, 255, 255]]


def test_palette_labels_give_indices_not_colours(tmp_path):
    ids = np.array([[7, 8], [34, 33]], np.uint8)
    image = Image.fromarray(ids).convert("P")
    image = Image.fromarray(ids, mode="L")
    palette = Image.frombytes("P", (2, 2), ids.tobytes())
    palette.putpalette([255 - i // 3 for i in range(768)])
    for number, picture in enumerate((image, palette)):
        picture.save(tmp_path / f"{number}.png")
        label = read_label(tmp_path / f"{number}.png", load_dataset("GTA5"))
        assert label.tolist() == [[0, 1], [255, 18]]


def test_unreadable_files_are_named(tmp_path):
    good, cut, text = (tmp_path / name for name in ("good.png", "cut.png", "text.png"))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(good)
    cut.write_bytes(good.read_bytes()[:500])
    text.write_text("no image")
    for reader in (read_image, read_superpixels):
        for path in (cut, text, tmp_path / "missing.png"):
            with pytest.raises(UserError, match=path.name):
                reader(path)
    with pytest.raises(UserError, match=r"good\.png.*mode RGB"):
        read_superpixels(good)
    camvid = load_dataset("camvid")
    with pytest.raises(UserError, match=r"missing\.png.*no such file"):
        check_files([Item(str(good), str(tmp_path / "missing.png"), "")], camvid, "image", "label")
    with pytest.raises(UserError, match=r"cut\.png: .*truncated"):
        check_files([Item(str(cut), "", "")], camvid, "image")
    check_files([Item(str(good), "", "")], camvid, "image")


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("Images/gr\u00fcn.jpg", r"no such file \(there is .*/images\); mend"),
        (
            "images/gru\u0308n.jpg",
            r" \(there is .*n\.jpg, whose accents are in another Unicode form",
        ),
        ("images/gr\u00fcn.PNG", r" \(there is .*/images/gr\u00fcn\.jpg\)"),
        ("images/blau.jpg", "no such file; mend"),
    ],
)
def test_absent_files_that_are_there_by_another_name_are_told_of(tmp_path, listed, told):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "gr\u00fcn.jpg")
    with pytest.raises(UserError, match=told):
        check_files([Item(str(tmp_path / listed), "", "")], load_dataset("camvid"), "image")


def test_neighbours_of_absent_files_are_not_taken_for_them(tmp_path):
    """The image of an absent label, and a text file beside it; a folder with another suffix."""
    (tmp_path / "images.bak").mkdir()
    image, label = tmp_path / "1.jpg", tmp_path / "1.png"
    Image.new("RGB", (8, 8)).save(image)
    image.with_suffix(".txt").touch()
    for absent in (label, tmp_path / "images" / "1.png"):
        with pytest.raises(UserError, match=r"1\.png: no such file; mend"):
            check_files([Item(str(image), str(absent), "")], load_dataset("camvid"), "label")


def test_files_of_the_wrong_kind_are_named_before_training(tmp_path):
    """A colour label, an 8-bit label for SYNTHIA; bytes after a PNG's end are no fault."""
    color, grey = tmp_path / "color.png", tmp_path / "grey.png"
    Image.new("RGB", (8, 8)).save(color)
    Image.new("L", (8, 8)).save(grey)
    grey.write_bytes(grey.read_bytes() + bytes(200))
    camvid, synthia = load_dataset("camvid"), load_dataset("SYNTHIA")
    check_files([Item(str(color), str(grey), str(grey))], camvid, "image", "label", "superpixel")
    for info, item, message in (
        (camvid, Item("", str(color), ""), "mode RGB"),
        (synthia, Item("", str(color), ""), "16-bit"),
    ):
        with pytest.raises(UserError, match=rf"color\.png: .*{message}.*mend the datalist"):
            check_files([item], info, "label")
    with pytest.raises(UserError, match=r"color\.png: mode RGB.*superpixel_gen"):
        check_files([Item("", "", str(color))], camvid, "superpixel")
    with pytest.raises(UserError, match=r"none\.png: no such file; mend the datalist"):
        check_files([Item("none.png", "", str(grey))], camvid, "image", "superpixel")


def test_unknown_dataset_lists_those_there_are():
    for name in ("kitti", "", "../x", "no/such/info.json", "x" * 1000):
        with pytest.raises(UserError, match=r"camvid, .*SYNTHIA, .*path of an info\.json|too long"):
            load_dataset(name)
    with pytest.raises(UserError, match="did you mean cityscapes"):
        load_dataset("Cityscape")


def test_files_of_another_picture_are_named_before_training(tmp_path, caplog):
    """GTA5 labels may be of another scale, which is said; a map is of the image's very size."""
    camvid = load_dataset("camvid")
    for name, size in (("image", (60, 32)), ("scaled", (120, 66)), ("turned", (32, 60))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    image, scaled, turned = (str(tmp_path / f"{n}.png") for n in ("image", "scaled", "turned"))
    check_files([Item(image, image, image)], camvid, "image", "label", "superpixel")
    assert not caplog.records
    items = [Item(image, label, image) for label in (image, scaled, scaled)]
    check_files(items, camvid, "image", "label", "superpixel")
    (record,) = caplog.records
    assert record.getMessage() == (
        "2 of 3 labels have another size than their image, and are scaled to it; the first is "
        f"{scaled}: 120 x 66 pixels, its image 60 x 32"
    )
    with pytest.raises(UserError, match=r"turned\.png: 32 x 60 pixels, its image 60 x 32 \(.*EXIF"):
        check_files([Item(image, turned, "")], camvid, "image", "label")
    with pytest.raises(UserError, match=r"scaled\.png: 120 x 66 pixels, .*superpixel_gen"):
        check_files([Item(image, "", scaled)], camvid, "image", "superpixel")


def test_image_bombs_are_refused_unopened(tmp_path):
    """60,000 x 60,000 pixels in a file of a few bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    path = str(tmp_path / "bomb.png")
    for column in ("image", "label", "superpixel"):
        with pytest.raises(UserError, match=r"bomb\.png: .*more than the 178956970 pixels"):
            check_files([Item(path, path, path)], load_dataset("camvid"), column)
    with pytest.raises(UserError, match=r"bomb\.png: .*more than the 178956970 pixels"):
        read_image(path)


def test_maps_of_256_regions_are_refused(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "map.png")
    with pytest.raises(UserError, match=r"map\.png: 256 regions"):
        regions_of_maps([tmp_path / "map.png"])
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16)).save(tmp_path / "map.png")
    with pytest.raises(UserError, match=r"map\.png: .*mode I"):
        regions_of_maps([tmp_path / "map.png"])

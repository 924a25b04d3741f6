import json
import logging
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_preprocessing import make_datalist
from dataloader.datalist import find_or_make_datalist, read_datalist, write_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.item import Item
from dataloader.regions import load_regions, regions_of_maps, save_regions
from dataloader.scan import grown, scan
from dataloader.walk import walk_files
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
        Item(
            "leftImg8bit/train/ulm/unlabelled_leftImg8bit.png",
            "",
            "superpixel/train/ulm/unlabelled_superpixel.png",
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
    (tmp_path / "train.txt").write_text("/SegNet/images/1.png /SegNet/labels/1.png\n")
    with pytest.raises(UserError, match=r"2 columns; .* if another program made .*, move it away"):
        find_or_make_datalist(info, tmp_path, "train")
    (tmp_path / "train.txt").write_text("1\n2\n")  # as VOC's
    with pytest.raises(
        UserError, match=r"nothing of the 2 images .*/1; if another program .*, move"
    ):
        find_or_make_datalist(info, tmp_path, "train", columns=1)
    (tmp_path / "train.txt").write_text("images/9.png labels/2.png\n")  # evaluation needs no images
    assert len(find_or_make_datalist(info, tmp_path, "train", columns=2)) == 1
    (tmp_path / "train.txt").write_text("labels/2.png images/2.png superpixel/2.png\n")
    with pytest.raises(UserError, match="its columns are label, image, superpixel;"):
        find_or_make_datalist(info, tmp_path, "train", tmp_path / "train.txt")


def test_a_list_that_lacks_images_added_later_is_told_of(tmp_path, caplog):
    info = load_dataset("GTA5")
    touch(tmp_path, "images/1.png", "labels/1.png", "images/15188.png", "images/notes.txt.png")
    (tmp_path / "images" / "readme.txt").touch()
    find_or_make_datalist(info, tmp_path, "train", need_label=False)
    caplog.clear()
    find_or_make_datalist(info, tmp_path, "train", need_label=False)
    assert not caplog.records
    touch(tmp_path, "images/2.png", "labels/2.png")
    assert len(find_or_make_datalist(info, tmp_path, "train", need_label=False)) == 2
    assert f"{tmp_path}/train.txt lists 2 of 3 images that are there; remove it" in caplog.text
    caplog.clear()
    find_or_make_datalist(info, tmp_path, "train", tmp_path / "train.txt")  # named by a flag
    with (tmp_path / "train.txt").open("a") as file:
        file.write("own/3.png labels/3.png superpixel/3.png\n")  # no program made that
    find_or_make_datalist(info, tmp_path, "train", need_label=False)
    assert not caplog.records


def test_images_that_are_excluded_after_the_list_was_made_are_told_of(tmp_path, caplog):
    info = replace(load_dataset("GTA5"), exclude=[])
    touch(tmp_path, *(f"images/{n:05d}.png" for n in (1, 2, 3)))
    items = find_or_make_datalist(info, tmp_path, "train", need_label=False)
    excluding = replace(info, exclude=["00002", "7-9"])
    assert find_or_make_datalist(excluding, tmp_path, "train", need_label=False) == items
    said = f"train.txt lists 1 images that {info.path} excludes, the first images/00002.png; remove"
    assert said in caplog.text and len(caplog.records) == 1
    touch(tmp_path, "images/00004.png")
    find_or_make_datalist(excluding, tmp_path, "train", need_label=False)
    assert "train.txt lists 2 of 3 images that are there" in caplog.text
    (tmp_path / "train.txt").unlink()
    caplog.clear()
    assert len(find_or_make_datalist(excluding, tmp_path, "train", need_label=False)) == 3
    assert "1 that info.json excludes" in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "exclude", "told"),
    [
        ("00003", "3", True),
        ("monday drive/frame f00930", "00930", True),
        ("frame 8 left", "7-9", True),
        ("00003", "00003", False),
        ("00003", "00004", False),  # of another split, or root
        ("00003", "00002-00004", False),
        ("frame", "1", False),
    ],
)
def test_an_entry_of_exclude_that_is_no_whole_stem_is_told_of(
    tmp_path, caplog, name, exclude, told
):
    info = replace(load_dataset("GTA5"), exclude=[exclude])
    touch(tmp_path, f"images/{name}.png", "images/a.png")
    for _ in range(2):  # when the list is made, and read
        caplog.clear()
        find_or_make_datalist(info, tmp_path, "train", need_label=False)
        said = f'exclude has "{exclude}", which leaves out no image in {tmp_path}; one is named'
        assert (f"{said} {name}:" in caplog.text) is told


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image": "game/{stem}.png"}, "its image images/1.png is not like game/*.png"),
        ({"label": "fine/{stem}.png"}, "its label labels/1.png is not like fine/*.png"),
        ({"superpixel": "s/{stem}.png"}, "its superpixel superpixel/1.png is not like s/*.png"),
        ({"label": "absent/{stem}.png"}, ""),
    ],
)
def test_a_list_that_another_description_made_is_told_of(tmp_path, caplog, changed, said):
    info = load_dataset("GTA5")
    touch(tmp_path, *(f"{f}/{n}.png" for f in ("images", "labels", "fine") for n in (1, 2)))
    items = find_or_make_datalist(info, tmp_path, "train")
    assert find_or_make_datalist(replace(info, **changed), tmp_path, "train") == items
    assert (said or "no line") in (caplog.text or "no line")
    assert (f"{info.path} says (2 of 2 images); remove the list if" in caplog.text) == bool(said)


def test_labels_that_came_after_the_list_are_told_of(tmp_path, caplog):
    info = load_dataset("GTA5")
    touch(tmp_path, "images/1.png", "images/2.png", "labels/2.png")
    find_or_make_datalist(info, tmp_path, "train")
    assert "without a label (images/1.png)\n" in caplog.text
    touch(tmp_path, "labels/1.png")
    assert len(find_or_make_datalist(info, tmp_path, "train")) == 1
    assert f"; labels/1.png is there now: remove {tmp_path}/train.txt to list" in caplog.text


def test_round_trip_and_white_space(tmp_path):
    items = [Item("a.png", "b.png", "c.png"), Item("d/e.png", "f.png", "g.png")]
    write_datalist(tmp_path / "list.txt", items)
    assert read_datalist(tmp_path / "list.txt", "/data") == [i.below("/data") for i in items]
    (tmp_path / "list.txt").write_text("\n a.png\tb.png   c.png \n\n/x/d.png e.png f.png\n")
    again = read_datalist(tmp_path / "list.txt", "/data")
    assert again == [items[0].below("/data"), Item("/x/d.png", "/data/e.png", "/data/f.png")]


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize(
    "line", ["a.png\t\tb.png\t\tc.png", "a.png\tb.png   c.png", "a.png b.png\tc.png"]
)
def test_aligned_columns_and_tabs_among_blanks(tmp_path, line, columns):
    (tmp_path / "a.png").touch()
    (tmp_path / "list.txt").write_text(line)
    (item,) = read_datalist(tmp_path / "list.txt", tmp_path, columns=columns)
    assert item == Item("a.png", "b.png", "c.png").below(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a b\n", "line 1: 2 columns"),
        ("a b c\na b c d\n", "line 2: 4 columns"),
        ("a b c\nd e f\na b g\n", "a is listed 2 times"),
        ("a b c\nd e c\n", "c is listed 2 times"),
        ("a b c\nd e e\n", "e is the superpixel map of its line, and the image or label, too"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_datalist(tmp_path / "list.txt", tmp_path)


def dataset(image: str, label: str, **splits: str) -> DatasetInfo:
    """A dataset with these templates."""
    return DatasetInfo(
        name="own",
        path=Path("info.json"),
        image=image,
        label=label,
        superpixel="superpixel/{stem}.png",
        splits=splits or {"train": ""},
        label_to_train={0: 0, 1: 1},
        label_reader="index",
        class_names=["a", "b"],
        palette=[[0, 0, 0], [9, 9, 9]],
    )


def test_any_usual_suffix_in_any_case_matches_a_template(tmp_path):
    names = ("0.png", "1.PNG", "2.jpg", "3.JPG", "4.jpeg", "5.tiff", "6.webp")
    touch(tmp_path, *(f"images/{name}" for name in names))
    touch(tmp_path, *(f"labels/{n}.png" for n in range(4)), "labels/4.PNG", "labels/5.tif")
    (tmp_path / "labels" / "6.jpg").touch()  # a lossy label is none
    found = scan(load_dataset("GTA5"), tmp_path, "train")
    assert [item.image for item in found.items] == [f"images/{name}" for name in names]
    assert [item.label for item in found.items[4:]] == ["labels/4.PNG", "labels/5.tif", ""]
    assert found.items[3].superpixel == "superpixel/3.png"
    assert not found.left_out


def test_labels_are_found_whatever_case_and_accents_a_file_system_makes(tmp_path):
    touch(
        tmp_path, "images/IMG_1.JPG", "labels/img_1.png", "images/e\u0301.png", "labels/\u00e9.png"
    )
    touch(tmp_path, "images/A.png", "images/a.png", "labels/a.png")
    found = scan(load_dataset("GTA5"), tmp_path, "train")
    assert [(i.image, i.label) for i in found.items] == [
        ("images/A.png", ""),  # a.png is the label of another
        ("images/IMG_1.JPG", "labels/img_1.png"),
        ("images/a.png", "labels/a.png"),
        ("images/e\u0301.png", "labels/\u00e9.png"),
    ]


def test_two_files_of_one_stem_are_never_chosen_from_silently(tmp_path):
    info = load_dataset("GTA5")
    touch(tmp_path, "images/1.png", "images/1.jpg", "labels/1.png")
    found = scan(info, tmp_path, "train")
    assert [item.image for item in found.items] == ["images/1.png"]  # as the template says
    (reason,) = found.left_out
    assert found.left_out[reason] == ["images/1.jpg"]
    assert "differs from a listed one in the suffix" in reason
    touch(tmp_path, "images/2.jpg", "images/2.JPG", "labels/2.png")
    with pytest.raises(UserError, match=r"images/2\.JPG and images/2\.jpg differ"):
        scan(info, tmp_path, "train")
    (tmp_path / "images" / "2.JPG").unlink()
    touch(tmp_path, "labels/2.tif", "labels/2.bmp")
    assert scan(info, tmp_path, "train").items[1].label == "labels/2.png"
    (tmp_path / "labels" / "2.png").unlink()
    with pytest.raises(UserError, match=r"labels/2\.bmp and labels/2\.tif differ"):
        scan(info, tmp_path, "train")


def test_labels_and_maps_among_the_images_are_no_images(tmp_path):
    touch(tmp_path, "d/a.jpg", "d/a.png", "d/b.png", "superpixel/a.png", "d/superpixel/x.png")
    assert [
        i[:2] for i in scan(dataset("d/{stem}.jpg", "d/{stem}.png"), tmp_path, "train").items
    ] == [("d/a.jpg", "d/a.png")]
    touch(tmp_path, "e/1.png", "e/1_L.png", "e/superpixel/1.png")
    found = scan(dataset("e/{stem}.png", "e/{stem}_L.png"), tmp_path, "train")
    assert [i[:2] for i in found.items] == [("e/1.png", "e/1_L.png")]
    touch(tmp_path, "e/2_L.png")  # whose image is gone
    found = scan(dataset("e/{stem}.png", "e/{stem}_L.png"), tmp_path, "train")
    assert [i[:2] for i in found.items] == [("e/1.png", "e/1_L.png")]
    assert "e/2_L.png" in found.left_out["without a label"]


def test_maps_and_previews_below_images_at_the_root_are_no_images(tmp_path):
    info = replace(load_dataset("GTA5"), image="{stem}.png", superpixel="sp/{stem}.png")
    touch(tmp_path, "1.png", "labels/1.png", "sp/1.png", "a/edge/2.png")
    touch(tmp_path, "superpixel/preview/sp/1.png", "edge/sp/1.png", "edge/sp/3.png")
    found = scan(info, tmp_path, "train")
    assert [item.image for item in found.items] == ["1.png", "a/edge/2.png"]
    assert "2 in edge, where maps are written (edge/sp/1.png, ...)" in found.summary
    assert grown(info, tmp_path, "train", [found.items[0]]) == 2
    assert len(scan(replace(info, image="edge/sp/{stem}.png"), tmp_path, "train").items) == 2


def test_every_file_that_is_left_out_is_counted(tmp_path, capsys, caplog):
    city = "leftImg8bit/train/ulm/ulm"
    touch(tmp_path, f"{city}_1_leftImg8bit.png", "gtFine/train/ulm/ulm_1_gtFine_labelIds.png")
    touch(tmp_path, f"{city}_2_leftImg8bit.png", f"{city}_3_leftImg8bit.JPG", f"{city}_4.png")
    for folder in ("val", "test"):
        touch(tmp_path, f"leftImg8bit/{folder}/bonn/bonn_5_leftImg8bit.png")
        touch(tmp_path, f"gtFine/{folder}/bonn/bonn_5_gtFine_labelIds.png")
    (tmp_path / f"{city}_6_leftImg8bit.heic").touch()
    (tmp_path / "leftImg8bit/train/ulm/._ulm_1_leftImg8bit.png").touch()  # as macOS leaves them
    make_datalist.main(["--dataset", "cityscapes", "--datadir", str(tmp_path)])
    said = capsys.readouterr().out
    listed = f"3 images in {tmp_path}/train.txt, 2 of them without a label; left out: "
    assert said.startswith(listed)
    for part in (
        f"1 with another suffix ({city}_6_leftImg8bit.heic)",
        f"1 not named *_leftImg8bit.png ({city}_4.png)",
        "1 of split 'test' (leftImg8bit/test/bonn/bonn_5_leftImg8bit.png)",
    ):
        assert part in said
    assert "'val'" not in said  # which the dataset knows
    with pytest.raises(UserError, match=r"no image matches.*left out: 1 of split 'train' "):
        touch(tmp_path, "images/10k/train/1.jpg", "labels/sem_seg/masks/train/1.png")
        make_datalist.main(f"--dataset BDD100K --datadir {tmp_path} --split val".split())
    with pytest.raises(UserError, match=r"--filter x; left out: .*3 that --filter leaves out"):
        make_datalist.main(f"--dataset cityscapes --datadir {tmp_path} --filter x".split())
    (tmp_path / "train.txt").unlink()
    with caplog.at_level(logging.WARNING):
        find_or_make_datalist(load_dataset("cityscapes"), tmp_path, "train")
    assert "3 train images; left out: " in caplog.text
    assert f"1 train images; left out: 2 without a label ({city}_2" in caplog.text


def test_labels_that_were_saved_as_jpeg_are_told_of(tmp_path, caplog):
    info = load_dataset("GTA5")
    touch(tmp_path, "images/1.png", "images/2.png", "labels/2.jpg")
    jpeg = r"labels/2\.jpg is not read as a label.* save labels as PNG"
    touch(tmp_path, "labels/1.JPG")
    with pytest.raises(UserError, match=r"labels/1\.JPG is not read as a label.* labels as PNG"):
        find_or_make_datalist(info, tmp_path, "train")
    (tmp_path / "train.txt").unlink()
    touch(tmp_path, "labels/1.png")
    assert len(find_or_make_datalist(info, tmp_path, "train")) == 1
    assert re.search(f"1 without a label \\(images/2.png\\); .*{jpeg}", caplog.text)


def test_a_target_of_which_some_images_have_labels_is_listed_whole(tmp_path, caplog):
    info = load_dataset("GTA5")
    touch(tmp_path, "images/1.png", "images/2.png", "labels/2.png")
    for _ in range(2):  # made, and read again
        everything = find_or_make_datalist(info, tmp_path, "train", need_label=False)
        assert [bool(item.label) for item in everything] == [False, True]
        assert find_or_make_datalist(info, tmp_path, "train") == everything[1:]
        assert "1 train images; left out: 1 without a label (images/1.png)" in caplog.text
        caplog.clear()
    (tmp_path / "train.txt").write_text("images/1.png - superpixel/1.png\n")
    with pytest.raises(UserError, match="none of 1 GTA5 train images has a label; expected label"):
        find_or_make_datalist(info, tmp_path, "train")
    (tmp_path / "train.txt").unlink()
    (tmp_path / "val.txt").write_text("images/2.png -\n")  # a split that info.json does not know
    with pytest.raises(UserError, match=r"none of 1 GTA5 val images has a label \(listed .*; name"):
        find_or_make_datalist(info, tmp_path, "val", columns=2)


def test_a_split_inside_another_is_not_part_of_it(tmp_path):
    info = dataset("img/{split}{stem}.png", "lab/{split}{stem}.png", train="", val="val/")
    touch(tmp_path, "img/a.png", "lab/a.png", "img/val/b.png", "lab/val/b.png")
    assert [item.image for item in scan(info, tmp_path, "train").items] == ["img/a.png"]
    found = scan(info, tmp_path, "val")
    assert [item.image for item in found.items] == ["img/val/b.png"]
    assert not found.left_out


def test_folders_are_walked_in_order_through_links_that_do_not_lead_back(tmp_path):
    touch(tmp_path, "d/b/2.png", "d/a.png", "d/b/1.png", "elsewhere/3.png", "d/.hidden/4.png")
    (tmp_path / "d" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d" / "b" / "loop").symlink_to(tmp_path / "d")
    assert walk_files(tmp_path / "d") == ["a.png", "b/1.png", "b/2.png", "c/3.png"]
    assert walk_files(tmp_path / "d", skip=[tmp_path / "d" / "b"]) == ["a.png", "c/3.png"]


@pytest.mark.parametrize(
    "mark", ["inference.json", "warmup_settings.json", "train_ADA_settings.json"]
)
def test_pictures_of_runs_and_file_servers_are_no_images(tmp_path, mark):
    """Below the folder where the walk begins, which may be a run's own."""
    images = ["images/1.png", "images/a/2.png"]
    pictures = ["images/a/r/1.png", "images/a/r/deep/1_color.png"]
    touch(tmp_path, *images, *pictures, "images/@eaDir/1.png/t.jpg")
    (tmp_path / "images" / mark).touch()
    (tmp_path / "images" / "a" / "r" / mark).touch()
    info = dataset("images/{stem}.png", "labels/{stem}.png", train="")
    found = scan(info, tmp_path, "train")
    assert [item.image for item in found.items] == images
    assert re.search(
        r"2 in folders of (runs|predictions) \(images/a/r/1.png, \.\.\.\)", found.summary
    )
    assert "1 in folders of a file server (images/@eaDir/1.png/t.jpg)" in found.summary


NAMES = (
    "my photo 1.png",
    "Stra\u00dfe.png",
    "Screenshot 1.00\u202fPM.png",
    "a,b.png",
    "a, b, c.png",
    '"quoted".png',
    "#1.png",
    "-",
    " blank.png",
    "back\\slash.png",
    os.fsdecode(b"latin\xe9.png"),
)


def test_any_name_is_listed_and_read_back(tmp_path):
    """Blanks, commas, quotes, comment signs, names in no encoding: as the files are called."""
    for name in NAMES:
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name.removesuffix('.png')}.png").touch()
    made = find_or_make_datalist(load_dataset("GTA5"), tmp_path, "train")
    assert len(made) == len(NAMES)
    assert all(Path(path).is_file() for item in made for path in item[:2])
    assert read_datalist(tmp_path / "train.txt", tmp_path) == made
    flat = [Item(name, f"l{name}", f"s{name}") for name in NAMES]
    write_datalist(tmp_path / "flat.txt", flat)
    assert read_datalist(tmp_path / "flat.txt", "/data") == [item.below("/data") for item in flat]


@pytest.mark.parametrize("name", ["a\nb.png", "a\tb.png", "a\rb.png", "a\x1bb.png", "a\u2028b.png"])
def test_control_characters_in_names_are_refused_in_one_line(tmp_path, name):
    touch(tmp_path, f"images/{name}", f"labels/{name}")
    with pytest.raises(UserError, match=r"images/a\\.*control character") as error:
        scan(load_dataset("GTA5"), tmp_path, "train")
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError, match="control character"):
        write_datalist(tmp_path / "list.txt", [Item(name, "l", "s")])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfi/1.png l/1.png s/1.png\n",
        b"i/1.png l/1.png s/1.png\r\n\r\n",
        b"i/1.png l/1.png s/1.png   ",
        b"i/1.png,l/1.png,s/1.png\n",
        b"i/1.png, l/1.png, s/1.png\n",
        b'"i/1.png","l/1.png","s/1.png"\n',
        b'"i/1.png" "l/1.png" "s/1.png"\n',
        b"# image label superpixel\ni/1.png l/1.png s/1.png\n",
        b"Image,label_path,superpixels\ni/1.png,l/1.png,s/1.png\n",
        b"filename annotation superpixel_map\ni/1.png l/1.png s/1.png\n",
        b"\nimage\tlabel\tsuperpixel\ni/1.png\tl/1.png\ts/1.png\n",
        b"./i/1.png\t./l/1.png\t./s/1.png\t\n",
        "i/1.png l/1.png s/1.png\n".encode("utf-16"),
    ],
)
def test_lists_as_people_have_them(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_datalist(tmp_path / "list.txt", "/d") == [
        Item("/d/i/1.png", "/d/l/1.png", "/d/s/1.png")
    ]


def test_columns_that_nobody_reads_may_be_missing(tmp_path):
    touch(tmp_path, "my photo.png")
    (tmp_path / "list.txt").write_text("a.png\nmy photo.png\nb.png l.png\nc.png l2.png s.png\n")
    images = [item.image for item in read_datalist(tmp_path / "list.txt", tmp_path, columns=1)]
    assert images == [str(tmp_path / n) for n in ("a.png", "my photo.png", "b.png", "c.png")]
    with pytest.raises(UserError, match="line 1: 1 columns"):
        read_datalist(tmp_path / "list.txt", tmp_path, columns=2)
    (tmp_path / "list.txt").write_text("my a.png\tl.png\nb.png l.png\n")
    items = read_datalist(tmp_path / "list.txt", "/d", columns=2)
    assert items == [Item("/d/my a.png", "/d/l.png", ""), Item("/d/b.png", "/d/l.png", "")]


def test_images_without_a_label(tmp_path):
    touch(tmp_path, "images/1.png", "images/2.png", "labels/2.png")
    items = scan(load_dataset("GTA5"), tmp_path, "train").items
    assert items[0] == Item("images/1.png", "", "superpixel/1.png")
    write_datalist(tmp_path / "list.txt", items)
    assert (tmp_path / "list.txt").read_text().startswith("images/1.png - superpixel/1.png\n")
    again = read_datalist(tmp_path / "list.txt", tmp_path)
    assert again == [item.below(tmp_path) for item in items]
    assert again[0].label == ""


def test_a_missing_list_says_to_leave_the_flag_out(tmp_path):
    with pytest.raises(UserError, match=r"not shipped.*leave the flag out"):
        read_datalist("dataloader/init_data/SYNTHIA/train.txt", tmp_path)
    with pytest.raises(UserError, match=r"mine\.txt: no such datalist"):
        read_datalist("mine.txt", tmp_path)


def test_paths_that_join_alike_are_refused(tmp_path):
    """Selection files name an image by "image,label,superpixel"."""
    (tmp_path / "list.txt").write_text("/a\t/b\t/c,/d\n/a,/b\t/c\t/d\n")
    with pytest.raises(UserError, match="stands for two images"):
        read_datalist(tmp_path / "list.txt", tmp_path)


def test_a_split_or_folder_that_is_not_there(tmp_path):
    info = load_dataset("GTA5")
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match=r"no GTA5 train images.*; there is no .*/images, only a$"):
        find_or_make_datalist(info, tmp_path, "train")
    (tmp_path / "leftImg8bit" / "training").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no .*/leftImg8bit/train, only training"):
        find_or_make_datalist(load_dataset("cityscapes"), tmp_path, "train")
    with pytest.raises(UserError, match=r'no val split, only train; name .* "val"'):
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

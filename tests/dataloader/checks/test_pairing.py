"""Lists in which an image has the label of another one."""

import shutil
from dataclasses import replace

import pytest

from dataloader.checks.pairing import check_apart, check_columns, check_pairing
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from utils.errors import UserError

GTA5 = load_dataset("GTA5")


@pytest.fixture()
def look(tmp_path, caplog):
    """A function that checks a list of image -> label, of which those named a number are there."""

    def check(info=GTA5, **pairs: str) -> str:
        (tmp_path / "labels").mkdir(exist_ok=True)
        for name in "123":
            (tmp_path / "labels" / f"{name}.png").touch()
        items = [Item(f"images/{i[1:]}.jpg", f"labels/{k}.png", "") for i, k in pairs.items()]
        caplog.clear()
        check_pairing([item.below(tmp_path) for item in items], info, tmp_path)
        return caplog.text

    return check


@pytest.mark.parametrize(
    "pairs",
    [
        {"_1": "1", "_2": "2"},
        {"_a": "1", "_b": "2", "_3": "x"},  # names of the user's own
        {"_3": "3", "_4": "1"},  # whose own label is not there
    ],
)
def test_own_labels_and_free_names_pass_quietly(look, pairs):
    assert not look(**pairs)


def test_labels_of_other_images_are_warned_of(look):
    said = look(_1="1", _2="3", _3="2")
    assert "images/2.jpg: its list gives it the label " in said
    assert "labels/3.png, which by its name is that of" in said
    assert "images/3.jpg, though" in said
    assert "labels/2.png is there (2 of 3 images are such)" in said


def test_one_label_of_several_images(look):
    with pytest.raises(UserError, match=r"2\.jpg: .*labels/1\.png, .*1\.jpg, though .*several"):
        look(_1="1", _2="1", _3="1")
    said = look(_1_fog="1", _1_rain="1", _2_fog="2")  # no label is theirs by name
    assert "images/1_fog.jpg and " in said
    assert "(2 of 3 images share one)" in said


def test_an_image_is_not_its_own_label(tmp_path):
    with pytest.raises(UserError, match=r"1\.png: is its own label in its list; mend the second"):
        check_pairing([Item("images/1.png", "images/1.png", "").below(tmp_path)], GTA5, tmp_path)


def test_labels_by_the_templates_of_all_splits(tmp_path, caplog):
    city = load_dataset("cityscapes")
    stems = [f"{split}/{name}" for split in ("train/ulm", "val/bonn") for name in "ab"]
    items = [
        Item(f"leftImg8bit/{s}_leftImg8bit.png", f"gtFine/{s}_gtFine_labelIds.png", "")
        for s in stems
    ]
    items = [item.below(tmp_path) for item in items]
    check_pairing(items, city, tmp_path)
    assert not caplog.records
    labels = [item.label for item in items[1:] + items[:1]]
    check_pairing([i._replace(label=k) for i, k in zip(items, labels, strict=True)], city, tmp_path)
    assert "(4 of 4 images are such)" in caplog.text


def test_labels_of_images_that_are_not_listed(look, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("2.jpg", "3.png"):
        (tmp_path / "images" / name).touch()
    assert "images/1.jpg: its list gives it the label " in (said := look(_1="2"))
    assert "images/2.jpg, though" in said
    assert not look(_1="3")  # an image of another suffix
    assert "(2 of 2 images are such)" in look(_1="2", _3="2")  # warned of, not refused


def test_domains_that_share_images_or_labels_are_told_of(caplog):
    sets = {"src": "12", "trg": "345", "val": "67"}
    items = {k: [Item(n, f"{n}.png" * (k != "trg"), "") for n in v] for k, v in sets.items()}
    check_apart(items)
    assert not caplog.records
    check_apart({**items, "src": items["trg"]})
    said = "3 of 3 images of --trg_data_dir are among those of --src_data_dir, first 3: there"
    assert [said in record.message for record in caplog.records] == [True]
    check_apart({**items, "val": [Item("5", "", "")]})
    assert "1 of 1 images of --val_data_dir are among those of --trg_data_dir, first 5: mIoU" in (
        caplog.text
    )
    caplog.clear()
    check_apart({**items, "val": [Item("8", "2.png", "")]})
    said = "8 of --val_data_dir and 2 of --src_data_dir have one label, 2.png (1 images share one)"
    assert [said in record.message for record in caplog.records] == [True]
    assert "right only for copies of the same picture" in caplog.text  # as foggy ones


@pytest.mark.parametrize("link", ["folder", "symlink", "hard link", "copy"])
def test_links_to_images_of_another_domain_are_told_of(tmp_path, caplog, link):
    (tmp_path / "train").mkdir()
    for name in "123":
        (tmp_path / "train" / name).write_text(name)
    if link == "folder":
        (tmp_path / "val").symlink_to("train")
    else:
        (tmp_path / "val").mkdir()
        for name in "123":
            path, image = tmp_path / "val" / f"0{name}", tmp_path / "train" / name
            make = {"symlink": path.symlink_to, "hard link": path.hardlink_to}
            make.get(link, lambda image, path=path: shutil.copy(image, path))(image)
    images = {split: sorted((tmp_path / split).iterdir()) for split in ("train", "val")}
    items = {split: [Item(str(path), "", "") for path in paths] for split, paths in images.items()}
    check_apart({"src": items["train"][:1], "trg": items["train"][1:]})
    assert not caplog.records
    check_apart({"trg": items["train"][1:], "val": items["val"]})
    said = "2 of 3 images of --val_data_dir are among those of --trg_data_dir, first "
    copied = f", a copy of {images['train'][1]}" if link == "copy" else ""
    assert f"{said}{images['val'][1]}{copied}: mIoU" in caplog.text


def test_only_files_of_the_same_bytes_are_copies(tmp_path, caplog):
    """Pictures without compression, which have one size; most are alike but for some pixels."""
    images = {"src": [], "val": []}
    for number in range(8):
        for prefix, paths in images.items():
            content = bytearray(20_000)
            content[17] = number
            content[6000] = prefix == "val" and number != 3
            paths.append(tmp_path / f"{prefix}{number}.bmp")
            paths[-1].write_bytes(content)
    check_apart({prefix: [Item(str(p), "", "") for p in paths] for prefix, paths in images.items()})
    said = "1 of 8 images of --val_data_dir are among those of --src_data_dir, first "
    assert f"{said}{tmp_path}/val3.bmp, a copy of {tmp_path}/src3.bmp: mIoU" in caplog.text


@pytest.mark.parametrize("order", ["label image superpixel", "image superpixel label"])
def test_columns_in_another_order_are_refused(tmp_path, order):
    own = [Item(f"images/{i}.jpg", f"labels/{i}.png", f"superpixel/{i}.png") for i in range(3)]
    other = [Item(*(getattr(item, column) for column in order.split())) for item in own]
    free = [Item(f"photos/{i}.jpg", item.label, item.superpixel) for i, item in enumerate(own)]
    for items in (own, free, [*own, *other], [item._replace(image=item.label) for item in own]):
        check_columns("x.txt", [item.below(tmp_path) for item in items], GTA5, tmp_path)
    with pytest.raises(UserError, match=rf"x\.txt: .* are {order.replace(' ', ', ')}; expected im"):
        check_columns("x.txt", [item.below(tmp_path) for item in other], GTA5, tmp_path)


def test_columns_whose_names_differ_by_a_letter_are_told_apart(tmp_path):
    info = replace(GTA5, image="{stem}.jpeg", label="{stem}L.png", superpixel="{stem}S.png")
    items = [Item(f"{i}.jpeg", f"{i}L.png", f"{i}S.png").below(tmp_path) for i in range(3)]
    check_columns("x.txt", items, info, tmp_path)
    with pytest.raises(UserError, match="its columns are image, superpixel, label; expected"):
        check_columns("x.txt", [Item(i, s, label) for i, label, s in items], info, tmp_path)

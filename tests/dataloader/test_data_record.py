"""A continuation notices data that are not those that its run began with."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dataloader.data_record import READ, check_data, describe_data
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from utils.errors import UserError

IMAGES = 3 * READ
COLUMNS = ("image", "label", "superpixel")
INFO = load_dataset("cityscapes")


def items_of(root: Path, images: int = IMAGES) -> list[Item]:
    return [Item(*(f"{root}/{column}/{n}.png" for column in COLUMNS)) for n in range(images)]


@pytest.fixture()
def root(tmp_path) -> Path:
    root = tmp_path / "data"
    for column in COLUMNS:
        (root / column).mkdir(parents=True)
    for item in items_of(root):
        for path in item:
            Path(path).write_bytes(path.encode()[-30:].rjust(30))
    return root


def record(root: Path, images: int = IMAGES, info=INFO) -> dict:
    found = describe_data(items_of(root, images), str(root), info, *COLUMNS)
    return json.loads(json.dumps(found))


def check(root: Path, before, images: int = IMAGES, accept: bool = False) -> None:
    check_data("trg", items_of(root, images), record(root, images), before, accept)


def overwrite(path: str | Path, content: bytes) -> None:
    """Other content; the time of modification stays."""
    time = Path(path).stat().st_mtime_ns
    Path(path).write_bytes(content)
    os.utime(path, ns=(time, time))


def test_the_same_data_pass_in_silence(root, caplog):
    check(root, record(root))
    assert not caplog.records


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("index", [0, 37, IMAGES - 1])
def test_a_file_of_another_size_is_named(root, column, index):
    before, item = record(root), items_of(root)[index]
    overwrite(item[column], b"shorter")
    with pytest.raises(UserError, match=rf"--trg_data_dir .*is {item.image}; put back"):
        check(root, before)


@pytest.mark.parametrize(("column", "index"), [(0, 0), (1, 0), (2, 0), (2, 37), (0, 36)])
def test_content_of_all_maps_and_of_some_images_counts(root, column, index):
    before, item = record(root), items_of(root)[index]
    overwrite(item[column], b"x" * 30)
    with pytest.raises(UserError, match=f"is {item.image}; put back"):
        check(root, before)


@pytest.mark.parametrize("index", [0, 37])
def test_content_of_every_ignore_mask_counts(root, index):
    items = items_of(root)
    masks = {item.image: str(root / "label" / f"{n}.png") for n, item in enumerate(items)}
    before = describe_data(items, str(root), INFO, "image", masks=masks)
    overwrite(masks[items[index].image], b"x" * 30)
    now = describe_data(items, str(root), INFO, "image", masks=masks)
    with pytest.raises(UserError, match=f"or ignore mask, is {items[index].image}; put back"):
        check_data("trg", items, now, before)


def test_fewer_and_more_images(root):
    before = record(root)
    for images, others in ((IMAGES - 1, before), (IMAGES, record(root, IMAGES - 1))):
        with pytest.raises(UserError, match=rf"{images} images in --trg_data_dir, but \d+ when"):
            check(root, others, images)


def test_another_order_of_the_list(root):
    before = record(root)
    items = items_of(root)
    items[5], items[6] = items[6], items[5]
    now = describe_data(items, str(root), INFO, *COLUMNS)
    with pytest.raises(UserError, match="are not those"):
        check_data("trg", items, now, before)


def test_data_that_moved_as_a_whole_are_the_same(root, tmp_path, caplog):
    before = record(root)
    shutil.copytree(root, tmp_path / "copy")  # with its times
    check(tmp_path / "copy", before)
    assert not caplog.records


def test_files_outside_the_root_count_by_folder_and_name(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    records = [
        describe_data(items_of(folder), str(tmp_path / "list"), INFO, *COLUMNS)
        for folder in (root, tmp_path / "copy")
    ]
    assert records[0] == records[1]


def test_other_times_alone_are_warned_of(root, caplog):
    before, item = record(root), items_of(root)[4]
    os.utime(item.label, (1, 1))
    check(root, before)
    assert item.image in caplog.text
    assert "other times of modification" in caplog.text


def test_another_label_table(root):
    other = replace(INFO, label_to_train=INFO.label_to_train | {7: 3})
    with pytest.raises(UserError, match=r"classes of --trg_dataset .*info\.json"):
        check(root, record(root, info=other))


@pytest.mark.parametrize("key", ["missing_classes", "star_classes_without"])
def test_other_classes_that_means_leave_out(root, key):
    before = record(root, info=replace(INFO, **{key: [9]}))
    with pytest.raises(UserError, match=r"missing_classes or .* of --trg_dataset .*accept_changed"):
        check(root, before)
    check(root, before, accept=True)
    del before["left_out"]  # of an older version
    check(root, before)


@pytest.mark.parametrize("column", range(3))
def test_what_was_mended_may_be_accepted_but_never_other_regions(root, caplog, column):
    before, item = record(root), items_of(root)[37]
    overwrite(item[column], b"mended")
    with pytest.raises(UserError) as refused:
        check(root, before)
    assert ("--accept_changed_data" in str(refused.value)) == (column < 2)
    if column == 2:
        with pytest.raises(UserError, match="put back"):
            check(root, before, accept=True)
    else:
        check(root, before, accept=True)
        assert f"{item.image}; the run goes on with them" in caplog.text


def test_more_label_ids_may_be_accepted_but_never_another_list(root, caplog):
    before = record(root, info=replace(INFO, label_to_train=INFO.label_to_train | {7: 3}))
    check(root, before, accept=True)
    assert "info.json was altered); the run goes on" in caplog.text
    with pytest.raises(UserError, match="images in --trg_data_dir, but"):
        check(root, record(root, IMAGES - 1), accept=True)


@pytest.mark.parametrize("value", [None, 3, [], {}, "x", {"data": 5, "classes": None}])
def test_a_damaged_record_is_refused(root, value):
    with pytest.raises(UserError, match="--resume"):
        check(root, value)
    whole = record(root)
    for key in whole:
        for damage in (None, 7, [1], "", {"a": 1}):
            if key == "each_data":
                overwrite(items_of(root)[0].image, b"")
            if key in ("regions", "labels", "maps", "times", "each_times"):
                check(root, record(root) | {key: damage})
            else:
                with pytest.raises(UserError, match="--resume"):
                    check(root, whole | {key: damage})

"""Labels that cannot be right are refused or warned of, and right ones are not."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from dataloader.checks.labels import check_labels, label_value_counts, value_counts
from dataloader.checks.palettes import check_prediction_palettes
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from dataloader.provenance import make_note
from utils.errors import UserError
from utils.files import write_png

RNG = np.random.default_rng(0)
CITYSCAPES, SYNTHIA, CAMVID = map(load_dataset, ("cityscapes", "SYNTHIA", "camvid"))
SHARES = [33, 5, 20, 1, 1, 1, 1, 1, 14, 1, 3, 2, 1, 6, 1, 1, 1, 1, 1, 5]  # of train ids, and void


BINARY = replace(
    CAMVID,
    label_to_train={0: 0, 1: 1},
    ignored_ids=frozenset(),
    class_names=["a", "b"],
    palette=CAMVID.palette[:2],
)


def train_ids(count):
    """``count`` maps (80, 120) of train ids and 255, classes about as frequent as in Cityscapes.

    They are made of blocks, as labels have few single pixels.
    """
    values = np.array([*range(19), 255], np.uint8)
    maps = RNG.choice(values, (count, 40, 60), p=np.array(SHARES) / sum(SHARES))
    return list(maps.repeat(2, 1).repeat(2, 2))


def label_ids(maps, info, void):
    """The maps in a dataset's label ids."""
    table = np.full(256, void, np.uint8)
    for label_id, train_id in info.label_to_train.items():
        table[train_id] = label_id
    return [table[values] for values in maps]


def saved(folder, maps):
    items = [Item("", str(folder / f"{i}.png"), "") for i in range(len(maps))]
    for item, values in zip(items, maps, strict=True):
        Image.fromarray(values).save(item.label)
    return items


def saved16(folder, maps, channel):
    items = [Item("", str(folder / f"{i}.png"), "") for i in range(len(maps))]
    for item, ids in zip(items, maps, strict=True):
        instances = RNG.integers(500, 1000, ids.shape)
        pixels = np.zeros((*ids.shape, 3), np.uint16)
        pixels[..., 1], pixels[..., 2 - channel] = instances, ids  # blue, green, red
        cv2.imwrite(item.label, pixels)
    return items


def test_right_labels_are_passed_without_a_word(tmp_path, caplog):
    maps = train_ids(8)
    check_labels(saved(tmp_path, label_ids(maps, CITYSCAPES, 3)), CITYSCAPES, "--x")
    check_labels(saved(tmp_path, label_ids(maps, CAMVID, 11)), CAMVID, "--x")
    check_labels(saved16(tmp_path, label_ids(maps, SYNTHIA, 0), 0), SYNTHIA, "--x")
    void = [np.full((40, 60), 1, np.uint8)]  # the own car fills one of three
    check_labels(saved(tmp_path, void + label_ids(maps[:2], CITYSCAPES, 3)), CITYSCAPES, "--x")
    check_labels(saved(tmp_path, [np.full((40, 60), 7, np.uint8)]), CITYSCAPES, "--x")
    check_labels([], CITYSCAPES, "--x")
    assert not caplog.records


def test_values_are_counted_by_what_the_dataset_makes_of_them(tmp_path):
    values = np.array([[7, 7, 26], [98, 98, 99], [255, 255, 3]], np.uint8)
    (item,) = saved(tmp_path, [values])
    found = label_value_counts(value_counts(item.label, CITYSCAPES), CITYSCAPES)
    assert (found.counted, found.unknown, found.frequent_unknown) == (3, 3, [98, 99])
    assert found.ignored == 3
    assert found.classes == [0, 13]


def test_labels_without_any_class_are_refused(tmp_path):
    items = saved(tmp_path, [np.full((4, 6), value, np.uint8) for value in (99, 99, 200)])
    with pytest.raises(UserError) as error:
        check_labels(items, CITYSCAPES, "--src_dataset cityscapes")
    line = str(error.value)
    assert "0.png: no pixel has a class of cityscapes, in this label and 2 others" in line
    assert "99, 200" in line
    assert "check --src_dataset cityscapes" in line


@pytest.mark.parametrize("channel, name", [(2, "blue channel, not the red; red and"), (1, "green")])
def test_ids_in_another_channel_are_found(tmp_path, channel, name):
    maps = label_ids(train_ids(4), SYNTHIA, 0)
    items = saved16(tmp_path, maps, channel)
    if channel == 1:  # the ids instead of the instances
        for item, ids in zip(items, maps, strict=True):
            cv2.imwrite(item.label, np.dstack([0 * ids, ids, 0 * ids]).astype(np.uint16))
    with pytest.raises(UserError, match=rf"no pixel has a class of SYNTHIA.* are in the {name}"):
        check_labels(items, SYNTHIA, "--src_dataset")


def test_single_labels_whose_ids_are_in_another_channel_are_told_of(tmp_path, caplog):
    maps = label_ids(train_ids(6), SYNTHIA, 0)
    items = saved16(tmp_path, maps, 0)
    void = np.zeros((80, 120, 3), np.uint16)
    cv2.imwrite(items[1].label, void)
    check_labels(items, SYNTHIA, "--src_dataset")
    assert not caplog.records
    cv2.imwrite(items[4].label, np.dstack([maps[4], void[..., :2]]).astype(np.uint16))  # BGR
    check_labels(items, SYNTHIA, "--src_dataset")
    assert "4.png: the class ids are in the blue channel" in caplog.text
    assert "1 of 6 labels looked at are such" in caplog.text


@pytest.mark.parametrize("void", [True, False])
@pytest.mark.parametrize("info", [CITYSCAPES, SYNTHIA], ids=lambda info: info.name)
def test_train_ids_instead_of_label_ids_are_warned_of(tmp_path, caplog, info, void):
    maps = train_ids(4)
    if not void:
        maps = [np.where(values == 255, 0, values) for values in maps]
    save = saved if info is CITYSCAPES else (lambda folder, maps: saved16(folder, maps, 0))
    if info is SYNTHIA and not void:
        return  # all but the road is of some class: nothing tells
    check_labels(save(tmp_path, maps), info, "--trg_dataset")
    (record,) = caplog.records
    assert "look like train ids" in record.getMessage()
    assert "check --trg_dataset" in record.getMessage()


def test_many_unknown_values_and_one_class_alone_are_warned_of(tmp_path, caplog):
    """A mask of 0 and 255 for CamVid, whose 0 is the sky."""
    half = RNG.choice(np.array([3, 4, 77, 78, 79], np.uint8), (40, 60))
    check_labels(saved(tmp_path, [half]), CAMVID, "--x")
    assert "% of the pixels have values that camvid does not know (" in caplog.text
    caplog.clear()
    mask = RNG.choice(np.array([0, 0, 255], np.uint8), (40, 60))
    check_labels(saved(tmp_path, [mask]), CAMVID, "--x")
    assert "does not know (255)" in caplog.text


@pytest.mark.parametrize("border", [0, 3])
def test_sparse_labels_and_an_unlisted_255_are_passed_without_a_word(tmp_path, caplog, border):
    """Scribbles, on pixels that are ignored elsewhere; most of it, or a border, is 255."""
    maps = train_ids(3)
    dense = label_ids(maps, CAMVID, 11)
    three = replace(CAMVID, label_to_train={1: 0, 2: 1, 3: 2}, ignored_ids=frozenset({0}))
    three = replace(three, class_names=[*"abc"])
    few = [np.minimum(m, 1) + 1 for m in maps]  # the third class does not occur
    for info, right, void in ((CAMVID, dense, 11), (three, few, 0), (CAMVID, dense, 255)):
        sparse = [np.full_like(m, void) for m in right]
        for values, m in zip(sparse, right, strict=True):
            values[::3, :90] = m[::3, :90]
            values[:border] = 255
        check_labels(saved(tmp_path, sparse), info, "--x")
    road = np.full((40, 60), 3, np.uint8)
    road[:border] = 255
    check_labels(saved(tmp_path, [road]), CAMVID, "--x")
    assert not caplog.records


@pytest.mark.parametrize("shift, name", [(1, "high"), (-1, "low")])
def test_values_one_off_are_warned_of(tmp_path, caplog, shift, name):
    """As where ids start at 1 and the table at 0; values to ignore that it lists are no such."""
    first = 0 if shift > 0 else 5
    table = {first + i: i for i in range(3)}
    info = replace(CAMVID, label_to_train=table, ignored_ids=frozenset(), class_names=list("abc"))
    maps = [np.array([[i, i, 255] for i in table], np.uint8)]
    check_labels(saved(tmp_path, maps), info, "--x")
    assert not caplog.records
    maps = [np.array([[i + shift, i + shift, 255] for i in table], np.uint8)]
    check_labels(saved(tmp_path, maps), info, "--x")
    assert f"each seems to be one too {name} for label_to_train" in caplog.text
    caplog.clear()
    ignored = frozenset({max(table) + 1, min(table) - 1, 255})
    check_labels(saved(tmp_path, maps), replace(info, ignored_ids=ignored), "--x")
    assert not caplog.records


def test_a_spread_of_the_labels_is_read(tmp_path):
    maps = [np.full((4, 6), 99, np.uint8)] * 20
    maps[-1] = np.full((4, 6), 7, np.uint8)
    items = saved(tmp_path, maps)
    (tmp_path / "1.png").unlink()  # not looked at
    check_labels(items, CITYSCAPES, "--x", count=4)
    with pytest.raises(UserError, match="3 others"):
        check_labels(items[:-1], CITYSCAPES, "--x", count=4)


GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]


def in_palette(maps, colors):
    """Images of the maps with a palette."""
    images = [Image.fromarray(values) for values in maps]
    for image in images:
        image.putpalette(np.array(colors, np.uint8).tobytes())
    return images


def renumbered(maps, colors):
    """The maps in colours, as programs write them that number colours anew."""
    return [Image.fromarray(colors[values]).quantize() for values in maps]


def save_images(folder, images):
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    return [Item("", str(folder / f"{number}.png"), "") for number in range(len(images))]


@pytest.mark.parametrize(
    "colors, meaning", [(CITYSCAPES.color_table, "[a-z]+( [a-z]+)?"), (GREYS, r"number \d+")]
)
def test_renumbered_palettes_are_refused(tmp_path, colors, meaning):
    maps = train_ids(3)
    line = rf"0\.png: number \d+ of its palette has the colour of {meaning} \(2 other files are"
    items = save_images(tmp_path, renumbered(maps, colors))
    with pytest.raises(UserError, match=line):
        check_prediction_palettes([item.label for item in items], CITYSCAPES)
    by_id = colors if colors is GREYS else CITYSCAPES.color_table[CITYSCAPES.label_table]
    items = save_images(tmp_path, renumbered(label_ids(maps, CITYSCAPES, 3), by_id))
    with pytest.raises(UserError, match=line):
        check_labels(items, CITYSCAPES, "--x")


def test_palettes_that_contradict_nothing_are_passed_without_a_word(tmp_path, caplog):
    """The dataset's own; grey ones to look at; those of other datasets; one class alone."""
    maps, classes = train_ids(3), CITYSCAPES.num_classes
    few = [np.minimum(values, 1) for values in maps]
    ramps = [GREYS, GREYS[np.linspace(0, 255, classes).astype(int)], GREYS[::-1], GREYS[[0, 255]]]
    others = [RNG.integers(1, 255, (classes, 3)), VOC * 4]
    for colors in [CITYSCAPES.color_table, *ramps, *others]:
        for values in (few, maps) if len(colors) > 2 else (few,):
            items = save_images(tmp_path, in_palette(values, colors))
            assert check_prediction_palettes([item.label for item in items], CITYSCAPES)
    items = save_images(tmp_path, in_palette([np.zeros((4, 6), np.uint8)], [[70, 70, 70]]))
    assert check_prediction_palettes([items[0].label], CITYSCAPES)
    by_id = CITYSCAPES.color_table[CITYSCAPES.label_table]
    by_id[18] = by_id[17]  # groups of poles look like poles
    ids = label_ids(maps, CITYSCAPES, 18)
    assert check_labels(save_images(tmp_path, in_palette(ids, by_id)), CITYSCAPES, "--x")
    items = save_images(tmp_path, in_palette(few, GREYS[[0, 255]]))  # masks, black and white
    assert check_labels(items, replace(BINARY, ignored_ids=frozenset({255})), "--x")
    assert not caplog.records


def test_a_palette_with_more_colours_is_warned_of(tmp_path, caplog):
    """That of VOC, where the classes have its colours, but the background none."""
    info = replace(CAMVID, class_names=["a", "b", "c"], palette=[list(c) for c in VOC[1:4]])
    maps = [np.minimum(values, 2) for values in train_ids(2)]
    items = save_images(tmp_path, in_palette(maps, VOC))
    assert not check_prediction_palettes([item.label for item in items], info)
    assert "has the colour of a, perhaps by chance (1 other files are alike)" in caplog.text


def written(folder, maps):
    """Items of label files that OpenCV writes, of 8 or 16 bits."""
    items = [Item("", str(folder / f"{i}.png"), "") for i in range(len(maps))]
    for item, values in zip(items, maps, strict=True):
        cv2.imwrite(item.label, values)
    return items


@pytest.mark.parametrize("factor", [1000, 256])
def test_instance_numbers_beside_label_ids_are_told_of(tmp_path, caplog, factor):
    maps = [values.astype(np.uint16) for values in label_ids(train_ids(2), CITYSCAPES, 3)]
    maps = [np.where(m > 23, factor * m + RNG.integers(0, 9, m.shape), m) for m in maps]
    check_labels(written(tmp_path, [m.astype(np.uint16) for m in maps]), CITYSCAPES, "--x")
    assert f"seem to be {factor} x label id 24 + an instance's number" in caplog.text
    caplog.clear()
    same = replace(CITYSCAPES, label_to_train={i: i for i in range(19)}, ignored_ids=frozenset())
    every = [(factor * np.minimum(m, 18).astype(np.uint16) + 3) for m in train_ids(2)]
    check_labels(written(tmp_path, every), same, "--x")
    assert f"seem to be {factor} x label id 1 + an instance's number" in caplog.text
    caplog.clear()
    maps = [np.where(m > 255, 65535, m).astype(np.uint16) for m in maps]  # ignored, in 16 bits
    check_labels(written(tmp_path, maps), CITYSCAPES, "--x")
    assert not caplog.records


def test_a_value_of_no_class_beside_a_class_of_no_value_is_told_of(tmp_path, caplog):
    table = {i: train for i, train in CITYSCAPES.label_to_train.items() if train != 13}
    items = written(tmp_path, label_ids(train_ids(4), CITYSCAPES, 3))
    check_labels(items, replace(CITYSCAPES, label_to_train=table), "--x")
    assert "value 26 is no label id of label_to_train in info.json, and none is class car" in (
        caplog.text
    )
    caplog.clear()
    known = replace(CITYSCAPES, label_to_train=table, ignored_ids=CITYSCAPES.ignored_ids | {26})
    check_labels(items, known, "--x")
    assert not caplog.records


def test_single_labels_of_another_encoding_are_told_of(tmp_path, caplog):
    maps = label_ids(train_ids(8), CITYSCAPES, 3)
    items = written(tmp_path, [*maps[:6], 7 * maps[6], 7 * maps[7]])
    check_labels(items, CITYSCAPES, "--x")
    assert "6.png: most of its pixels have values that cityscapes does not know" in caplog.text
    assert "2 of 8 labels looked at are such" in caplog.text
    caplog.clear()
    void = np.full((40, 60), 255, np.uint8)  # in no table
    table = {7: 0, 8: 1}  # all other values are ignored, and nobody lists them
    few = replace(CITYSCAPES, label_to_train=table, class_names=["road", "pavement"])
    check_labels(written(tmp_path, [*(np.minimum(m, 9) for m in maps), void]), few, "--x")
    assert not [r for r in caplog.records if "other labels do not have" in r.message]


IDENTITY = replace(CITYSCAPES, name="own", label_to_train={i: i for i in range(19)})


@pytest.mark.parametrize(
    ("info", "void", "other"),
    [(CITYSCAPES, 3, None), (CAMVID, 11, None), (IDENTITY, 255, CITYSCAPES)],
    ids=["Cityscapes", "CamVid", "train ids"],
)
def test_train_ids_among_label_ids_are_told_of(tmp_path, caplog, info, void, other):
    """And label ids among train ids, where the dataset is described by these."""
    maps = train_ids(8)
    right = label_ids(maps, info, void)
    present = np.isin(maps[2], [*info.label_to_train.values()])
    wrong = label_ids(maps, other, 3)[2] if other else np.where(present, maps[2], 0)
    check_labels(saved(tmp_path, right), info, "--x")
    assert not caplog.records
    check_labels(saved(tmp_path, [*right[:2], wrong.astype(np.uint8), *right[3:]]), info, "--x")
    name = "label ids of Cityscapes" if other else "train ids"
    assert f"2.png: seems to hold {name}, unlike other labels; read as" in caplog.text
    assert "(1 of 8 labels looked at are such)" in caplog.text


def test_masks_of_0_and_1_among_those_of_0_and_255_are_told_of(tmp_path, caplog):
    info = replace(
        CAMVID, label_to_train={0: 0, 255: 1}, ignored_ids=frozenset(), class_names=["a", "b"]
    )
    masks = [255 * (m % 2) for m in SCENE]
    check_labels(saved(tmp_path, [*masks, 0 * masks[0]]), info, "--x")
    assert not caplog.records
    check_labels(saved(tmp_path, [*masks, masks[0] // 255]), info, "--x")
    assert "3.png: seems to hold train ids" in caplog.text


def scene(*shares):
    """A map of values 0, 1, ... with these shares."""
    return RNG.choice(len(shares), (40, 60), p=shares).astype(np.uint8)


def test_labels_of_unusual_scenes_and_void_pass_quietly(tmp_path, caplog):
    """By few classes, many or unlisted ignored pixels, or classes that vary from scene to scene."""
    three = replace(
        CAMVID, label_to_train={1: 0, 2: 1, 3: 2}, ignored_ids=frozenset(), class_names=[*"abc"]
    )
    maps = [np.minimum(m, 2) + 1 for m in train_ids(4)]
    rare = np.where(np.indices(maps[0].shape)[1] > 20, 0, np.minimum(maps[0], 2))  # mostly void
    check_labels(saved(tmp_path, [*maps, rare.astype(np.uint8)]), three, "--x")
    unsure = replace(three, label_to_train={0: 0, 2: 1}, class_names=["a", "b"])
    check_labels(saved(tmp_path, [m % 3 for m in maps] + [maps[0] % 2]), unsure, "--x")
    five = replace(CAMVID, label_to_train={i: i - 1 for i in range(1, 6)}, class_names=[*"abcde"])
    streets = [scene(0.02, 0.03, 0.75, 0.1, 0.06, 0.04) for _ in range(5)]
    parks = [scene(0.05, 0.8, 0.07, 0.05, 0.03, 0)], [scene(0, 0.85, 0.07, 0.05, 0.03, 0)] * 2
    for park in parks:
        check_labels(saved(tmp_path, [*streets, *park]), five, "--x")
    maps = train_ids(4)
    maps[1][:20] = 29  # of no class of Cityscapes, either
    check_labels(saved(tmp_path, maps), replace(IDENTITY, ignored_ids=frozenset()), "--x")
    for info in (SYNTHIA, CAMVID, CITYSCAPES):
        save = saved16 if info is SYNTHIA else saved
        more = [0] if info is SYNTHIA else []
        alpha = 5 * np.array(SHARES) / sum(SHARES)
        for _ in range(20):
            scenes = [RNG.choice(20, (8, 12), p=RNG.dirichlet(alpha)) for _ in range(8)]
            ids = [np.array([*range(19), 255], np.uint8)[s] for s in scenes]
            ids = [m.repeat(5, 0).repeat(5, 1) for m in ids]
            void = {"camvid": 11, "SYNTHIA": 0, "cityscapes": 3}[info.name]
            check_labels(save(tmp_path, label_ids(ids, info, void), *more), info, "--x")
    assert not [r for r in caplog.records if "seems to hold" in r.getMessage()]


SCENE = [m[:16:2, :24:2].repeat(7, 0).repeat(7, 1) for m in train_ids(3)]


def once_jpeg(maps):
    """The maps after JPEG's compression."""
    files = [cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, 75])[1] for values in maps]
    return [cv2.imdecode(file, cv2.IMREAD_UNCHANGED) for file in files]


@pytest.mark.parametrize("how", ["half", "turned", "jpeg"])
def test_values_that_were_mixed_at_borders_are_told_of(tmp_path, caplog, how):
    """Labels that were treated as photos, and then saved as PNG."""
    maps = label_ids(SCENE, CITYSCAPES, 3)
    check_labels(saved(tmp_path, maps), CITYSCAPES, "--x")
    lines = [np.where(np.add(*np.indices(m.shape)) % 7 > 0, m, 60) for m in maps]  # around objects
    check_labels(saved(tmp_path, [m.astype(np.uint8) for m in lines]), CITYSCAPES, "--x")
    thin = [np.where(np.indices(m.shape).sum(0) % 3 > 0, 12, np.where(m > 7, 11, 13)) for m in maps]
    check_labels(saved(tmp_path, [m.astype(np.uint8) for m in thin]), CITYSCAPES, "--x")
    assert not caplog.records
    size = {"half": (44, 31), "turned": (56, 84), "jpeg": (84, 56)}[how]
    mixed = [np.asarray(Image.fromarray(m).resize(size, Image.BILINEAR)) for m in maps]
    mixed = once_jpeg(maps) if how == "jpeg" else mixed
    check_labels(saved(tmp_path, mixed), CITYSCAPES, "--x")
    assert "at many borders lies a value between those of both sides" in caplog.text


@pytest.mark.parametrize("jpeg", [False, True])
def test_masks_of_0_and_255_that_were_jpeg_are_told_of(tmp_path, caplog, jpeg):
    info = replace(CAMVID, label_to_train={0: 0, 255: 1}, class_names=["a", "b"])
    masks = [255 * (m % 2) for m in SCENE]
    check_labels(saved(tmp_path, once_jpeg(masks) if jpeg else masks), info, "--x")
    assert ("of both sides, or of no class" in caplog.text) == jpeg


def test_one_class_alone_and_labels_without_any_are_told_of(tmp_path, caplog):
    road, void = (np.full((4, 6), value, np.uint8) for value in (7, 3))
    check_labels(saved(tmp_path, [road, road]), CITYSCAPES, "--x")
    assert "0.png and 1 other labels: road is the only class that occurs" in caplog.text
    maps = label_ids(train_ids(2), CITYSCAPES, 3)
    caplog.clear()
    check_labels(saved(tmp_path, [*maps, void, void]), CITYSCAPES, "--x")
    assert not caplog.records
    check_labels(saved(tmp_path, [*maps, void, void, void]), CITYSCAPES, "--x")
    assert "2.png: every pixel is ignored, and so it is in 3 of 5 labels" in caplog.text


def test_superpixel_maps_are_no_labels(tmp_path):
    path = tmp_path / "0.png"
    note = make_note("SLIC by scikit-image, num_segments=40, compactness=10", np.zeros((4, 6, 3)))
    write_png(path, np.full((4, 6), 7, np.uint8), note=note)
    with pytest.raises(UserError, match=r"0\.png: is a superpixel or edge map, not a label; mend"):
        check_labels([Item("", str(path), "")], CITYSCAPES, "--x")

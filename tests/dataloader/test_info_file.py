"""Descriptions of datasets: wrong ones end in one line that names file and key; right ones load."""

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataloader.dataset_info import load_dataset
from dataloader.path_templates import parse
from dataloader.scan import item_of, scan
from utils.errors import UserError

VALID = {
    "image": "images/{split}/{stem}.jpg",
    "label": "labels/{split}/{stem}.png",
    "superpixel": "superpixel/{split}/{stem}.png",
    "splits": {"train": "train", "val": "test"},
    "label_to_train": {"7": 0, "8": 1, "11": 2, "0": 255},
    "label_reader": "index",
    "class_names": ["road", "sidewalk", "building"],
    "palette": [[128, 64, 128], [244, 35, 232], [70, 70, 70]],
}
COLORS = {"7": [1, 0, 0], "8": [2, 0, 0], "11": [3, 0, 0], "0": [0, 0, 0]}
ABSENT = object()

# What is changed in VALID, and what the error line says of it.
WRONG = [
    # keys
    ({"label": ABSENT, "lable": "x"}, r'"lable" is no key .*; did you mean "label"\?'),
    ({"Palette": []}, r'did you mean "palette"\?'),
    ({"zzz": 1}, r'"zzz" is no key .*docs/datasets\.md'),
    ({"name": "camvid"}, r'"name" is no key'),
    ({"path": "x"}, r'"path" is no key'),
    ({"ignored_ids": [1]}, r'"ignored_ids" is no key'),
    ({"image": ABSENT}, '"image" is missing; expected the images\' path'),
    ({"class_names": ABSENT}, '"class_names" is missing; expected a list of 2 to 255'),
    # templates
    ({"image": 5}, "image is 5; expected the images' path"),
    ({"label": None}, "label is null; expected the labels' path"),
    ({"label": ""}, 'label is ""; expected'),
    ({"image": "images/{splt}/{stem}.png"}, r"image is .*: \{splt\} is no placeholder"),
    ({"image": "images/{split}/x.png"}, r"image is .*; expected \{stem\} in it once"),
    ({"label": "{split}/{stem}/{stem}.png"}, r"label is .*; expected \{stem\} in it once"),
    ({"label": "labels/{stem.png"}, "label is .*'}'"),
    ({"label": "labels/stem}.png"}, "label is .*'}'"),
    ({"image": "{0}/{split}/{stem}.png"}, r"\{0\} is no placeholder"),
    ({"image": "{}/{split}/{stem}.png"}, r"\{\} is no placeholder"),
    ({"image": "{split}/{stem.__class__}.png"}, r"\{stem\.__class__\} is no placeholder"),
    ({"image": "{split}/{stem[0]}.png"}, r"\{stem\[0\]\} is no placeholder"),
    ({"image": "{split}/{stem!r}.png"}, r"\{stem!r\} is no placeholder"),
    ({"image": "{split}/{stem:>99999999}.png"}, r"\{stem:>99999999\} is no placeholder"),
    ({"image": "{split}/{stem:{split}}.png"}, "is no placeholder"),
    ({"image": "{split}/{stem!}.png"}, "image is "),
    ({"image": "../{split}/{stem}.png"}, r'image is .*: has the folder name "\.\."'),
    ({"label": "a/../../{split}/{stem}.png"}, r'label is .*: has the folder name "\.\."'),
    ({"image": "./{split}/{stem}.png"}, r'has the folder name "\."'),
    ({"image": "/data/{split}/{stem}.png"}, "image is .*: is not relative to the data root"),
    ({"image": "~/{split}/{stem}.png"}, "not relative to the data root"),
    ({"image": "C:/{split}/{stem}.png"}, "not relative to the data root"),
    ({"image": "images\\{split}\\{stem}.png"}, 'folders are parted by "/"'),
    ({"image": "images//{split}/{stem}.png"}, 'image is .*: has the folder name ""'),
    ({"image": "images/{split}/{stem}"}, r"image is .*; expected a path that ends in a suffix"),
    ({"image": "images/{split}/{stem}."}, r"image is .*; expected a path that ends in a suffix"),
    ({"superpixel": "superpixel/{split}/{stem}.jpg"}, r"superpixel is .* ends in \.png"),
    ({"superpixel": "superpixel/{split}/{stem}.PNG"}, r"superpixel is .* ends in \.png"),
    ({"label": VALID["image"]}, "label is the same file as image in split train"),
    ({"superpixel": VALID["label"]}, "superpixel is the same file as label"),
    ({"label": "images/train/{stem}.jpg"}, "label is the same file as image in split train"),
    ({"label": "{group}/{stem}.png"}, r"label is .*\{group\} is known only where image holds it"),
    ({"image": "{group}{split}/{stem}.png"}, r"\{group\} once, as a whole folder name"),
    ({"image": "{group}/{group}/{split}/{stem}.png"}, r"\{group\} once"),
    ({"image": "{group}/{split}/{stem}.png"}, r"superpixel has no \{group\}"),
    ({"image": "images/{stem}.png"}, r"image has no \{split\}, so that all splits"),
    ({"image": "images/{split}/{stem}\n.png"}, "image has a control character"),
    ({"label": "\ud800/{split}/{stem}.png"}, "label has a control character"),
    ({"ignore_mask": "../bonnet.png"}, r'ignore_mask is .*: has the folder name "\.\."'),
    ({"ignore_mask": "bonnet.jpg"}, r"ignore_mask is .* ends in \.png"),
    ({"ignore_mask": ["bonnet.png"]}, "ignore_mask is .*; expected the path"),
    ({"ignore_mask": "{stem}/{stem}.png"}, r"ignore_mask is .*; expected \{stem\} in it once"),
    # splits
    ({"splits": ["train", "val"]}, r'splits is \["train", "val"\]; expected an object'),
    ({"splits": {}}, r"splits is \{\}; expected an object"),
    ({"splits": {"train": 1, "val": "val"}}, "splits.train is 1; expected the text"),
    ({"splits": {"train": ["a", "b"]}}, "splits.train is .*; expected the text"),
    ({"splits": {"../x": "train"}}, r'splits has the key "\.\./x"; expected the name of a split'),
    ({"splits": {"": "train"}}, r'splits has the key ""'),
    ({"splits": {"train\n": "train"}}, r"splits has (the key|a control character)"),
    ({"splits": {"train": "../train"}}, r"splits\.train .*has the folder name"),
    ({"splits": {"train": "/train"}}, r"splits\.train .*not relative"),
    ({"splits": {"train": "train/"}}, r'splits\.train .*has the folder name ""'),
    ({"splits": {"train": ""}}, r'image is .*\("images//stem\.jpg" in split train\)'),
    ({"splits": {"train": "tr\tain"}}, "splits has a control character"),
    # label ids
    ({"label_to_train": [7, 8]}, "label_to_train is .*; expected an object of label ids"),
    ({"label_to_train": {}}, "label_to_train is .*; expected an object of label ids"),
    ({"label_to_train": {"7": "0"}}, r'label_to_train\.7 is "0"; expected a train id'),
    ({"label_to_train": {"7": 0.0}}, r"label_to_train\.7 is 0\.0; expected a train id"),
    ({"label_to_train": {"7": True}}, r"label_to_train\.7 is true; expected a train id"),
    ({"label_to_train": {"7": None}}, r"label_to_train\.7 is null; expected a train id"),
    ({"label_to_train": {"7": 300}}, r"label_to_train\.7 is 300; expected a train id"),
    ({"label_to_train": {"7": -2}}, r"label_to_train\.7 is -2; expected a train id"),
    ({"label_to_train": {"7": 10**400}}, r"label_to_train\.7 is 1000.*\.\.\.; expected"),
    ({"label_to_train": {"7": 3}}, r"label_to_train\.7 is train id 3, but class_names has 3 names"),
    ({"label_to_train": {"7": 254}}, r"label_to_train\.7 is train id 254, but class_names"),
    ({"label_to_train": {"7": 0, "07": 1}}, r'label_to_train has the key "07"; expected a label'),
    ({"label_to_train": {" 7": 0}}, r'label_to_train has the key " 7"'),
    ({"label_to_train": {"+7": 0}}, r'label_to_train has the key "\+7"'),
    ({"label_to_train": {"٧": 0}}, r"label_to_train has the key"),
    ({"label_to_train": {"7.0": 0}}, r'label_to_train has the key "7\.0"'),
    ({"label_to_train": {"road": 0}}, r'label_to_train has the key "road"'),
    ({"label_to_train": {"-7": 0}}, r'label_to_train has the key "-7"'),
    ({"label_to_train": {"-1": 0, "7": 1}}, r"label_to_train\.-1 is train id 0, but no label"),
    ({"label_to_train": {"65536": 0}}, r"label_to_train\.65536 is beyond 65535"),
    ({"label_to_train": {"1" * 50: 0}}, "label_to_train has the key"),
    ({"label_to_train": {"7": 255, "8": -1}}, "label_to_train maps every label id to ignored"),
    ({"label_reader": "rgbb"}, 'label_reader is "rgbb"; expected "index", "red16", "red8" or'),
    ({"label_reader": ["index"]}, 'label_reader is .*; expected "index"'),
    ({"label_reader": "red8", "label_to_train": {"256": 0}}, r"label_to_train\.256 can be in no"),
    # colour-coded labels
    ({"label_reader": "rgb"}, "label_colors is missing"),
    ({"label_colors": COLORS}, 'label_colors is read with label_reader "rgb" only'),
    ({"label_reader": "rgb", "label_colors": {**COLORS, "9": [1, 0, 0]}}, "twice, for .* 7 and 9"),
    ({"label_reader": "rgb", "label_colors": {"7": [1, 0, 0]}}, "has no colour for label id 8"),
    ({"label_reader": "rgb", "label_colors": {**COLORS, "7": [1, 0]}}, r"label_colors\.7 is \[1,"),
    ({"label_reader": "rgb", "label_colors": {**COLORS, "7": "#ff0000"}}, r"label_colors\.7 is"),
    ({"label_reader": "rgb", "label_colors": [[1, 0, 0]]}, "label_colors is .*; expected an obj"),
    # classes
    ({"class_names": "road"}, 'class_names is "road"; expected a list'),
    ({"class_names": ["road"], "palette": [[0, 0, 0]]}, "class_names is .*; expected a list of 2"),
    ({"class_names": ["road", 1, "x"]}, r"class_names\[1\] is 1; expected the name of a class"),
    ({"class_names": ["road", "", "x"]}, r'class_names\[1\] is ""; expected the name'),
    ({"class_names": ["road", " x", "y"]}, r'class_names\[1\] is " x"; expected the name'),
    ({"class_names": ["road", "x\ty", "y"]}, "class_names has a control character"),
    ({"class_names": ["road", "car", "road"]}, 'class_names has "road" twice, for train ids 0 and'),
    ({"class_names": ["road", "car", "Road"]}, 'class_names has "Road" twice'),
    (
        {"class_names": ["road", "car"]},
        "palette has 3 colours, class_names 2 names; each class needs",
    ),
    ({"class_names": [f"c{i}" for i in range(256)]}, "class_names is .*; expected a list of 2 to"),
    ({"palette": [[1, 2, 3]] * 2}, "palette has 2 colours, class_names 3 names"),
    ({"palette": [[1, 2]] * 3}, r"palette\[0\] is \[1, 2\]; expected a colour"),
    ({"palette": [[1, 2, 3, 4]] * 3}, r"palette\[0\] is .*; expected a colour"),
    ({"palette": [[0, 0, 256]] * 3}, r"palette\[0\]\[2\] is 256; expected a whole number"),
    ({"palette": [[0, 0, -1]] * 3}, r"palette\[0\]\[2\] is -1"),
    ({"palette": [[0, 0, 0.5]] * 3}, r"palette\[0\]\[2\] is 0\.5"),
    ({"palette": "red"}, 'palette is "red"; expected a list of colours'),
    ({"palette": {"0": [1, 2, 3]}}, "palette is .*; expected a list of colours"),
    ({"random_scale": "no"}, 'random_scale is "no"; expected true or false'),
    ({"random_scale": 0}, "random_scale is 0; expected true or false"),
    # images and classes that are left out
    ({"exclude": "15188"}, "exclude is .*; expected a list"),
    ({"exclude": [15188]}, r"exclude\[0\] is 15188; expected a number such as"),
    ({"exclude": ["a-b"]}, r'exclude\[0\] is "a-b"; expected a number such as'),
    ({"exclude": ["1-2-3"]}, r"exclude\[0\] is"),
    ({"exclude": ["5-"]}, r"exclude\[0\] is"),
    ({"exclude": ["5-3"]}, "exclude has the range .*; expected the smaller number first"),
    ({"exclude": ["5-007"]}, "exclude has the range .*the digits of"),
    ({"exclude": ["000000000000-999999999999"]}, "exclude has the range .* of more than"),
    ({"missing_classes": [3]}, "missing_classes has 3, but the train ids are 0 to 2"),
    ({"missing_classes": [-1]}, r"missing_classes\[0\] is -1"),
    ({"missing_classes": ["wall"]}, r'missing_classes\[0\] is "wall"; expected the train id'),
    ({"missing_classes": 1}, "missing_classes is 1; expected a list"),
    ({"missing_classes": [1, 1]}, "missing_classes is .*; expected a list of different"),
    ({"missing_classes": [0, 1, 2]}, "missing_classes leaves no class"),
    ({"star_classes_without": [9]}, "star_classes_without has 9"),
    ({"missing_classes": [0], "star_classes_without": [1, 2]}, "star_classes_without leaves no"),
]

# What a file holds that is no JSON of a description at all, and what the line says of it.
NO_DESCRIPTION = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", r"info\.json: is \[\]; expected an object"),
    (b"null", "is null; expected an object"),
    (b'"x"', 'is "x"; expected an object'),
    (b'{"image": NaN}', "NaN is not a number of JSON"),
    (b'{"image": -Infinity}', "-Infinity is not a number of JSON"),
    (b"1e999", "is Infinity; expected an object"),
    (b'{"image": ' + b"9" * 5000 + b"}", "not valid JSON"),
    (b'{"splits": {"train": "a", "train": "b"}}', 'the key "train" is there twice'),
    (b'{"image": "x", "image": "y"}', 'the key "image" is there twice'),
    (b"[" * 100_000, "nested too deeply"),
    (b"[" * 500 + b"]" * 500, r"is \[\[\[.*; expected an object|nested too deeply"),
    (b"[" * 970 + b"]" * 970, r"is \[\[\[.*; expected an object|nested too deeply"),
    ("ü".encode("latin-1"), "not text in UTF-8"),
    (json.dumps(VALID).encode("utf-16"), "not text in UTF-8"),
    (b"\x89PNG\r\n\x1a\n", "not text in UTF-8"),
    (b" " * 2_000_000, "too large"),
]


@pytest.fixture()
def load(tmp_path):
    """Load a description by its path: VALID with changes, or bytes."""

    def load_changed(content):
        if isinstance(content, dict):
            changed = {k: v for k, v in {**VALID, **content}.items() if v is not ABSENT}
            content = json.dumps(changed).encode()
        (tmp_path / "info.json").write_bytes(content)
        return load_dataset(str(tmp_path / "info.json"))

    return load_changed


@pytest.mark.parametrize(("change", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_descriptions_are_refused_in_one_line(load, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as error:
        load(change)
    line = str(error.value)
    assert line.startswith(f"{tmp_path / 'info.json'}: ")
    assert len(line.splitlines()) == 1
    assert len(line) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(("content", "message"), NO_DESCRIPTION, ids=range(len(NO_DESCRIPTION)))
def test_files_that_are_no_description_are_refused_in_one_line(load, content, message):
    with pytest.raises(UserError, match=message) as error:
        load(content)
    assert "info.json: " in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_255_and_minus_1_are_ignored_as_in_the_official_table(load):
    info = load({"label_to_train": {"-1": -1, "0": 255, "1": -1, "7": 0, "8": 1, "11": 2}})
    assert info.label_to_train == {7: 0, 8: 1, 11: 2}
    assert info.known_ids == {-1, 0, 1, 7, 8, 11}
    assert info.train_ids(np.uint8([[0, 1, 7, 8, 11, 255]])).tolist() == [[255, 255, 0, 1, 2, 255]]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_label_ids_beyond_255(load, dtype):
    info = load({"label_to_train": {"7": 0, "263": 1, "65535": 2}})
    ids = np.array([[7, 263, 65535, 1001, 255]], dtype)
    assert info.train_ids(ids).tolist() == [[0, 1, 2, 255, 255]]
    assert info.train_ids(ids).dtype == np.uint8
    assert (info.train_ids(ids.astype(np.uint8)) == [[0, 0, 255, 255, 255]]).all()
    if dtype != np.uint16:
        assert info.train_ids(np.array([[65536, 2**32 - 1]], dtype)).tolist() == [[255, 255]]


def test_classes_that_a_dataset_does_not_have(load):
    info = load({"label_to_train": {"7": 0, "8": 2, "9": 2}})
    assert info.num_classes == 3
    assert info.present_classes == [0, 2]
    assert load({"missing_classes": [1]}).present_classes == [0, 2]
    assert load_dataset("SYNTHIA").present_classes == [i for i in range(19) if i not in (9, 14, 16)]


def test_many_classes_and_colours(load):
    count = 255
    info = load(
        {
            "label_reader": "rgb",
            "label_to_train": {str(300 + i): i for i in range(count)},
            "label_colors": {str(300 + i): [i, 0, 0] for i in range(count)} | {"0": [255, 255, 0]},
            "class_names": [f"class {i}" for i in range(count)],
            "palette": [[i, i, i] for i in range(count)],
        }
    )
    assert info.present_classes == list(range(255))
    assert info.label_colors[302] == [2, 0, 0]
    assert 0 in info.known_ids
    assert info.color_table[254].tolist() == [254] * 3
    assert info.color_table[255].tolist() == [0, 0, 0]


def test_a_description_lies_anywhere(tmp_path, monkeypatch):
    folder = tmp_path / "my camera"
    folder.mkdir()
    (folder / "info.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(VALID).encode())
    (folder / "night.json").write_text(json.dumps(VALID))
    for where in (tmp_path, folder):
        monkeypatch.chdir(where)
        relative = os.path.relpath(folder)
        for path in (folder, folder / "info.json", relative, os.path.join(relative, "info.json")):
            assert load_dataset(str(path)).name == "my camera"
    assert load_dataset("night.json").name == "night"
    (folder / "camvid").mkdir()
    assert load_dataset("camvid").num_classes == 19  # the name goes before the folder
    with pytest.raises(UserError, match="is unknown"):
        load_dataset("./camvid")
    (folder / "camvid/info.json").mkdir()
    with pytest.raises(UserError, match="is unknown"):
        load_dataset("./camvid")


def draw(root, *paths):
    """Empty files below a data root."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_files_of_an_image(load, tmp_path):
    info = load({"ignore_mask": "bonnet.png"})
    assert info.ignore_mask == "bonnet.png"
    draw(tmp_path, "images/test/a b/1.JPG", "images/test/1", "images/train/1.jpg", "1.jpg")
    draw(tmp_path, "labels/test/a b/1.png")
    assert scan(info, tmp_path, "val").items == [
        ("images/test/a b/1.JPG", "labels/test/a b/1.png", "superpixel/test/a b/1.png")
    ]


@pytest.mark.parametrize(
    ("image", "label"), [("{stem}.jpg", "{stem}.png"), ("{stem}_img.png", "{stem}.png")]
)
def test_labels_and_maps_beside_the_images_are_no_images(load, tmp_path, image, label):
    change = {"image": image, "label": label, "superpixel": "{stem}_superpixel.png"}
    info = load({**change, "splits": {"train": "", "val": ""}})
    paths = [t.format(stem="a/x[1]") for t in (image, label, "{stem}_superpixel.png")]
    draw(tmp_path / "data", *paths)
    assert scan(info, tmp_path / "data", "train").items == [tuple(paths)]


def test_groups_keep_equal_names_apart(load, tmp_path):
    info = load(
        {
            "image": "rgb/{group}/{split}/{stem}.png",
            "label": "gt/{group}/{split}/{group}_{stem}.png",
            "superpixel": "rgb/{group}/{split}/{group}_{stem}_superpixel.png",
        }
    )
    wanted = [
        (
            f"rgb/{group}/test/1.jpeg",
            f"gt/{group}/test/{group}_1.png",
            f"rgb/{group}/test/{group}_1_superpixel.png",
        )
        for group in ("fog", "night (1)")
    ]
    draw(tmp_path, *wanted[0], *wanted[1])
    draw(tmp_path, "rgb/test/1.png", "rgb/a/b/test/1.png", "rgb/fog/train/1.png")
    assert scan(info, tmp_path, "val").items == wanted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
OPTIONAL = {
    "ignore_mask": "mask.png",
    "exclude": ["1", "3-5"],
    "missing_classes": [0],
    "star_classes_without": [1],
    "random_scale": False,
}
TEXT = st.text("{}stempli/.!:[]0", max_size=12)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from([*VALID, *OPTIONAL, "label_colors"]),
    st.one_of(JSON, TEXT, TEXT.map("{{split}}/{}{{stem}}.png".format)),
)
def test_whatever_a_key_holds_is_refused_or_can_be_used(load, key, value):
    try:
        info = load({**OPTIONAL, key: value})
    except UserError as error:
        assert "info.json: " in str(error)
        assert len(str(error).splitlines()) == 1
        return
    assert info.train_ids(np.arange(256, dtype=np.uint8)[None]).shape == (1, 256)
    assert max(info.label_to_train.values()) < info.num_classes == len(info.palette)
    assert len(info.excluded_stems) < 1_000_000
    for split in info.splits:
        paths = item_of(info, split, "a/b")
        assert parse(info.image, info.splits[split], paths.image) == (
            "a/b",
            "*"[: "{g" in info.image],
        )
        assert len(set(paths)) == 3
        assert all(os.path.normpath(path) == path and path[0] not in "/." for path in paths)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda t: t.encode())))
def test_any_bytes_as_a_description(load, content):
    with pytest.raises(UserError, match=r"info\.json: ") as error:
        load(content)
    assert len(str(error.value).splitlines()) == 1

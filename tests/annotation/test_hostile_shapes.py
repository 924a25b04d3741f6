"""Broken and hostile shapes within files: one clear line each, and nothing is written."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotation.brush import decode_brush, encode_brush
from annotation.coco import segmentation_mask
from annotation.untrusted import mask_to_runs, runs_to_mask
from tests.annotation.drawn import coco, masks, one_coco, one_cvat, one_task
from utils.errors import UserError

SIZE = (24, 32)


SEGMENTATIONS = {
    "of another size": {"size": [32, 24], "counts": [768]},
    "counts that overflow": {"size": [24, 32], "counts": [0, 2**63, 2**64]},
    "counts that are negative": {"size": [24, 32], "counts": [-1, 769]},
    "counts that are too few": {"size": [24, 32], "counts": [0, 5]},
    "counts that are no numbers": {"size": [24, 32], "counts": [0.5, None, "8"]},
    "no counts": {"size": [24, 32], "counts": None},
    "compressed, empty": {"size": [24, 32], "counts": ""},
    "compressed, cut off": {"size": [24, 32], "counts": "oooo"},
    "compressed, long": {"size": [24, 32], "counts": "0" * 100_000},
    "compressed, overflowing": {"size": [24, 32], "counts": "o" * 100},
    "compressed, other letters": {"size": [24, 32], "counts": "\u00e9\x00~"},
    "polygon that is not finite": [[0, 0, 1e999, 0, 5, 5]],
    "polygon of huge numbers": [[0, 0, 10**400, 0, 5, 5]],
    "polygon far away": [[0, 0, 1e9, 0, 5, 5]],
    "polygon of a million points": [[0, 0] * 1_000_000],
    "polygon of odd length": [[0, 0, 3, 3, 3, 0, 1]],
    "polygon of texts": [["a", "b", "c", "d", "e", "f"]],
    "polygon of lists": [[[0, 0], [3, 3], [3, 0]]],
    "box without a shape": [],
    "a number": 7,
    "nothing": None,
}


@pytest.mark.parametrize("segmentation", SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_coco_segmentations(package, refuse, tmp_path, segmentation):
    text = one_coco(package, segmentation).replace("Infinity", "1e999")
    (tmp_path / "answers.json").write_text(text)
    refuse(tmp_path / "answers.json")


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_what_is_not_finite_is_no_number(package, refuse, tmp_path, number):
    text = one_coco(package, [[0, 0, float("nan"), 0, 5, 5]]).replace("NaN", number)
    (tmp_path / "answers.json").write_text(text)
    refuse(tmp_path / "answers.json", f"{number} is no finite number")


SHAPES = {
    "nan": '<polygon label="road" points="nan,0;5,5;0,5"/>',
    "infinite": '<polygon label="road" points="inf,0;5,5;0,5"/>',
    "no points": '<polygon label="road"/>',
    "million points": '<polygon label="road" points="' + "0,0;" * 1_000_000 + '0,0"/>',
    "far away": '<polygon label="road" points="-9999,0;5,5;0,5"/>',
    "box": '<box label="road" xtl="1" ytl="x" xbr="5" ybr="5"/>',
    "turned nan": '<box label="road" xtl="1" ytl="1" xbr="5" ybr="5" rotation="nan"/>',
    "turned how": '<box label="road" xtl="1" ytl="1" xbr="5" ybr="5" rotation="much"/>',
    "mask outside": '<mask label="road" rle="0,4" left="31" top="0" width="2" height="2"/>',
    "mask negative": '<mask label="road" rle="0,4" left="-1" top="0" width="2" height="2"/>',
    "mask too long": '<mask label="road" rle="0,5" left="0" top="0" width="2" height="2"/>',
    "mask overflow": '<mask label="road" rle="0,1e30" left="0" top="0" width="2" height="2"/>',
    "mask huge": '<mask label="road" rle="0" left="0" top="0" width="1e99" height="2"/>',
    "order": '<box label="road" z_order="up" xtl="1" ytl="1" xbr="5" ybr="5"/>',
    "points": '<points label="road" points="1,1;2,2"/>',
    "deep": "<a>" * 100_000,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cvat_shapes(package, refuse, tmp_path, shape):
    (tmp_path / "answers.xml").write_text(one_cvat(package, shape))
    refuse(tmp_path / "answers.xml")


GOOD = encode_brush(np.ones(SIZE, bool))
VALUES = {
    "empty": {"rle": []},
    "none": {},
    "of another size": {"rle": encode_brush(np.ones((24, 33), bool))},
    "cut off": {"rle": GOOD[:8]},
    "of texts": {"rle": ["a"]},
    "of large numbers": {"rle": [300, *GOOD]},
    "that overflow": {"rle": [*GOOD[:6], *[255] * 50]},
    "that go on beyond the image": {"rle": [*GOOD[:6], GOOD[6] | 7, *[255] * 50]},
    "that claim 16 GB": {"rle": [255, 255, 255, 255, *GOOD[4:]]},
    "a text": "x",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_brush_strokes(package, refuse, tmp_path, value):
    (tmp_path / "answers.json").write_text(one_task(package, value))
    refuse(tmp_path / "answers.json")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("polygonlabels", {"points": [[0, 0], [1, 1, 1], [4, 4]]}, ""),
        ("polygonlabels", {"points": [0, 1, 2]}, ""),
        ("polygonlabels", {"points": [[0, 0], [1e9, 1], [4, 4]]}, ""),
        ("rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9, "rotation": "30"}, ""),
        ("rectanglelabels", {"x": None, "y": 1, "width": 9, "height": 9}, ""),
        ("brush", {"rle": GOOD}, "(brush) without a class"),
        ("brushlabels", {"rle": GOOD, "brushlabels": []}, "(brushlabels) without a class"),
        ("keypointlabels", {"x": 1, "y": 1}, ""),
    ],
)
def test_other_results_of_label_studio(package, refuse, tmp_path, kind, value, words):
    (tmp_path / "answers.json").write_text(one_task(package, value, kind))
    refuse(tmp_path / "answers.json", words)


def test_unknown_classes_are_named_with_the_nearest_known_one(package, refuse, tmp_path):
    square = [[8, 0, 16, 0, 16, 8, 8, 8]]
    (tmp_path / "a.json").write_text(one_coco(package, square, "sidwalk"))
    refuse(tmp_path / "a.json", "'sidwalk'", "'sidewalk'")
    (tmp_path / "b.xml").write_text(
        one_cvat(package, '<box label="Vegetaton" xtl="8" ytl="0" xbr="16" ybr="8"/>')
    )
    refuse(tmp_path / "b.xml", "'Vegetaton'", "'vegetation'")
    (tmp_path / "c.json").write_text(
        one_task(package, {"rle": GOOD, "brushlabels": ["<script>\n\x1b[31m"]})
    )
    refuse(tmp_path / "c.json", "unknown class")


def test_an_unknown_class_of_many_images_is_one_problem(package, refuse, tmp_path, capsys):
    drawn = {image.name: np.full(SIZE, 255, np.uint8) for image in package.images}
    for codes in drawn.values():
        codes[:, ::2] = 0
    path = coco(package, drawn, tmp_path / "a.json", "runs")
    path.write_text(path.read_text().replace('"road"', '"Strasse"'))
    refuse(path, "unknown class 'Strasse' (2 times, and 1 more images)", "(1 problems in all)")
    path = masks(package, drawn, tmp_path / "b", "color")
    for n, file in enumerate(sorted(path.iterdir())):
        Image.new("RGB", SIZE[::-1], (n, 7, 7)).save(file)
    refuse(path, "colour [0, 7, 7]", "and 1 more images", "(1 problems in all)")
    many = [
        file.rename(file.with_stem(f"{n:08x}-{file.stem}"))
        for n, file in enumerate(sorted(path.iterdir()))
    ]
    for n in range(30):
        Image.new("L", (n + 1, 9)).save(path / f"{n + 9:08x}-{many[0].stem[9:]}.png")
    refuse(path, "problems in all")
    assert "... and 11 more problems" in capsys.readouterr().out


def test_images_of_another_size_are_told(package, refuse, tmp_path):
    (tmp_path / "a.json").write_text(one_coco(package, [[0, 0, 9, 0, 9, 9]], width=64, height=48))
    refuse(tmp_path / "a.json", "64 x 48", "32 x 24")
    (tmp_path / "b.xml").write_text(one_cvat(package, "", 'width="64" height="48"'))
    refuse(tmp_path / "b.xml", "64 x 48", "32 x 24")
    (tmp_path / "c.json").write_text(one_task(package, {"rle": GOOD}, original_width=64))
    refuse(tmp_path / "c.json", "64 x 24", "32 x 24")
    (tmp_path / "d.json").write_text(one_coco(package, [[0, 0, 9, 0, 9, 9]], height="x"))
    refuse(tmp_path / "d.json", "height is x")


def test_any_change_of_a_good_file_is_read_or_refused(shared, package, tmp_path):
    """Bytes are altered, cut and put in, and answers in the files of the package with them."""
    rng = random.Random(0)
    sources = [
        one_coco(package, {"size": [24, 32], "counts": "\\h05"}),
        one_cvat(package, '<mask label="road" rle="0,4" left="1" top="0" width="2" height="2"/>'),
        one_task(package, {"rle": GOOD}),
        (package.folder / "coco.json").read_text(),
        (package.folder / "cvat_images.xml").read_text(),
    ]
    for n in range(100):
        source = bytearray(rng.choice(sources).encode())
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(source))
            source[at : at + rng.randint(0, 3)] = rng.choice(
                [b"", b"0", b"-", b"[", b"null", b'"', bytes([rng.randrange(256)])]
            )
        path = tmp_path / ("a.xml" if source[:1] == b"<" else "a.json")
        path.write_bytes(source)
        try:
            shared.take(path)
        except UserError as error:
            assert path.name in error.line, n


fuzz = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzz
@given(st.lists(st.integers(0, 255), max_size=60), st.booleans())
def test_any_bytes_as_brush_strokes(data, with_header):
    data = GOOD[:7] + data if with_header else data
    try:
        assert decode_brush(data, SIZE, "place").shape == SIZE
    except UserError as error:
        assert "place" in str(error)


@fuzz
@given(st.one_of(st.text(), st.text(st.characters(min_codepoint=48, max_codepoint=111))))
def test_any_text_as_compressed_runs(text):
    try:
        mask = segmentation_mask({"size": list(SIZE), "counts": text}, SIZE, "place")
        assert mask.shape == SIZE
    except UserError as error:
        assert "place" in str(error)


@fuzz
@given(st.data())
def test_masks_survive_each_code(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    bits = data.draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=36))
    mask = np.array(bits[: shape[0] * shape[1]]).reshape(shape)
    assert np.array_equal(decode_brush(encode_brush(mask), shape, ""), mask)
    for order in "CF":
        assert np.array_equal(runs_to_mask(mask_to_runs(mask, order), shape, order, ""), mask)

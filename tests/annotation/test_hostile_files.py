"""Broken and hostile files: one clear line each, and nothing is written."""

import io
import json
import os
import random
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotation import untrusted
from annotation.brush import decode_brush, encode_brush
from annotation.coco import segmentation_mask
from annotation.package import Package
from annotation.untrusted import mask_to_runs, runs_to_mask
from tests.annotation.conftest import Run, make_run
from utils.errors import UserError

SIZE = (24, 32)


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory) -> Run:
    result = make_run(tmp_path_factory.mktemp("run"))
    result.export("--round", "0")
    return result


@pytest.fixture()
def run(shared_run) -> Iterator[Run]:
    yield shared_run
    shutil.rmtree(shared_run.folder / "annotation" / "labels", ignore_errors=True)


@pytest.fixture()
def package(run) -> Package:
    return Package.load(run.folder / "annotation" / "round_00")


@pytest.fixture()
def refuse(run, package, tally):
    """Importing a file fails with a line that holds some words, and writes nothing."""

    def check(path: Path, *words: str) -> str:
        before = sorted((run.folder / "annotation").rglob("*"))
        with pytest.raises(UserError) as error:
            run.take(path)
        line = error.value.line
        assert len(line.splitlines()) == 1 and len(line) < 600
        for word in (path.name.encode("unicode_escape").decode(), *words):
            assert word in line
        after = sorted((run.folder / "annotation").rglob("*"))
        assert [p for p in after if p not in before and p.name != ".lock"] == []
        tally["bad inputs refused"] += 1
        return line

    return check


def coco(package: Package, segmentation, category: str = "road", **changes) -> str:
    image = {"id": 1, "file_name": package.images[0].file, "height": 24, "width": 32}
    return json.dumps(
        {
            "categories": [{"id": 5, "name": category}],
            "images": [image | changes],
            "annotations": [{"image_id": 1, "category_id": 5, "segmentation": segmentation}],
        }
    )


def cvat(package: Package, shape: str, size: str = 'width="32" height="24"') -> str:
    name = package.images[0].file
    return f'<annotations><image name="{name}" {size}>{shape}</image></annotations>'


def studio(package: Package, value, kind: str = "brushlabels", **changes) -> str:
    value = value if isinstance(value, str) else {kind: ["road"], **value}
    result = {"type": kind, "original_width": 32, "original_height": 24, "value": value}
    data = {"image": "x", "package_image": package.images[0].name}
    return json.dumps([{"data": data, "annotations": [{"result": [result | changes]}]}])


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
    "polygon of one point": [[0, 0]],
    "polygon of odd length": [[0, 0, 3, 3, 3, 0, 1]],
    "polygon of texts": [["a", "b", "c", "d", "e", "f"]],
    "polygon of lists": [[[0, 0], [3, 3], [3, 0]]],
    "box without a shape": [],
    "a number": 7,
    "nothing": None,
}


@pytest.mark.parametrize("segmentation", SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_coco_segmentations(package, refuse, tmp_path, segmentation):
    text = coco(package, segmentation).replace("Infinity", "1e999")
    (tmp_path / "answers.json").write_text(text)
    refuse(tmp_path / "answers.json")


def test_nan_is_no_number(package, refuse, tmp_path):
    (tmp_path / "answers.json").write_text(coco(package, [[0, 0, float("nan"), 0, 5, 5]]))
    refuse(tmp_path / "answers.json", "NaN")


SHAPES = {
    "nan": '<polygon label="road" points="nan,0;5,5;0,5"/>',
    "infinite": '<polygon label="road" points="inf,0;5,5;0,5"/>',
    "no points": '<polygon label="road"/>',
    "million points": '<polygon label="road" points="' + "0,0;" * 1_000_000 + '0,0"/>',
    "far away": '<polygon label="road" points="-9999,0;5,5;0,5"/>',
    "box": '<box label="road" xtl="1" ytl="x" xbr="5" ybr="5"/>',
    "turned": '<box label="road" xtl="1" ytl="1" xbr="5" ybr="5" rotation="45"/>',
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
    (tmp_path / "answers.xml").write_text(cvat(package, shape))
    refuse(tmp_path / "answers.xml")


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)
XML = {
    "bomb": (BOMB + "<annotations>&i;</annotations>").encode(),
    "external": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
    "doctype": b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><annotations/>',
    "other": b"<html><body>hello</body></html>",
    "cut off": b"<annotations><image",
    "empty": b"",
    "wrong encoding": b'<?xml version="1.0" encoding="utf-8"?><annotations a="\xff"/>',
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><annotations/>',
    "wide encoding": "<annotations/>".encode("utf-32"),
    "video": b'<annotations><track id="0" label="road"></track></annotations>',
}


@pytest.mark.parametrize("data", XML.values(), ids=XML)
def test_xml(package, refuse, tmp_path, data):
    (tmp_path / "answers.xml").write_bytes(data)
    refuse(tmp_path / "answers.xml")


JSON = {
    "empty": b"",
    "deep": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 100_000,
    "latin-1": '[{"data": {"image": "\u00e9"}}]'.encode("latin-1"),
    "utf-16": b"[]".decode().encode("utf-16"),
    "a number": b"7",
    "an object": b'{"a": 1}',
    "nothing in it": b"[]",
    "numbers": b"[1, 2]",
    "no data": b'[{"annotations": []}]',
    "min": b'[{"data": {"image": "x"}, "label": []}]',
    "huge integer": b"[" + b"9" * 10_000 + b"]",
    "categories": b'{"categories": 1, "images": [], "annotations": []}',
    "category": b'{"categories": [{"id": "x"}], "images": [], "annotations": []}',
    "images": b'{"categories": [], "images": [[]], "annotations": []}',
    "annotation": b'{"categories": [], "images": [], "annotations": [{"image_id": [1]}]}',
    "stray annotation": b'{"categories": [], "images": [], "annotations": [{"image_id": 1}]}',
}


@pytest.mark.parametrize("data", JSON.values(), ids=JSON)
def test_json(package, refuse, tmp_path, data):
    (tmp_path / "answers.json").write_bytes(data)
    refuse(tmp_path / "answers.json")


GOOD = encode_brush(np.ones(SIZE, bool))
VALUES = {
    "empty": {"rle": []},
    "none": {},
    "of another size": {"rle": encode_brush(np.ones((24, 33), bool))},
    "cut off": {"rle": GOOD[:8]},
    "of texts": {"rle": ["a"]},
    "of large numbers": {"rle": [300, *GOOD]},
    "that overflow": {"rle": [*GOOD[:6], *[255] * 50]},
    "that claim 16 GB": {"rle": [255, 255, 255, 255, *GOOD[4:]]},
    "a text": "x",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_brush_strokes(package, refuse, tmp_path, value):
    (tmp_path / "answers.json").write_text(studio(package, value))
    refuse(tmp_path / "answers.json")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("polygonlabels", {"points": [[0, 0], [1, 1]]}),
        ("polygonlabels", {"points": [[0, 0], [1, 1, 1], [4, 4]]}),
        ("polygonlabels", {"points": [0, 1, 2]}),
        ("polygonlabels", {"points": [[0, 0], [1e9, 1], [4, 4]]}),
        ("rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9, "rotation": 30}),
        ("rectanglelabels", {"x": None, "y": 1, "width": 9, "height": 9}),
        ("keypointlabels", {"x": 1, "y": 1}),
    ],
)
def test_other_results_of_label_studio(package, refuse, tmp_path, kind, value):
    (tmp_path / "answers.json").write_text(studio(package, value, kind))
    refuse(tmp_path / "answers.json")


def png(shape=SIZE, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(stream, options.get("format", "PNG"))
    return stream.getvalue()


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "\\x.png"]
)
def test_archives_with_paths_that_lead_out(refuse, tmp_path, name):
    refuse(archive(tmp_path / "answers.zip", (name, png())), "outside of the folder")


def test_archives_with_links(refuse, tmp_path):
    refuse(archive(tmp_path / "answers.zip", (link("a.png"), b"/etc/passwd")), "is a link")


def test_archives_that_unpack_to_too_much(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_BYTES", 2**20)
    bomb = archive(tmp_path / "answers.zip", ("a.json", b" " * 2**24))
    refuse(bomb, "unpacks to more than 1 MiB")
    data = bytearray(bomb.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)  # the archive's own word on the size
    bomb.write_bytes(data)
    refuse(bomb)


def test_archives_of_too_many_or_equal_names(refuse, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(tmp_path / "twice.zip", ("a.png", png()), ("a.png", png()))
    refuse(twice, "two files of one name")
    monkeypatch.setattr(untrusted, "MAX_ENTRIES", 3)
    refuse(archive(tmp_path / "many.zip", *((f"{n}.png", png()) for n in range(4))), "too much")


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"no archive", b"PK\x03\x04" + b"\0" * 99])
def test_damaged_archives(refuse, tmp_path, data):
    (tmp_path / "answers.zip").write_bytes(data)
    refuse(tmp_path / "answers.zip")


def test_a_damaged_member_of_an_archive(package, refuse, tmp_path):
    path = archive(
        tmp_path / "answers.zip", ("a.json", coco(package, [[0, 0, 9, 0, 9, 9]]).encode())
    )
    data = bytearray(path.read_bytes())
    data[60:80] = b"\xff" * 20
    path.write_bytes(data)
    refuse(path)


def test_archives_without_answers_or_with_several(package, refuse, tmp_path):
    refuse(archive(tmp_path / "empty.zip"), "holds no answers")
    refuse(archive(tmp_path / "text.zip", ("a.txt", b"hello")), "holds no answers")
    refuse(archive(tmp_path / "two.zip", ("a.json", b"[]"), ("b.xml", b"<a/>")), "a.json, b.xml")


@pytest.mark.parametrize(
    "label_map", [b"\xff\xfe", b"road", b"road:1,2::", b"road:a,b,c::", b"road:1,2,3,4::"]
)
def test_broken_label_maps(package, refuse, tmp_path, label_map):
    name = f"SegmentationClass/{package.images[0].name}.png"
    refuse(
        archive(tmp_path / "answers.zip", ("labelmap.txt", label_map), (name, png())),
        "labelmap.txt",
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HUGE_PNG = b"\x89PNG\r\n\x1a\n" + chunk(
    b"IHDR", struct.pack(">IIBBBBB", 2**30, 2**30, 8, 0, 0, 0, 0)
)
PNGS = {
    "no PNG": b"hello",
    "cut off": png()[:40],
    "JPEG": png(format="JPEG"),
    "of a huge size": HUGE_PNG,
    "of another size": png((12, 16)),
}


@pytest.mark.parametrize("data", PNGS.values(), ids=PNGS)
def test_damaged_label_maps(package, refuse, tmp_path, data):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / f"{package.images[0].name}.png").write_bytes(data)
    refuse(tmp_path / "answers")


def test_label_maps_of_unclear_kinds(package, refuse, tmp_path):
    path = tmp_path / "answers" / f"{package.images[0].name}.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(path)
    refuse(path.parent, "I;16")
    Image.fromarray(np.zeros(SIZE, bool)).save(path)
    refuse(path.parent, "mode 1")
    palette = Image.fromarray(np.ones(SIZE, np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, *package.classes.color_table[0].tolist()])
    palette.save(path)  # the number of the sidewalk, and the colour of the road
    refuse(path.parent, "palette")
    Image.fromarray(np.full((*SIZE, 3), 7, np.uint8)).save(path)
    refuse(path.parent, "colour [7, 7, 7]")
    Image.fromarray(np.full(SIZE, 26, np.uint8)).save(path)
    refuse(path.parent, "value 26")


def test_unknown_classes_are_named_with_the_nearest_known_one(package, refuse, tmp_path):
    square = [[8, 0, 16, 0, 16, 8, 8, 8]]
    (tmp_path / "a.json").write_text(coco(package, square, "sidwalk"))
    refuse(tmp_path / "a.json", "'sidwalk'", "'sidewalk'")
    (tmp_path / "b.xml").write_text(
        cvat(package, '<box label="Vegetaton" xtl="8" ytl="0" xbr="16" ybr="8"/>')
    )
    refuse(tmp_path / "b.xml", "'Vegetaton'", "'vegetation'")
    (tmp_path / "c.json").write_text(
        studio(package, {"rle": GOOD, "brushlabels": ["<script>\n\x1b[31m"]})
    )
    refuse(tmp_path / "c.json", "unknown class")


def test_images_of_another_size_are_told(package, refuse, tmp_path):
    (tmp_path / "a.json").write_text(coco(package, [[0, 0, 9, 0, 9, 9]], width=64, height=48))
    refuse(tmp_path / "a.json", "64 x 48", "32 x 24")
    (tmp_path / "b.xml").write_text(cvat(package, "", 'width="64" height="48"'))
    refuse(tmp_path / "b.xml", "64 x 48", "32 x 24")
    (tmp_path / "c.json").write_text(studio(package, {"rle": GOOD}, original_width=64))
    refuse(tmp_path / "c.json", "64 x 24", "32 x 24")


def test_one_bad_file_keeps_the_good_ones_out(run, package, tmp_path):
    (tmp_path / "good.json").write_text(coco(package, [[8, 0, 16, 0, 16, 8, 8, 8]]))
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(UserError, match=r"bad\.json"):
        run.take(tmp_path / "good.json", tmp_path / "bad.json")
    assert not (run.folder / "annotation" / "labels").exists()
    run.take(tmp_path / "good.json")
    before = run.files()
    with pytest.raises(UserError, match=r"bad\.json"):
        run.take(tmp_path / "good.json", tmp_path / "bad.json")
    assert run.files() == before


def test_images_of_no_package_are_told_of_and_left(run, package, refuse, tmp_path, capsys):
    content = json.loads(coco(package, [[8, 0, 16, 0, 16, 8, 8, 8]]))
    content["images"].append({"id": 2, "file_name": "other\n.png", "height": 5, "width": 5})
    (tmp_path / "a.json").write_text(json.dumps(content))
    run.take(tmp_path / "a.json")
    assert "other\\n.png: is in no labelling package" in capsys.readouterr().out
    content["images"] = content["images"][1:]
    content["annotations"] = []
    (tmp_path / "b.json").write_text(json.dumps(content))
    refuse(tmp_path / "b.json", "no answers")


@pytest.mark.parametrize(
    "name", ["a\nb.json", "a\x1b[31m.json", "\udcff.json", "a" * 200 + ".json"]
)
def test_file_names_of_any_character(refuse, tmp_path, name):
    path = tmp_path / name
    path.write_text("[")
    refuse(path)


def test_missing_files_folders_and_pipes(refuse, tmp_path):
    refuse(tmp_path / "nothing.json", "no such file")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds no answers")
    os.mkfifo(tmp_path / "pipe.json")
    refuse(tmp_path / "pipe.json", "no such file")


def test_any_change_of_a_good_file_is_read_or_refused(run, package, tmp_path):
    """Bytes are altered, cut and put in, and answers in the files of the package with them."""
    rng = random.Random(0)
    sources = [
        coco(package, {"size": [24, 32], "counts": "\\h05"}),
        cvat(package, '<mask label="road" rle="0,4" left="1" top="0" width="2" height="2"/>'),
        studio(package, {"rle": GOOD}),
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
            run.take(path)
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

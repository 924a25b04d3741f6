"""Broken and hostile files: one clear line each, and nothing is written."""

import io
import json
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation import untrusted
from tests.annotation.drawn import chunk, one_coco, one_cvat
from utils.errors import UserError

SIZE = (24, 32)


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
    "two categories": b'{"categories": [{"id": 1, "name": "road"}, {"id": 1, "name": "car"}], '
    b'"images": [], "annotations": []}',
    "two images": b'{"categories": [], "annotations": [], "images": ['
    b'{"id": 1, "file_name": "a", "height": 1, "width": 1}, '
    b'{"id": 1, "file_name": "b", "height": 1, "width": 1}]}',
    "stray annotation": b'{"categories": [], "images": [], "annotations": [{"image_id": 1}]}',
}


@pytest.mark.parametrize("data", JSON.values(), ids=JSON)
def test_json(package, refuse, tmp_path, data):
    (tmp_path / "answers.json").write_bytes(data)
    refuse(tmp_path / "answers.json")


NO_ANSWERS = {
    "labels of a run": (
        b'{"unanswered_label_id": 255, "label_ids": {}, "images": {}}',
        "import.py wrote, in label ids",
    ),
    "predictions": (
        b'{"class_names": [], "finished": true, "images": {"a.png": "b.png"}}',
        "inference.py wrote",
    ),
    "panoptic": (
        b'{"images": [], "categories": [], "annotations": [{"image_id": 1, "segments_info": []}]}',
        "panoptic segmentation",
    ),
    "labelme": (b'{"version": "5", "shapes": [], "imagePath": "a.png"}', "is of labelme"),
    "Datumaro": (b'{"info": {}, "categories": {}, "items": []}', "is of Datumaro"),
    "results": (b'[{"image_id": 1, "category_id": 1, "score": 1}]', "a list of COCO results"),
}


@pytest.mark.parametrize(("data", "words"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_files_that_look_like_exports_are_called_what_they_are(
    package, refuse, tmp_path, data, words
):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.json").write_bytes(data)
    (tmp_path / "labels" / "a.png").write_bytes(png())
    refuse(tmp_path / "labels", words)


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


def test_archives_with_an_empty_name(refuse, tmp_path):
    path = archive(tmp_path / "answers.zip", ("x.png", png()))
    path.write_bytes(path.read_bytes().replace(b"x.png", b"\0.png"))
    refuse(path, "outside of the folder")


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


def test_masks_of_cvat_without_a_list_of_colours_of_their_own(package, refuse, tmp_path):
    name = f"SegmentationClass/{package.images[0].name}.png"
    members = (("1/labelmap.txt", b"road:128,64,128::"), (f"1/{name}", png()), (f"2/{name}", png()))
    refuse(archive(tmp_path / "a.zip", *members), f"2/{name} has no labelmap.txt in the folders")


def test_images_of_no_package_need_no_size_in_cvat(shared, package, tmp_path, capsys):
    drawn = one_cvat(package, "").replace("<annotations>", '<annotations><image name="x.png"/>')
    (tmp_path / "a.xml").write_text(drawn)
    shared.take(tmp_path / "a.xml")
    assert "x.png: is in no labelling package" in capsys.readouterr().out


def test_archives_of_too_many_or_equal_names(refuse, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(tmp_path / "twice.zip", ("a.png", png()), ("a.png", png()))
    refuse(twice, "two files of one name")
    slashes = archive(tmp_path / "slashes.zip", ("a/x.png", png()), ("a\\x.png", png()))
    refuse(slashes, "two files of one name")
    monkeypatch.setattr(untrusted, "MAX_ENTRIES", 3)
    refuse(archive(tmp_path / "many.zip", *((f"{n}.png", png()) for n in range(4))), "too much")


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"no archive", b"PK\x03\x04" + b"\0" * 99])
def test_damaged_archives(refuse, tmp_path, data):
    (tmp_path / "answers.zip").write_bytes(data)
    refuse(tmp_path / "answers.zip")


def test_a_damaged_member_of_an_archive(package, refuse, tmp_path):
    path = archive(
        tmp_path / "answers.zip", ("a.json", one_coco(package, [[0, 0, 9, 0, 9, 9]]).encode())
    )
    data = bytearray(path.read_bytes())
    data[60:80] = b"\xff" * 20
    path.write_bytes(data)
    refuse(path)


def test_archives_without_answers_or_with_several(package, refuse, tmp_path):
    refuse(archive(tmp_path / "empty.zip"), "holds no answers")
    refuse(archive(tmp_path / "text.zip", ("a.txt", b"hello")), "holds no answers")
    refuse(archive(tmp_path / "jpg.zip", ("a.JPG", b"hello")), "(a.JPG is JPEG, which changes")
    refuse(archive(tmp_path / "two.zip", ("a.json", b"[]"), ("b.xml", b"<a/>")), "a.json, b.xml")
    members = (f"{package.images[0].name}.png", png()), ("palette.json", b"{}")
    refuse(archive(tmp_path / "masks.zip", *members), "masks.zip: palette.json: is no export")
    packed = tmp_path / "packed" / "job 1.zip"
    packed.parent.mkdir()
    refuse(archive(packed, ("a.json", b"[]")).parent, "job 1.zip is an archive")
    refuse(archive(tmp_path / "tif.zip", ("a.tif", b"hello")), "(a.tif is no PNG; save label maps")
    backup = (
        ("task_0/annotations.json", b"[]"),
        ("task_0/task.json", b"{}"),
        ("project.json", b"{}"),
    )
    refuse(archive(tmp_path / "backup.zip", *backup), "is a backup of CVAT")
    refuse(package.folder, "is a labelling package, with the first guess")
    refuse(package.folder.parent, "is a labelling package, with the first guess")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("{}.json", b'{"shapes": [], "imagePath": "a.png"}', "a.json: is of labelme"),
        ("{}.xml", b"<annotation><object/></annotation>", "a.xml: is of LabelMe or PASCAL VOC"),
        ("{}.xml", b"<annotations><image/></annotations>", "several files of answers (a.xml, b"),
    ],
)
def test_files_for_each_image_are_called_what_they_are(refuse, tmp_path, name, data, words):
    (tmp_path / "answers").mkdir()
    for stem in "ab":
        (tmp_path / "answers" / name.format(stem)).write_bytes(data)
    refuse(tmp_path / "answers", words)


@pytest.mark.parametrize(
    "label_map",
    [
        b"\xff\xfe",
        b"road",
        b"road:1,2::",
        b"road:a,b,c::",
        b"road:1,2,3,4::",
        b"road:1,2,3::\ncar:1,2,3::",
    ],
)
def test_broken_label_maps(package, refuse, tmp_path, label_map):
    name = f"SegmentationClass/{package.images[0].name}.png"
    refuse(
        archive(tmp_path / "answers.zip", ("labelmap.txt", label_map), (name, png())),
        "labelmap.txt",
    )


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
    refuse(path.parent, "mode I")  # before version 11, Pillow reads "I;16" as "I"
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


def test_maps_of_region_numbers_are_no_answers(package, refuse):
    refuse(package.folder / "regions", "holds the numbers of the asked regions")


INDEXED = {  # what is inside and outside of the asked regions; None: black, a text: its class
    "grey around": ("road", "car", (64, 64, 64), "numbers and colours"),
    "grey around, unpainted within": ("sidewalk", None, (64, 64, 64), "numbers and colours"),
    "smoothed edges": ("road", (9, 60, 9), None, "numbers and colours"),
    "smoothed edges of many colours": ("road", (9, 60, 9), None, "colour [9, 60, 9]"),
    "grey codes of an optimiser": ((1, 1, 1), (2, 2, 2), (0, 0, 0), "numbers and colours"),
}


@pytest.mark.parametrize("case", INDEXED)
def test_palettes_of_drawing_programs_are_not_read_by_number(package, refuse, tmp_path, case):
    *painted, words = INDEXED[case]
    known = {c.name: c.color for c in package.classes.classes}
    colors = [known.get(color, color) or (0, 0, 0) for color in painted]
    numbers = np.where(np.arange(SIZE[1]) % 2, 1, 2) * np.ones(SIZE, int)
    numbers[package.read_numbers(package.images[0]) == 0] = 0
    palette = [colors[2], colors[1], colors[0]]
    if "many" in case:  # numbers beyond the codes
        numbers, palette = numbers + 200, [(0, 0, 0)] * 200 + palette
    picture = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    picture.putpalette(np.array(palette).ravel().tolist())
    (tmp_path / "answers").mkdir()
    picture.save(tmp_path / "answers" / f"{package.images[0].name}.png")
    refuse(tmp_path / "answers", words)


def test_one_bad_file_keeps_the_good_ones_out(shared, package, tmp_path):
    (tmp_path / "good.json").write_text(one_coco(package, [[8, 0, 16, 0, 16, 8, 8, 8]]))
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(UserError, match=r"bad\.json"):
        shared.take(tmp_path / "good.json", tmp_path / "bad.json")
    assert not (shared.folder / "annotation" / "labels").exists()
    shared.take(tmp_path / "good.json")
    before = shared.files()
    with pytest.raises(UserError, match=r"bad\.json"):
        shared.take(tmp_path / "good.json", tmp_path / "bad.json")
    assert shared.files() == before


def test_images_of_no_package_are_told_of_and_left(shared, package, refuse, tmp_path, capsys):
    content = json.loads(one_coco(package, [[8, 0, 16, 0, 16, 8, 8, 8]]))
    content["images"].append({"id": 2, "file_name": "other\n.png", "height": 5, "width": 5})
    (tmp_path / "a.json").write_text(json.dumps(content))
    shared.take(tmp_path / "a.json")
    assert "other\\n.png: is in no labelling package" in capsys.readouterr().out
    content["images"] = content["images"][1:]
    content["annotations"] = []
    (tmp_path / "b.json").write_text(json.dumps(content))
    refuse(tmp_path / "b.json", f"packages (such as {package.images[0].file}); nothing")


def test_a_changed_name_is_told_with_the_one_that_is_meant(
    shared, package, refuse, tmp_path, capsys
):
    name = package.images[0].name
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / f"{name} copy.png").write_bytes(png())
    refuse(tmp_path / "answers", "no answers for any image")
    told = f"{name} copy.png: is in no labelling package; not taken (did you mean {name}?"
    assert told in capsys.readouterr().out


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


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_brush_strokes_that_do_not_name_their_image(refuse, tmp_path, suffix):
    """Label Studio's "Brush labels to PNG" and "to NumPy" name tasks by number alone."""
    name = f"task-1-annotation-7-by-1-brush-car-0.{suffix}"
    refuse(archive(tmp_path / "a.zip", (name, png())), '"JSON"')


def test_exports_of_label_studio_that_lose_answers(shared, package, refuse, tmp_path, capsys):
    (tmp_path / "min.json").write_text('[{"image": "x", "brush": [], "id": 1}]')  # "JSON-MIN"
    refuse(tmp_path / "min.json", '"JSON"')
    (tmp_path / "a.csv").write_text("annotation_id,annotator,brush,id,image\n")
    refuse(tmp_path / "a.csv", "JSON")
    content = json.loads(one_coco(package, [[8, 0, 16, 0, 16, 8, 8, 8]]))
    content["info"] = {"contributor": "Label Studio Converter"}  # "Brush labels to COCO"
    refuse(archive(tmp_path / "b.zip", ("result_coco.json", json.dumps(content))), '"JSON"')
    content["info"] = {"contributor": "Label Studio"}  # "COCO", whose files it names anew
    entry = content["images"][0]
    entry["file_name"] = f"images/0123abcd__{entry['file_name']}"
    shared.take(archive(tmp_path / "c.zip", ("result.json", json.dumps(content))))
    told = capsys.readouterr().out
    assert "note: " in told and "leaves brush strokes out" in told and "1 answered" in told
    assert (shared.label(0)[shared.superpixels == 1] == 7).all()

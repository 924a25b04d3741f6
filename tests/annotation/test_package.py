"""What a package holds, where it comes from, and what is refused when it is written or read."""

import csv
import json
import shutil
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from annotation.classes import ClassList, distinct_colors
from annotation.drawing import polygons
from annotation.labels import Labels, label_name
from annotation.package import Package, check_package, load_packages
from annotation.write import write_package
from dataloader.active_set import ActiveSet
from dataloader.dataset_info import load_dataset
from tests.annotation.conftest import CHOSEN, HEIGHT, WIDTH, export_main, import_main
from tests.annotation.drawn import masks
from utils.errors import UserError
from utils.files import write_json
from utils.safe_pickle import load_pickle, save_pickle


def refused(call, *words: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    for word in words:
        assert word in error.value.line


def test_numbers_map_to_the_regions_of_the_selection(run):
    package = run.export("--round", "1")
    found = {
        run.index(i.key): [(r.number, r.id, r.pixels) for r in i.regions] for i in package.images
    }
    assert found == {1: [(1, 5, 64)], 2: [(1, 2, 64), (2, 3, 64)]}
    for image in package.images:
        numbers = package.read_numbers(image)
        for region in image.regions:
            assert np.array_equal(numbers == region.number, run.superpixels == region.id)


def test_coco_polygons_are_the_regions(run):
    package = run.export()
    content = json.loads((package.folder / "coco.json").read_text())
    for annotation in content["annotations"]:
        rles = coco_mask.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH)
        drawn = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
        assert np.array_equal(drawn, run.superpixels == annotation["attributes"]["region"])
        assert annotation["area"] == 64


def test_polygons_of_any_shape_are_filled_to_the_same_pixels():
    rng = np.random.default_rng(1)
    for _ in range(50):
        mask = rng.random((13, 17)) < 0.6
        filled = np.zeros_like(mask)
        for part in polygons(mask):
            rles = coco_mask.frPyObjects([part.ravel().tolist()], *mask.shape)
            filled |= coco_mask.decode(rles[0]).astype(bool)
        assert (filled >= mask).all()  # holes are filled
        border = np.pad(~mask, 1, constant_values=True)
        outer = _reachable(border)[1:-1, 1:-1]
        assert not (filled & outer).any()


def _reachable(free: np.ndarray) -> np.ndarray:
    """Pixels that are reached from the corner through free ones, diagonals not crossed."""
    reached = np.zeros_like(free)
    reached[0, 0] = True
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= free
        if np.array_equal(grown, reached):
            return reached
        reached = grown


def test_classes_of_a_package_are_those_of_the_dataset(run):
    package = run.export()
    with (package.folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [*run.info.class_names, "void", "skip"]
    assert [int(row["id"]) for row in rows] == list(range(21))
    assert [row["label_id"] for row in rows[:3]] == ["7", "8", "11"]
    colors = [[int(row[c]) for c in ("red", "green", "blue")] for row in rows]
    assert colors[:19] == run.info.palette
    interface = ElementTree.parse(package.folder / "label_studio.xml")
    named = [e.get("value") for e in interface.findall("BrushLabels/Label")]
    assert named == [row["name"] for row in rows]
    labels = json.loads((package.folder / "cvat_labels.json").read_text())
    assert [label["name"] for label in labels] == [*named, "asked region"]


def test_label_ids_are_the_smallest_of_each_class_and_255_where_it_is_free():
    info = load_dataset("cityscapes")
    table = {0: 9, 4: 0, 5: 0, 7: 1, 255: 2, 300: 1}
    info = replace(info, label_to_train=table, class_names=["a", "b", "c"], palette=[[1, 2, 3]] * 3)
    classes = ClassList.of_dataset(replace(info, label_to_train={4: 0, 5: 0, 7: 1, 255: 2, 300: 1}))
    assert [c.label_id for c in classes.classes] == [4, 7, 255, None, None]
    assert classes.unanswered_id == 254
    assert len({c.color for c in classes.classes}) == 5
    refused(lambda: ClassList.of_dataset(replace(info, label_to_train={300: 0})), "8-bit")
    full = dict.fromkeys(range(256), 0)
    refused(lambda: ClassList.of_dataset(replace(info, label_to_train=full)), "8-bit")


def test_a_dataset_may_have_classes_called_void_and_skip(run):
    names = ["void", "Skip", "asked region"]
    info = replace(run.info, label_to_train={0: 0, 1: 1, 2: 2}, class_names=names)
    classes = ClassList.of_dataset(replace(info, palette=[[0, 0, 0], [9, 9, 9], [10, 10, 10]]))
    assert [c.name for c in classes.classes] == [*names, "void_", "skip_"]
    assert classes.region.name == "asked region_"
    accented = replace(info, class_names=["stra\u00dfe", "ge\u0301nie", "Fe\u0301\u0301"])
    accented = ClassList.of_dataset(accented)
    assert [accented.code_of(n) for n in ("STRASSE", "G\u00c9NIE", "f\u00e9\u0301")] == [0, 1, 2]
    assert [classes.code_of(n) for n in ("VOID", "skip", "void_", "skip_")] == [0, 1, 3, 4]


def test_a_palette_that_is_changed_between_rounds_leaves_the_colours_of_the_run(
    run, tmp_path, caplog
):
    first = run.export("--round", "0")
    content = json.loads(run.info.path.read_text())
    (tmp_path / "info.json").write_text(json.dumps(content | {"palette": content["palette"][::-1]}))
    second = run.export("--trg_dataset", str(tmp_path / "info.json"))
    assert second.name != first.name and second.classes == first.classes
    content["class_names"][0] = "street"
    (tmp_path / "info.json").write_text(json.dumps(content))
    out = str(run.folder / "annotation" / "round_02")
    run.export("--trg_dataset", str(tmp_path / "info.json"), "--out", out)
    told = "'street', id 0, label id 7, is 'road', id 0, label id 7 there"
    assert told in caplog.text
    refused(lambda: load_packages(run.folder / "annotation"), "its classes are not those of", told)


def test_colours_that_look_alike_or_black_are_replaced():
    colors = distinct_colors([(0, 0, 0), (200, 0, 0), (200, 3, 0), (5, 5, 5), *[(9, 9, 9)] * 250])
    assert colors[1] == (200, 0, 0)
    array = np.array([(0, 0, 0), *colors])
    distance = np.abs(array[:, None] - array[None]).max(2) + 999 * np.eye(len(array), dtype=int)
    assert distance.min() >= 8
    wanted = [(128, 64, 128), (128, 64, 129), (32, 224, 32)]
    assert distinct_colors(wanted)[::2] == wanted[::2]


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "b")
        self.links += [value for key, value in attrs if key in ("href", "src")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_needs_no_network_and_escapes_names(run):
    package = run.export("--round", "0")
    page = (package.folder / "index.html").read_text(encoding="utf-8")
    parser = Links()
    parser.feed(page)
    assert len(parser.links) > 10
    for link in parser.links:
        assert (package.folder / link).exists()
    text = "".join(parser.texts)
    assert "img/day/ä,<&>.png" in text
    assert "4 of 4 regions are left, 256 pixels in all" in text


def test_only_the_formats_that_are_wanted(run):
    package = run.export("--format", "coco")
    names = {path.name for path in package.folder.iterdir()}
    assert "coco.json" in names
    assert not names & {"masks", "masks_color", "label_studio.json", "cvat_images.xml"}


def test_images_are_upright_and_copied_as_they_are_where_browsers_show_them_so(run):
    path = Path(run.items[1].image)
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 3
    picture.save(path, exif=exif)
    package = run.export()
    turned, plain = (package.folder / "images" / image.file for image in package.images)
    assert np.array_equal(np.asarray(Image.open(turned)), np.asarray(picture)[::-1, ::-1])
    assert plain.suffix == ".jpg" and plain.read_bytes() == Path(run.items[2].image).read_bytes()


def test_a_run_of_another_machine(run, tmp_path, capsys):
    moved = tmp_path / "elsewhere"
    run.root.rename(moved)
    run.root = moved
    assert len(run.export("--round", "0").images) == 2
    shutil.rmtree(run.folder / "annotation")
    moved.rename(tmp_path / "third")
    run.root = tmp_path
    package = run.export("--round", "0", "--relocate", f"{tmp_path / 'data'}={tmp_path / 'third'}")
    assert [image.key for image in package.images] == [
        "third/img/day/a b.png",
        "third/img/day/ä,<&>.png",
    ]


def test_a_package_elsewhere(run, tmp_path):
    export_main(
        ["-p", str(run.folder), "--trg_data_dir", str(run.root), "--out", str(tmp_path / "o #1")]
    )
    package = Package.load(tmp_path / "o #1")
    task = json.loads((package.folder / "label_studio.json").read_text())[0]
    assert task["data"]["image"].startswith("/data/local-files/?d=o%20%231/images/")
    drawn = {image.name: np.zeros(image.size, np.uint8) for image in package.images}
    answers = masks(package, drawn, tmp_path / "a", "grey")
    refused(lambda: run.take(answers), "no labelling package")
    run.take(answers, "--package", package.folder)
    assert (run.label(1)[run.superpixels == 5] == 7).all()


def test_what_export_refuses(run, tmp_path):
    refused(lambda: run.export("--round", "7"), "round 7", "--round")
    refused(lambda: run.export("--no-prefill", "--pred_dir", "x"), "--no-prefill")
    refused(lambda: run.export("-p", str(tmp_path / "nothing")), "no such folder")
    refused(lambda: run.export("-p", str(tmp_path / "data")), "no round has selected")
    pred = tmp_path / "pred"
    pred.mkdir()
    for item in run.items[:2]:
        Image.new("L", (8, 8)).save(pred / f"{Path(item.image).stem}.png")
    refused(lambda: run.export("--round", "0", "--pred_dir", str(pred)), "8 x 8", "--no-prefill")
    assert not list((run.folder / "annotation").glob("*"))
    run.export()
    refused(lambda: run.export(), "is there already")
    superpixels = {run.items[0].superpixel: [40]}
    folder = run.folder / "annotation" / "x"
    refused(lambda: write_package(folder, run.items, superpixels, run.info, None), "region 40")
    refused(lambda: write_package(folder, run.items, {}, run.info, None), "nothing to label")
    Image.fromarray(np.arange(768).astype(np.uint8).reshape(24, 32)).save(run.items[0].superpixel)
    superpixels = {run.items[0].superpixel: list(range(256))}
    refused(
        lambda: write_package(folder, run.items, superpixels, run.info, None),
        f"{run.items[0].superpixel}: 256 regions, but people can be asked for at most 255",
    )


def test_a_round_that_people_are_asked_about_has_a_package_before_and_after_their_answers(run):
    """And after them, regions that they skipped are in none."""
    before = ActiveSet.load(run.folder / "datalist_00.pkl", run.root, run.root)
    path = run.folder / "datalist_01.pkl"
    done = ActiveSet.load(path, run.root, run.root)
    asked = {item.superpixel: ids for item, ids in zip(run.items[1:], ([5], [2, 3]), strict=True)}
    waiting = ActiveSet(before.source, before.target, done.pool, before.labelled, asked)
    waiting.save(path)
    assert [len(image.regions) for image in run.export().images] == [1, 2]

    waiting.settle(lambda path, region: "dropped" if region == 2 else "labelled")
    waiting.save(path)
    out = ("--out", str(run.folder / "annotation" / "round_01b"))
    refused(lambda: run.export(*out), "has as labelled or asked for")
    write_json(run.folder / "AL_record" / "round_01.json", {"answers": {"skipped": 1}})
    run.export(*out)
    package = Package.load(run.folder / "annotation" / "round_01b")
    assert [[r.id for r in image.regions] for image in package.images] == [[5], [3]]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows + rows[:1],
        lambda rows: [(0.5, "a,b,c", 1)],
        lambda rows: [(0.5, rows[0][1], 7)],
        lambda rows: [(0.5, rows[0][1], True)],
        lambda rows: {"a": 1},
        lambda rows: [1, 2],
    ],
)
def test_selections_that_do_not_fit_the_run_are_refused(run, change):
    path = run.folder / "density_selection_01.pkl"
    save_pickle(path, change(load_pickle(path)))
    refused(run.export, path.name)


def test_import_refuses_a_superpixel_map_or_region_map_that_has_changed(run, tmp_path):
    package = run.export("--round", "0")
    drawn = {image.name: np.zeros(image.size, np.uint8) for image in package.images}
    answers = masks(package, drawn, tmp_path / "a", "grey")
    Image.fromarray(run.superpixels[::-1].copy()).save(run.items[0].superpixel)
    refused(lambda: run.take(answers), run.items[0].superpixel, "restore")
    Image.fromarray(run.superpixels).save(run.items[0].superpixel)
    path = package.folder / "regions" / f"{package.images[0].name}.png"
    Image.fromarray(run.superpixels).save(path)
    refused(lambda: run.take(answers), path.name)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', '{"version": 2}'])
def test_import_refuses_a_damaged_manifest_or_record(run, tmp_path, content):
    package = run.export("--round", "0")
    drawn = {image.name: np.zeros(image.size, np.uint8) for image in package.images}
    answers = masks(package, drawn, tmp_path / "a", "grey")
    run.take(answers)
    record = run.folder / "annotation" / "labels" / "answers.json"
    record.write_text(content)
    refused(lambda: run.take(answers), "answers.json")
    (package.folder / "package.json").write_text(content)
    refused(lambda: run.take(answers), "package.json")
    refused(lambda: import_main(["-p", str(tmp_path), str(answers)]), "no labelling package")


def test_a_package_of_an_earlier_run_is_not_taken_for_that_of_a_round(run):
    package = run.export("--round", "0")
    asked = {run.items[n].superpixel: ids for n, ids in CHOSEN[0].items()}
    regions = {item.superpixel: dict.fromkeys(range(12), 64) for item in run.items}
    check_package(package.folder, run.items, asked, regions, run.root)
    fewer = {path: ids[:1] for path, ids in asked.items()}
    other = {path: areas | {6: 63} for path, areas in regions.items()}  # of superpixels made anew
    for selected, areas, words in (
        (fewer, regions, "(4 regions, of which 2 are among the 2 that"),
        (asked, other, "(4 regions, of which 3 are among the 4 that"),
    ):
        call = partial(check_package, package.folder, run.items, selected, areas, run.root)
        refused(call, "round_00: is a labelling package of an earlier run", words, "--resume")


def test_answers_for_regions_of_another_superpixel_map_are_refused(run, tmp_path):
    package = run.export("--round", "0")
    drawn = {image.name: np.zeros(image.size, np.uint8) for image in package.images}
    answers = masks(package, drawn, tmp_path / "a", "grey")
    run.take(answers)
    shutil.rmtree(package.folder)
    for item in run.items:
        Image.fromarray(run.superpixels[::-1].copy()).save(item.superpixel)
    run.export("--round", "0")
    refused(lambda: run.take(answers), "answers.json: has answers for regions of another")


def test_an_import_that_was_killed_at_its_end_loses_nothing(run, tmp_path):
    package = run.export("--round", "0")
    drawn = {image.name: np.zeros(image.size, np.uint8) for image in package.images}
    run.take(masks(package, drawn, tmp_path / "a", "grey"))
    before = run.files()
    folder = run.folder / "annotation"
    (folder / "labels").rename(folder / ".labels.old")
    labels = Labels(folder / "labels", Package.load(package.folder).classes)
    assert run.files() == before
    assert dict(labels.statuses(package.images[0].key)) == {1: "answered", 6: "answered"}


def test_each_image_has_a_label_map_of_its_own():
    keys = ("a/b.png", "a/b.jpg", "../a/b.png", "/a/c.png", "../../x/../a.png")
    assert [label_name(key) for key in keys] == [
        "a/b.png",
        "a/b.jpg.png",
        "elsewhere/a/b.png",
        "elsewhere/a/c.png",
        "elsewhere/x/a.png",
    ]

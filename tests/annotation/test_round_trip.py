"""Each format: regions out, labelled as a person would, and in again."""

import importlib
import json
import shutil
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation.coco import turned
from annotation.package import Package
from dataloader.active_set import ActiveSet
from tests.annotation.conftest import BLOCK, CHOSEN, HEIGHT, WIDTH, Run
from tests.annotation.drawn import (
    TOOLS,
    Drawn,
    chunk,
    coco,
    label_studio,
    masks,
    one_coco,
    one_cvat,
    one_task,
)
from utils.errors import UserError
from utils.files import locked_folder
from utils.safe_pickle import load_pickle, save_pickle


def answers(run: Run, package: Package, whole: bool = False) -> Drawn:
    """The truth inside of the asked regions, or everywhere."""
    drawn = {}
    for image in package.images:
        asked = np.isin(run.superpixels, [region.id for region in image.regions]) | whole
        drawn[image.name] = np.where(asked, run.truth_of(image.key), 255).astype(np.uint8)
    return drawn


def statuses(run: Run) -> dict[str, dict[str, str]]:
    content = json.loads((run.folder / "annotation" / "labels" / "answers.json").read_text())
    return {
        key: {region: entry["status"] for region, entry in image["regions"].items()}
        for key, image in content["images"].items()
    }


@pytest.mark.parametrize("tool", TOOLS)
def test_answers_of_each_tool_become_the_truth_inside_of_the_asked_regions(
    run, tool, tmp_path, capsys
):
    package = run.export("--round", "0")
    drawn = answers(run, package)
    run.take(TOOLS[tool](package, drawn, tmp_path))
    assert "of 4 regions asked for: 4 answered, 0 void, 0 skipped, 0 missing" in (
        capsys.readouterr().out
    )
    for n, regions in ((0, [1, 6]), (1, [0, 11])):
        assert np.array_equal(run.label(n), run.expected(n, regions))


@pytest.mark.parametrize("tool", ["coco polygons", "grey masks", "label studio brush"])
def test_pixels_outside_of_the_asked_regions_are_told_of_and_not_taken(run, tool, tmp_path, capsys):
    package = run.export("--round", "0")
    run.take(TOOLS[tool](package, answers(run, package, whole=True), tmp_path))
    outside = HEIGHT * WIDTH - 2 * BLOCK * BLOCK
    assert capsys.readouterr().out.count(f"{outside} pixels outside of the asked regions") == 2
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize(
    ("around", "within", "note"),
    [
        (0, 0, "are 0, which is class 'road'"),
        (0, 2, "did the tool count from 1?"),
        (255, 0, None),
        (255, 2, None),
        (None, 0, None),
    ],
)
def test_zeros_around_the_asked_regions_are_told_of_once(
    run, tmp_path, capsys, around, within, note
):
    """Perhaps 0 was meant as not painted; None: whole images are labelled."""
    package = run.export("--round", "0")
    drawn = answers(run, package, whole=around is None)
    for image in package.images:
        codes, asked = drawn[image.name], package.read_numbers(image) > 0
        codes[asked] = np.where(np.arange(asked.sum()) % 2, 10, within)
        if around is not None:
            codes[~asked] = around
    run.take(masks(package, drawn, tmp_path / "a", "grey"))
    told = capsys.readouterr().out
    assert told.count("note: ") == bool(note) and (note or "") in told


def test_the_first_guess_comes_back_from_every_file_of_the_package(run, tmp_path, capsys):
    pred = tmp_path / "pred"
    for n, item in enumerate(run.items[:2]):
        pred.mkdir(exist_ok=True)
        Image.fromarray(run.truth[n]).save(pred / f"{Path(item.image).stem}.png")
    package = run.export("--round", "0", "--pred_dir", str(pred))
    capsys.readouterr()
    tasks = json.loads((package.folder / "label_studio.json").read_text())
    for task in tasks:  # a person accepts a prediction: its result becomes an annotation
        task["annotations"] = task.pop("predictions")
    (tmp_path / "accepted.json").write_text(json.dumps(tasks))
    names = ("coco.json", "cvat_images.xml", "cvat_masks.zip", "masks", "masks_color")
    for path in [*(package.folder / name for name in names), tmp_path / "accepted.json"]:
        run.take(path)
        told = capsys.readouterr().out
        assert told.count("2 answered; 2 of them just as the first guess") == 2
        assert "note: all answers are just the first guess" in told
        assert "two answers" not in told
        for n, regions in ((0, [1, 6]), (1, [0, 11])):
            assert np.array_equal(run.label(n), run.expected(n, regions))
        shutil.rmtree(run.folder / "annotation" / "labels")


def test_a_first_guess_replaces_no_answer_and_it_is_said(run, tmp_path, capsys):
    """As when somebody submits a task as it is, after another one corrected it."""
    (tmp_path / "pred").mkdir()
    for n, item in enumerate(run.items[:2]):
        Image.fromarray(run.truth[n]).save(tmp_path / "pred" / f"{Path(item.image).stem}.png")
    package = run.export("--round", "0", "--pred_dir", str(tmp_path / "pred"))
    drawn = {image.name: np.full((HEIGHT, WIDTH), 4, np.uint8) for image in package.images}
    corrected = masks(package, drawn, tmp_path / "a", "grey")
    guess = package.folder / "coco.json"
    for files in ([corrected, guess], [guess, corrected], [corrected], [guess]):
        run.take(*files)
        told = capsys.readouterr().out
        kept = 4 * (files[-1] == guess)
        assert told.count("is just the first guess, the earlier answer kept") == kept
        assert told.count("differs from") == (4 if files == [guess, corrected] else 0)
        assert "4 answered, 0 void, 0 skipped, 0 missing" in told
        assert (run.label(0)[run.superpixels == 1] == 13).all()
    run.take(guess, "--withdraw", "--package", package.folder)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("guess", ["right", "one class", "other classes", "none"])
@pytest.mark.parametrize(
    ("painted", "folder"), [("label ids", True), ("label ids", False), ("codes", True)]
)
def test_label_ids_instead_of_codes_are_told_by_the_first_guess(
    run, tmp_path, capsys, guess, painted, folder
):
    """All of these ids are codes of another class; answers may correct every guess."""
    content = json.loads(run.info.path.read_text())
    content["label_to_train"] = {str(i + 1): i for i in range(19)}
    info = tmp_path / "info.json"
    info.write_text(json.dumps(content))
    truth = [np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8))).astype(np.uint8)] * 2
    run.truth[:2] = truth
    flags = ["--round", "0", "--trg_dataset", str(info)]
    if guess != "none":
        (tmp_path / "pred").mkdir()
        flags += ["--pred_dir", str(tmp_path / "pred")]
    guesses = {"right": truth[0], "one class": 0 * truth[0], "other classes": truth[0] + 3}
    for item in run.items[:2] if guess in guesses else ():
        Image.fromarray(guesses[guess]).save(tmp_path / "pred" / f"{Path(item.image).stem}.png")
    package = run.export(*flags)
    drawn = answers(run, package)
    if painted == "label ids":
        drawn = {name: np.where(m < 255, m + 1, 255).astype("u1") for name, m in drawn.items()}
    path = masks(package, drawn, tmp_path / "a", "grey")
    run.take(*([path] if folder else sorted(path.iterdir())))
    told = capsys.readouterr().out
    assert ("a: its numbers seem to be label ids" in told) == (
        (guess, painted) == ("right", "label ids")
    )


def test_without_a_first_guess_an_untouched_package_answers_nothing(run, capsys):
    package = run.export("--round", "0")
    for name in ("coco.json", "cvat_images.xml", "cvat_masks.zip", "masks", "masks_color"):
        run.take(package.folder / name)
        assert "0 answered, 0 void, 0 skipped, 4 missing" in capsys.readouterr().out


def test_partial_answers_leave_regions_missing_and_later_imports_add_to_them(run, tmp_path, capsys):
    package = run.export("--round", "0")
    drawn = answers(run, package)
    first = {name: codes.copy() for name, codes in drawn.items()}
    sliver = run.superpixels == 6
    first[package.images[0].name][sliver & (np.arange(WIDTH) > 17)] = 255  # a border drawn too far
    run.take(masks(package, first, tmp_path / "one", "grey"))
    told = capsys.readouterr().out
    assert "1 missing: round_00 region 2 (only 25% of it labelled)" in told
    assert np.array_equal(run.label(0), run.expected(0, [1]))
    second = {name: np.full_like(codes, 255) for name, codes in drawn.items()}
    second[package.images[0].name][sliver] = drawn[package.images[0].name][sliver]
    run.take(masks(package, second, tmp_path / "two", "color"))
    told = capsys.readouterr().out
    assert "1 answered; 1 not in these files, but answered before" in told
    assert "4 answered, 0 void, 0 skipped, 0 missing" in told
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    before = run.files()
    run.take(tmp_path / "one", tmp_path / "two")
    assert run.files() == before


def ask(run: Run, number: int) -> None:
    """Let the datalist of a round ask for its regions, as with --oracle people."""
    path = run.folder / f"datalist_{number:02d}.pkl"
    active_set = ActiveSet.load(path, run.root, run.root)
    regions = [(run.items[n].superpixel, r) for n, ids in CHOSEN[number].items() for r in ids]
    for superpixel, region in regions:
        active_set.labelled[superpixel].remove(region)
        active_set.pool[superpixel].append(region)
    active_set.labelled = {path: ids for path, ids in active_set.labelled.items() if ids}
    active_set.ask(regions)
    active_set.save(path)


def test_answers_of_a_package_are_withdrawn_on_request(run, tmp_path, capsys):
    """As after maps in which what nobody painted was white, the colour of void."""
    ask(run, 1)
    first, last = run.export("--round", "0"), run.export()
    run.take(masks(first, answers(run, first), tmp_path / "first", "grey"))
    before = run.files()
    for name, code in (("white", last.classes.void), ("mended", 255)):
        drawn = {image.name: np.full((HEIGHT, WIDTH), code, np.uint8) for image in last.images}
        masks(last, drawn, tmp_path / name, "grey")
    run.take(tmp_path / "white", "--package", last.folder)
    run.take(tmp_path / "mended")
    assert "4 answered, 3 void, 0 skipped, 0 missing" in capsys.readouterr().out
    run.take(tmp_path / "mended", tmp_path / "first", "--withdraw", "--package", last.folder)
    told = capsys.readouterr().out
    assert "0 answered; earlier answers withdrawn: round_01 region 1; 128 pixels outside" in told
    assert "of 3 regions asked for: 0 answered, 0 void, 0 skipped, 3 missing" in told
    assert run.files() == before


@pytest.mark.parametrize("moved", [False, True])
def test_answers_that_a_run_has_labelled_regions_by_are_not_withdrawn(run, tmp_path, capsys, moved):
    first, last = run.export("--round", "0"), run.export()
    path = tmp_path / "empty.json"
    empty = {image.name: np.full((HEIGHT, WIDTH), 255, np.uint8) for image in first.images}
    coco(first, empty, path, "runs")
    for packages in ([], [first, last]):
        flags = [text for package in packages for text in ("--package", package.folder)]
        with pytest.raises(UserError, match="--withdraw: drops answers of one package"):
            run.take(path, "--withdraw", *flags)
    run.take(masks(first, answers(run, first), tmp_path / "first", "grey"))
    before = run.files()
    ask(run, 1)
    record = run.folder / "AL_record" / "round_00.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text('{"round": 0, "answers": {}}')
    if moved:
        text = (first.folder / "package.json").read_text().replace(str(run.root), "/elsewhere")
        (first.folder / "package.json").write_text(text)
    with pytest.raises(UserError, match=r"round_00 region 1 .* is labelled in .*datalist_01\.pkl"):
        run.take(path, "--withdraw", "--package", first.folder)
    assert run.files() == before
    record.write_text('{"round": 0}')  # what files labelled, people may give up
    run.take(path, "--withdraw", "--package", first.folder)
    assert "0 answered, 0 void, 0 skipped, 4 missing" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["grey", "color"])
@pytest.mark.parametrize(("right", "files"), [(0, [1]), (1, [0]), (0, [0, 1])])
def test_answers_of_another_round_are_not_lost_to_the_background_of_label_maps(
    run, tmp_path, kind, right, files
):
    """An image may be in two rounds, and a map of one of them says nothing of the other."""
    packages = [run.export("--round", "0"), run.export()]
    for package in packages:
        drawn = {n: np.where(c == 0, 2, c).astype("u1") for n, c in answers(run, package).items()}
        masks(package, drawn, tmp_path / f"right {package.name}", "grey")
        for file in masks(package, drawn, tmp_path / package.name, kind).iterdir():
            values = np.array(Image.open(file))
            nothing = values == 255 if kind == "grey" else (values == 0).all(2)
            stray = tuple(np.argwhere(nothing)[::99].T)  # strokes go a little too far
            values[nothing] = ~values[nothing]  # 0, or white
            values[stray] = values[~nothing][0]
            Image.fromarray(values).save(file)
    run.take(tmp_path / f"right {packages[right].name}")
    before = run.label(1)
    with pytest.raises(UserError, match=r"another answer would be lost to .* add --package"):
        run.take(*(tmp_path / packages[n].name for n in files))
    run.take(tmp_path / packages[1 - right].name, "--package", packages[1 - right].folder)
    asked = np.isin(run.superpixels, CHOSEN[right][1])
    assert np.array_equal(run.label(1)[asked], before[asked])


def test_other_processes_are_kept_out_only_while_answers_are_stored(run, tmp_path, monkeypatch):
    package, script = run.export("--round", "0"), importlib.import_module("annotation.import")
    path = masks(package, answers(run, package), tmp_path / "a", "grey")
    read, folder = script.read_answers, run.folder / "annotation"

    def read_beside_another(*args) -> None:
        with locked_folder(folder, "-p"):
            read(*args)

    monkeypatch.setattr(script, "read_answers", read_beside_another)
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    monkeypatch.setattr(script, "STORING_TAKES", 0)
    with locked_folder(folder, "-p"), pytest.raises(UserError, match="at work in it; wait"):
        run.take(path)


def test_images_of_another_round_than_the_one_named_are_called_so(run, tmp_path, capsys):
    first, second = run.export("--round", "0"), run.export()
    path = masks(second, answers(run, second), tmp_path / "a", "grey")
    run.take(path, "--package", first.folder)
    assert "is in none of the packages named; not taken" in capsys.readouterr().out


def test_rounds_add_up_and_one_file_may_answer_both(run, tmp_path):
    packages = [run.export("--round", "0"), run.export()]
    assert [p.name for p in packages] == ["round_00", "round_01"]
    for number, package in enumerate(packages):
        run.take(masks(package, answers(run, package), tmp_path / str(number), "grey"))
    apart = run.files()
    assert np.array_equal(run.label(1), run.expected(1, [0, 11, 5]))
    assert np.array_equal(run.label(2), run.expected(2, [2, 3]))
    shutil.rmtree(run.folder / "annotation" / "labels")
    run.take(tmp_path / "0", tmp_path / "1")
    assert run.files() == apart


def test_whole_images_of_a_later_round_replace_no_answer_of_an_earlier_one(run, tmp_path):
    """But one file may answer regions of an earlier round anew that is of this round alone."""
    first, second = run.export("--round", "0"), run.export()
    run.take(masks(first, answers(run, first), tmp_path / "first", "grey"))
    before = run.label(1)
    drawn = answers(run, second, whole=True)
    whole = masks(second, drawn, tmp_path / "whole", "color")
    run.take(whole)  # as answered before
    others = {name: np.where(codes == 0, 2, 0).astype(np.uint8) for name, codes in drawn.items()}
    other = masks(second, others, tmp_path / "other", "color")
    words = "of round_00 region 1, round_00 region 2 another answer would be replaced by .*other"
    for files in ([other], [tmp_path / "first", other]):
        with pytest.raises(UserError, match=f"{words}.*, which answers a later round.*--package"):
            run.take(*files)
    run.take(other, "--package", second.folder)
    asked = np.isin(run.superpixels, CHOSEN[0][1])
    assert np.array_equal(run.label(1)[asked], before[asked])
    for codes in others.values():
        codes[~asked] = 255
    run.take(masks(second, others, tmp_path / "corrected", "color"))
    assert (run.label(1)[asked] != before[asked]).all()


def test_a_correction_of_too_small_a_part_is_told_of(run, tmp_path, capsys):
    package = run.export("--round", "0")
    right = masks(package, answers(run, package), tmp_path / "right", "grey")
    part = {image.name: np.full((HEIGHT, WIDTH), 255, np.uint8) for image in package.images}
    part[package.images[0].name][:2, 8:14] = 13
    coco(package, part, tmp_path / "part.json", "runs")
    for files in ([right, tmp_path / "part.json"], [tmp_path / "part.json"]):
        run.take(*files)
        told = capsys.readouterr().out
        assert told.count("only 19% of round_00 region 1 in") == 1
        assert "part.json, not taken: label 50% of it or more" in told
        assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    assert "1 not in these files, but answered before; only 19%" in told


@pytest.mark.parametrize("stored", [True, False])
def test_answers_of_a_round_are_not_lost_to_the_background_of_another_persons_map(
    run, tmp_path, stored
):
    package = run.export("--round", "0")
    drawn = {n: np.where(c == 0, 2, c).astype("u1") for n, c in answers(run, package).items()}
    for person, region in (("anna", 1), ("bob", 6)):
        masks(package, drawn, tmp_path / person, "grey")
        for path in (tmp_path / person).iterdir():
            codes = np.array(Image.open(path))
            codes[run.superpixels != region] = 255 if person == "anna" else 0
            Image.fromarray(codes).save(path)
    if stored:
        run.take(tmp_path / "anna")
    words = "of round_00 region 1 another answer would be lost to 'road'.*; save what was not pain"
    with pytest.raises(UserError, match=words):
        run.take(*([] if stored else [tmp_path / "anna"]), tmp_path / "bob")
    run.take(tmp_path / "anna")
    run.take(tmp_path / "bob", "--package", package.folder)  # it is meant
    assert (run.label(0)[run.superpixels == 1] == 7).all()
    run.take(tmp_path / "anna")
    hers = run.label(0)
    for path in (tmp_path / "bob").iterdir():  # not painted is 255 now
        codes = np.array(Image.open(path))
        codes[run.superpixels != 6] = 255
        Image.fromarray(codes).save(path)
    run.take(tmp_path / "bob")
    assert np.array_equal(run.label(0), hers)


def test_the_later_of_two_answers_wins_and_it_is_said(run, tmp_path, capsys):
    package = run.export("--round", "0")
    right = answers(run, package)
    wrong = {name: np.where(codes < 255, 4, 255).astype(np.uint8) for name, codes in right.items()}
    files = [
        masks(package, wrong, tmp_path / "w", "grey"),
        coco(package, right, tmp_path / "r.json", "runs"),
    ]
    run.take(*files)
    told = capsys.readouterr().out
    assert told.count("differs from") == 4 and "the later one taken" in told
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    run.take(files[0])
    assert "replaces earlier answers of round_00 region 1, round_00 region 2" in (
        capsys.readouterr().out
    )
    assert (run.label(0)[run.superpixels == 1] == 13).all()


def test_shapes_that_overlap_count_from_the_top_and_it_is_said(run, tmp_path, capsys):
    package = run.export("--round", "0")
    content = json.loads((package.folder / "coco.json").read_text())
    ids = {c["name"]: c["id"] for c in content["categories"]}
    box = [[8, 0, 16, 0, 16, 8, 8, 8]]
    for name in ("road", "car"):
        content["annotations"].append(
            {"image_id": 1, "category_id": ids[name], "segmentation": box}
        )
    (tmp_path / "a.json").write_text(json.dumps(content))
    run.take(tmp_path / "a.json")
    assert "64 pixels with two answers, the later one taken" in capsys.readouterr().out
    assert (run.label(0)[run.superpixels == 1] == 26).all()


def test_cvat_shapes_lie_in_the_order_of_z_order(run, tmp_path):
    package = run.export("--round", "0")
    box = 'xtl="8" ytl="0" xbr="16" ybr="8"'
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="{package.images[0].file}" width="32" height="24">'
        f'<box label="car" z_order="2" {box}/><box label="road" z_order="1" {box}/>'
        "</image></annotations>"
    )
    run.take(tmp_path / "a.xml")
    assert (run.label(0)[run.superpixels == 1] == 26).all()


@pytest.mark.parametrize(
    ("source", "layer", "expected"),
    [("auto", 0, 26), ("file", 0, 26), ("manual", 0, 7), ("auto", 1, 7)],
)
def test_cvat_shapes_of_people_lie_over_the_first_guess_of_their_layer(
    run, tmp_path, source, layer, expected
):
    package = run.export("--round", "0")
    box = 'xtl="8" ytl="0" xbr="16" ybr="8"'
    drawn = f'<box label="car" source="manual" z_order="0" {box}/>'
    drawn += f'<box label="road" source="{source}" z_order="{layer}" {box}/>'
    (tmp_path / "a.xml").write_text(one_cvat(package, drawn))
    run.take(tmp_path / "a.xml")
    assert (run.label(0)[run.superpixels == 1] == expected).all()


@pytest.mark.parametrize("tool", TOOLS)
def test_void_and_skip(run, tool, tmp_path, capsys):
    package = run.export("--round", "0")
    classes = package.classes
    drawn = answers(run, package)
    first, second = (drawn[image.name] for image in package.images)
    first[run.superpixels == 1] = classes.void
    first[run.superpixels == 6] = classes.skip
    first[16:20, 16:20] = 255
    second[:8, :4] = classes.void
    run.take(TOOLS[tool](package, drawn, tmp_path))
    assert "2 answered, 1 void, 1 skipped, 0 missing" in capsys.readouterr().out
    key = Path(run.items[0].image).relative_to(run.root).as_posix()
    assert statuses(run)[key] == {"1": "void", "6": "skipped"}
    assert (run.label(0) == 255).all()
    assert (run.label(1)[:8, :4] == 255).all() and (run.label(1)[:8, 4:8] != 255).all()
    page = (package.folder / "index.html").read_text()
    assert "All 4 regions are answered" in page and "skipped" in page


@pytest.mark.parametrize("tag", ["checked", "void"])
def test_other_tags_of_cvat_are_told_of_and_left(run, tmp_path, capsys, tag):
    package = run.export("--round", "0")
    shapes = f'<tag label="{tag}"/><box label="car" xtl="8" ytl="0" xbr="16" ybr="8" z_order="0"/>'
    (tmp_path / "a.xml").write_text(one_cvat(package, shapes))
    run.take(tmp_path / "a.xml")
    assert f"tag '{tag}' of 1 images is no answer; only the tag 'skip'" in capsys.readouterr().out
    assert (run.label(0)[run.superpixels == 1] == 26).all()


@pytest.mark.parametrize("rle", ["", "0"])
def test_masks_of_cvat_may_be_empty(run, tmp_path, rle):
    """As those that others were drawn over, with "Remove underlying pixels"."""
    package = run.export("--round", "0")
    (tmp_path / "a.xml").write_text(
        one_cvat(
            package,
            f'<mask label="sky" rle="{rle}" left="0" top="0" width="1" height="1" z_order="0"/>'
            '<box label="car" xtl="8" ytl="0" xbr="16" ybr="8" z_order="0"/>',
        )
    )
    run.take(tmp_path / "a.xml")
    assert (run.label(0)[run.superpixels == 1] == 26).all()


def test_a_skip_tag_of_cvat_skips_all_regions_of_its_image(run, tmp_path):
    package = run.export("--round", "0")
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="{package.images[1].file}" width="32" height="24">'
        '<tag label="Unreadable" source="manual"></tag>'
        '<box label="road" z_order="1" xtl="0" ytl="0" xbr="32" ybr="24"/></image></annotations>'
    )
    run.take(tmp_path / "a.xml")
    assert list(statuses(run).values()) == [{"0": "skipped", "11": "skipped"}]


def test_a_skip_tag_of_cvat_is_of_one_round(run, tmp_path):
    first, second = run.export("--round", "0"), run.export()
    run.take(masks(first, answers(run, first), tmp_path / "first", "grey"))
    name = next(image.file for image in second.images if image.name == first.images[1].name)
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="{name}" width="32" height="24"><tag label="skip"/></image>'
        "</annotations>"
    )
    with pytest.raises(UserError, match="tag 'skip' may be of any of 2 rounds; add --package"):
        run.take(tmp_path / "a.xml")
    for package, skipped in ((second, {"5"}), (first, {"5", "0", "11"})):
        run.take(tmp_path / "a.xml", "--package", package.folder)
        (found,) = (s for s in statuses(run).values() if "5" in s)
        assert {region for region, status in found.items() if status == "skipped"} == skipped


@pytest.mark.parametrize("together", [True, False])
def test_the_last_changed_annotation_of_an_image_wins_and_cancelled_ones_are_none(
    run, tmp_path, together
):
    """Also of several tasks, as after the same tasks were imported twice."""
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    tasks = json.loads(path.read_text())
    for task in tasks:
        right = task["annotations"][0]
        wrong = json.loads(json.dumps(right).replace('"car"', '"road"').replace('"sky"', '"road"'))
        task["annotations"] = [
            {**right, "updated_at": "2026-03-02T09:00:00Z"},
            {**wrong, "updated_at": "2026-03-01T23:00:00Z"},
            {**wrong, "updated_at": "2026-03-02T10:30:00.500+02:00"},
            {**wrong, "created_at": "once"},
            {**wrong, "updated_at": "2026-03-03T09:00:00Z", "was_cancelled": True},
        ]
    if not together:
        tasks = [{**task, "annotations": [a]} for task in tasks for a in task["annotations"]]
    path.write_text(json.dumps(tasks))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


REVIEWS = {  # what tells of a review -> whether the annotation is taken
    "rejected": ({"reviews": [{"accepted": False}]}, False),
    "accepted": ({"reviews": [{"accepted": True}]}, True),
    "accepted at last": (
        {
            "reviews": [
                {"accepted": True, "created_at": "2026-03-02T09:00:00Z"},
                {"accepted": False, "created_at": "2026-03-01T09:00:00Z"},
            ]
        },
        True,
    ),
    "last action": ({"last_action": "rejected"}, False),
    "mended since": ({"last_action": "updated", "reviews": [{"accepted": False}]}, True),
    "no review": ({"last_action": None, "reviews": []}, True),
}


@pytest.mark.parametrize(("review", "taken"), REVIEWS.values(), ids=REVIEWS)
def test_annotations_that_a_reviewer_rejected_are_no_answers(run, tmp_path, capsys, review, taken):
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    first, second = json.loads(path.read_text())
    first["annotations"][0] |= review
    path.write_text(json.dumps([first, second]))
    run.take(path)
    told = capsys.readouterr().out
    assert ("1 of 2 tasks have annotations that a reviewer rejected" in told) == (not taken)
    assert f"{4 if taken else 2} answered, 0 void, 0 skipped" in told


UNDONE = {
    "skipped": ({"annotations": [{"was_cancelled": True, "result": []}]}, "were skipped"),
    "untouched": ({"annotations": []}, "are not submitted"),
    "changed": ({"drafts": [5]}, "have drafts beside what was submitted"),
    "draft": ({"annotations": [], "drafts": [5]}, "have drafts alone"),
    "done": ({}, None),
}


@pytest.mark.parametrize(("change", "words"), UNDONE.values(), ids=UNDONE)
def test_tasks_that_are_not_done_are_told_of(run, tmp_path, capsys, change, words):
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    first, second = json.loads(path.read_text())
    path.write_text(json.dumps([first, second | change]))
    run.take(path)
    told = capsys.readouterr().out
    assert f"1 of 2 tasks {words}" in told if words else "note: " not in told


def test_results_that_draw_nothing_are_left_out(run, tmp_path):
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    tasks = json.loads(path.read_text())
    for kind, value in (("number", {"number": 7}), ("taxonomy", {"taxonomy": [["a", "b"]]})):
        tasks[0]["annotations"][0]["result"].append({"type": kind, "value": value})
    path.write_text(json.dumps(tasks))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


def test_drafts_are_told_of_and_a_task_may_come_alone(run, tmp_path, capsys):
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    first, *others = json.loads(path.read_text())
    path.write_text(json.dumps(first))
    run.take(path)
    assert "2 missing" in (alone := capsys.readouterr().out) and "have drafts" not in alone
    drawn = [task | {"annotations": [], "drafts": task["annotations"]} for task in others]
    path.write_text(json.dumps([first, *drawn]))
    run.take(path)
    told = f"{len(others)} of {len(others) + 1} tasks have drafts alone, which are no answers"
    assert told in capsys.readouterr().out


def test_archives_of_whole_exports_and_names_of_the_data_set_itself(run, tmp_path):
    package = run.export()
    drawn = answers(run, package)
    path = coco(package, drawn, tmp_path / "a.json", "compressed")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "annotations/instances_default.json")
        archive.writestr("images/readme.png", b"not looked at")
    run.take(tmp_path / "a.zip")
    assert np.array_equal(run.label(2), run.expected(2, [2, 3]))
    (tmp_path / "own").mkdir()
    Image.fromarray(np.full((HEIGHT, WIDTH), 11, np.uint8)).save(tmp_path / "own" / "a b.png")
    run.take(tmp_path / "own")
    assert (run.label(2)[run.superpixels == 2] == 24).all()


def test_the_package_moves_with_the_run_and_needs_no_data(run, tmp_path):
    package = run.export("--round", "0")
    path = masks(package, answers(run, package), tmp_path / "a", "grey")
    shutil.rmtree(run.root)
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


def test_a_region_is_skipped_where_skip_covers_more_than_classes_do(run, tmp_path):
    package = run.export("--round", "0")
    drawn = answers(run, package)
    first = drawn[package.images[0].name]
    columns = np.arange(WIDTH) % BLOCK
    first[(run.superpixels == 1) & (columns < 5)] = package.classes.skip
    first[(run.superpixels == 6) & (columns < 3)] = package.classes.skip
    run.take(masks(package, drawn, tmp_path / "a", "grey"))
    assert next(iter(statuses(run).values())) == {"1": "skipped", "6": "answered"}
    assert (run.label(0)[run.superpixels == 1] == 255).all()
    assert np.array_equal(
        run.label(0)[:, 19:], np.where(columns < 3, 255, run.expected(0, [6]))[:, 19:]
    )


def test_coco_files_of_a_project_with_subsets_are_read_together(run, tmp_path):
    package = run.export("--round", "0")
    path = coco(package, answers(run, package), tmp_path / "a.json", "runs")
    content = json.loads(path.read_text())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for subset, number in (("Train", 0), ("default", 1)):
            part = content | {
                "images": [i for i in content["images"] if i["id"] == number],
                "annotations": [a for a in content["annotations"] if a["image_id"] == number],
            }
            archive.writestr(f"annotations/instances_{subset}.json", json.dumps(part))
    run.take(tmp_path / "a.zip")
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    assert np.array_equal(run.label(1), run.expected(1, [0, 11]))


def test_images_without_size_and_shapes_are_left_out_of_coco(run, tmp_path):
    """As Label Studio writes tasks without annotations whose images it does not find."""
    package = run.export("--round", "0")
    path = coco(package, answers(run, package), tmp_path / "a.json", "runs")
    content = json.loads(path.read_text())
    content["images"].append({"id": 9, "file_name": "x.png", "width": None, "height": None})
    path.write_text(json.dumps(content))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("size", [0, None, "absent", 24.0])
@pytest.mark.parametrize("kind", ["runs", "compressed", "polygons"])
def test_coco_needs_no_sizes_of_images(run, tmp_path, kind, size):
    package = run.export("--round", "0")
    path = coco(package, answers(run, package), tmp_path / "a.json", kind)
    content = json.loads(path.read_text())
    for image in content["images"]:
        if size == "absent":
            del image["height"], image["width"]
        else:
            image |= {"height": size, "width": size and size + 8}
    path.write_text(json.dumps(content))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("form", [str, float])
@pytest.mark.parametrize("changed", [("image_id",), ("category_id", "id"), ("image_id", "id")])
def test_ids_of_coco_may_be_texts_or_floats(run, tmp_path, changed, form):
    package = run.export("--round", "0")
    path = coco(package, answers(run, package), tmp_path / "a.json", "runs")
    content = json.loads(path.read_text())
    for entry in (entry for part in content.values() for entry in part):
        entry |= {key: form(entry[key]) for key in changed if key in entry}
    path.write_text(json.dumps(content))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


RENAMED = {
    "capitals": ("{}.png", str.upper),
    "the image's suffix": ("{}.jpg.png", str),
    "uploaded, then exported": ("0123abcd__4567abcd-{}.png", str),
}


@pytest.mark.parametrize(("form", "change"), RENAMED.values(), ids=RENAMED)
def test_names_as_tools_and_systems_change_them(run, tmp_path, form, change):
    package = run.export("--round", "0")
    path = masks(package, answers(run, package), tmp_path / "a", "color")
    for image in package.images:
        (path / f"{image.name}.png").rename(path / change(form.format(image.name)))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


OWN_NAMES = [  # round 1 asks for regions of night/a b.jpg, and not for those of day/a b.png
    ("night/a b.png", True),
    ("a b.png", True),
    ("masks/a b.png", True),
    ("0123ABCD-a b.png", True),
    ("20230115-a b.png", False),  # an image of the target, too
    ("img/day/a b.png", False),
    ("somewhere/day/a b.png", False),
]


@pytest.mark.parametrize("named", ["root", "folder", "file", "archive"])
@pytest.mark.parametrize(("name", "taken"), OWN_NAMES)
def test_own_names_of_images_in_folders(run, tmp_path, capsys, name, taken, named):
    datalist = load_pickle(run.folder / "datalist_01.pkl")
    datalist["trg_pool_im_idx"].append([f"{run.root}/img/20230115-a b.png", "-", "another.png"])
    save_pickle(run.folder / "datalist_01.pkl", datalist)
    run.export()
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), 11, np.uint8)).save(path)
    given = {"root": tmp_path / "own", "folder": path.parent, "file": path}
    if named == "archive":
        given[named] = path.with_suffix(".zip")
        with zipfile.ZipFile(given[named], "w") as archive:
            archive.write(path, path.name)
    if not taken:
        with pytest.raises(UserError, match="no answers"):
            run.take(given[named])
        assert f"{path.name}: is in no labelling package" in capsys.readouterr().out
        return
    run.take(given[named])
    told = "is taken for img/night/a b.jpg, which is asked for, though the target has other images"
    assert (told in capsys.readouterr().out) == ("night" not in name)
    assert (run.label(2)[np.isin(run.superpixels, [2, 3])] == 24).all()


@pytest.mark.parametrize("whole", [True, False])
def test_own_names_of_two_asked_images_are_told_apart_by_their_folders(run, tmp_path, whole):
    run.export("--round", "0")
    run.export()
    for name, code in (("labels/day/a b.png", 11), ("labels/night/a b.png", 13)):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((HEIGHT, WIDTH), code, np.uint8)).save(path)
    name = unicodedata.normalize("NFD", "ä,<&>.png")  # as in archives of macOS
    Image.fromarray(np.full((HEIGHT, WIDTH), 0, np.uint8)).save(tmp_path / "own" / name)
    run.take(*([tmp_path / "own"] if whole else sorted((tmp_path / "own").rglob("*.png"))))
    assert (run.label(0)[run.superpixels == 1] == 24).all()
    assert (run.label(1)[run.superpixels == 5] == 7).all()
    assert (run.label(2)[run.superpixels == 2] == 26).all()


@pytest.mark.parametrize("folders", ["/round_00/images/", "\\"])
def test_masks_of_cvat_may_lie_in_folders_of_a_file_share_or_be_packed_by_windows(
    run, tmp_path, folders
):
    package = run.export("--round", "0")
    path = TOOLS["cvat segmentation mask"](package, answers(run, package), tmp_path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("/", folders), old.read(name))
    run.take(tmp_path / "b.zip")
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


def test_unpacked_masks_of_cvat_are_read_in_the_colours_of_their_own_list(run, tmp_path, capsys):
    package = run.export("--round", "0")
    path = TOOLS["cvat segmentation mask"](package, answers(run, package), tmp_path)
    for job, image in zip(("", "b"), package.images, strict=True):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "jobs" / job)
        (tmp_path / "jobs" / job / "SegmentationClass" / f"{image.name}.png").unlink()
    table = tmp_path / "jobs" / "labelmap.txt"
    first, *rows = (line.rsplit(":", 3)[:2] for line in table.read_text().splitlines()[1:])
    colors = [color for _, color in rows]
    for file in (tmp_path / "jobs" / "SegmentationClass").iterdir():
        values = np.asarray(Image.open(file)).copy()
        moved = values.copy()
        for old, new in zip(colors, colors[1:] + colors[:1], strict=True):
            rgb = [int(v) for v in old.split(",")]
            moved[(values == rgb).all(2)] = [int(v) for v in new.split(",")]
        Image.fromarray(moved).save(file)
    names = [name for name, _ in rows]
    moved = zip(names, colors[1:] + colors[:1], strict=True)
    table.write_text("\n".join(f"{name}:{color}::" for name, color in [first, *moved]))
    run.take(tmp_path / "jobs")
    assert "differs" not in capsys.readouterr().out
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
    assert np.array_equal(run.label(1), run.expected(1, [0, 11]))


TURNED = {  # each covers region 1, which is x 8 to 16 and y 0 to 8
    "cvat box": '<box label="car" xtl="10" ytl="-2" xbr="14" ybr="10" rotation="90"/>'
    '<box label="car" xtl="8" ytl="0" xbr="16" ybr="4" rotation="180"/>'
    '<box label="car" xtl="8" ytl="4" xbr="16" ybr="8" rotation="360.0"/>',
    "cvat ellipse": '<ellipse label="car" cx="12" cy="4" rx="9" ry="30" rotation="90"/>',
    "label studio": {"x": 50, "y": 0, "width": 25, "height": 100 / 3, "rotation": 90},
}


@pytest.mark.parametrize("tool", TURNED)
def test_shapes_may_be_turned(run, tmp_path, tool):
    package = run.export("--round", "0")
    path = tmp_path / ("a.json" if tool == "label studio" else "a.xml")
    if tool == "label studio":
        value = TURNED[tool] | {"rectanglelabels": ["car"]}
        path.write_text(one_task(package, value, "rectanglelabels"))
    else:
        path.write_text(one_cvat(package, TURNED[tool]))
    run.take(path)
    assert (run.label(0)[run.superpixels == 1] == 26).all()


def test_shapes_are_turned_clockwise():
    assert np.allclose(turned([5, 1, 3, 1], 30, (3, 1)), [3 + 3**0.5, 2, 3, 1])


def with_class_background(run: Run) -> None:
    """Let people label cars by the name of what CVAT calls not drawn."""
    names = ["background" if name == "car" else name for name in run.info.class_names]
    info = run.root.parent / "info.json"
    content = json.loads((run.info.path).read_text())
    info.write_text(json.dumps(content | {"class_names": names}))


def test_a_class_called_background_comes_back_from_masks_of_cvat(run, tmp_path, capsys):
    with_class_background(run)
    for n, item in enumerate(run.items[:2]):
        (tmp_path / "pred").mkdir(exist_ok=True)
        Image.fromarray(run.truth[n]).save(tmp_path / "pred" / f"{Path(item.image).stem}.png")
    flags = ("--trg_dataset", str(run.root.parent / "info.json"))
    package = run.export("--round", "0", *flags, "--pred_dir", str(tmp_path / "pred"))
    files = [
        package.folder / "cvat_masks.zip",
        TOOLS["cvat segmentation mask"](package, answers(run, package), tmp_path),
    ]
    for file in files:
        run.take(file)
        assert "note: " not in capsys.readouterr().out.replace("note: all answers", "")
        assert np.array_equal(run.label(0), run.expected(0, [1, 6]))
        shutil.rmtree(run.folder / "annotation" / "labels")


@pytest.mark.parametrize(
    ("lines", "black_is_road", "words"),
    [
        ("background:9,9,9::", False, "class 'background' and what nobody drew have one colour"),
        ("road:0,0,0::", True, "'road' is black there"),
        ("unlabelled:0,0,0::", False, None),
    ],
)
def test_what_nobody_drew_in_masks_of_cvat(run, tmp_path, capsys, lines, black_is_road, words):
    with_class_background(run)
    package = run.export("--round", "0", "--trg_dataset", str(run.root.parent / "info.json"))
    nothing = (9, 9, 9) if "9" in lines else (0, 0, 0)
    colors = np.full((HEIGHT, WIDTH, 3), nothing, np.uint8)
    colors[:, 10:] = (70, 70, 70)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("labelmap.txt", f"{lines}\nbuilding:70,70,70::\n")
        with archive.open(f"SegmentationClass/{package.images[0].name}.png", "w") as file:
            Image.fromarray(colors).save(file, "PNG")
    run.take(tmp_path / "a.zip")
    told = capsys.readouterr().out
    assert words in told if words else "note: " not in told
    assert (run.label(0)[:8, 8:10] == (7 if black_is_road else 255)).all()
    assert (run.label(0)[:8, 10:16] == 11).all()


ADDRESSES = {
    "uploaded": {"image": "/data/upload/1/0123abcd-FILE"},
    "local": {"image": "/data/local-files/?d=images/FILE"},
    "after another text": {"note": "first batch", "image": "s3://bucket/FILE"},
    "in another field": {"note": "first batch", "picture": "s3://bucket/FILE"},
    "signed": {"image": "https://b.s3.example.org/FILE?X-Amz-Credential=AK%2F26/eu&X-Amz-Date=1"},
}


@pytest.mark.parametrize("data", ADDRESSES.values(), ids=ADDRESSES)
def test_names_and_addresses_of_images_in_label_studio(run, tmp_path, data):
    package = run.export("--round", "0")
    path = label_studio(package, answers(run, package), tmp_path / "a.json", "brushlabels")
    tasks = json.loads(path.read_text())
    for task, image in zip(tasks, package.images, strict=True):
        task["data"] = {key: text.replace("FILE", image.file) for key, text in data.items()}
    path.write_text(json.dumps(tasks))
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P"])
@pytest.mark.parametrize("alphas", [(0, 255), (1, 255), (60, 128)])
def test_transparent_pixels_are_not_labelled(run, tmp_path, mode, alphas):
    """Neither those at smoothed borders, also where a whole layer is translucent."""
    package = run.export("--round", "0")
    right = np.tile(np.arange(WIDTH) >= 10, (HEIGHT, 1))
    alpha = np.where(right, alphas[1], alphas[0]).astype(np.uint8)
    picture, options = Image.fromarray(np.where(right, 0, 2).astype(np.uint8)), {}
    if mode == "L":
        options = {"transparency": 2}
    elif mode == "P":
        picture = picture.convert("P")
        picture.putpalette([128, 64, 128, 0, 0, 0, 70, 70, 70])
        options = {"transparency": bytes([alphas[1], 255, alphas[0]])}
    else:
        picture = picture if mode == "LA" else Image.new("RGB", (WIDTH, HEIGHT), (128, 64, 128))
        picture.putalpha(Image.fromarray(alpha))
    (tmp_path / "a").mkdir()
    picture.save(tmp_path / "a" / f"{package.images[0].name}.png", **options)
    run.take(tmp_path / "a")
    assert (run.label(0)[:8, 8:10] == 255).all() and (run.label(0)[:8, 10:16] == 7).all()


def test_translucent_colours_on_opaque_black_are_labelled(run, tmp_path):
    package = run.export("--round", "0")
    masks(package, answers(run, package), tmp_path / "a", "color")
    for path in (tmp_path / "a").iterdir():
        colors = np.array(Image.open(path).convert("RGB"))
        alpha = np.where(colors.any(2), 102, 255).astype(np.uint8)
        Image.fromarray(np.dstack([colors, alpha])).save(path)
    run.take(tmp_path / "a")
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize(
    ("around", "inside", "told"), [(1, True, True), (1, False, False), (0.5, True, False)]
)
def test_white_around_the_asked_regions_is_told_of_where_it_is_in_them(
    run, tmp_path, capsys, around, inside, told
):
    """A layer that is saved without transparency lies on white, the colour of void."""
    package = run.export("--round", "0")
    path = masks(package, answers(run, package), tmp_path / "a", "color")
    for file in path.iterdir():
        values = np.array(Image.open(file))
        part = np.arange(WIDTH) < around * WIDTH
        values[(values == 0).all(2) & part] = 255
        if inside:
            values[:6, part] = 255
        Image.fromarray(values).save(file)
    run.take(path)
    line = "is white around the asked regions and in them (2 such files), which is 'void'"
    assert (line in capsys.readouterr().out) == told


def test_photos_beside_label_maps_are_left_alone(run, tmp_path, capsys):
    earlier, package = run.export("--round", "0"), run.export()
    shutil.rmtree(earlier.folder / "images")
    path = tmp_path / "export" / "images"
    shutil.copytree(package.folder / "images", path)
    (jpg,) = path.glob("*.jpg")
    with Image.open(jpg) as photo:  # another tool writes it as PNG
        photo.convert("RGBA").save(jpg.with_suffix(".png"))
    jpg.unlink()
    masks(package, answers(run, package), tmp_path / "export" / "masks", "color")
    with pytest.raises(UserError, match="no answers"):
        run.take(path)
    assert "is the photo itself (2 such files)" in capsys.readouterr().out
    run.take(path.parent)
    assert "note: " not in capsys.readouterr().out
    assert np.array_equal(run.label(1), run.expected(1, [5]))


BESIDE = {
    "a.xml": "cvat segmentation mask",
    "painted/NAME.png": "cvat polygons",
    "images/NAME.png": "coco runs",
    "job 2.zip": "coco runs",
    "b.zip": "grey masks",
}


@pytest.mark.parametrize(("name", "tool"), BESIDE.items())
def test_answers_beside_those_of_another_kind_are_told_of(run, tmp_path, capsys, name, tool):
    package = run.export("--round", "0")
    folder = tmp_path / "all"
    folder.mkdir()
    path = TOOLS[tool](package, answers(run, package), folder)
    if path.suffix == ".zip":
        shutil.unpack_archive(path, folder)
        path.unlink()
    photo = package.folder / "images" / package.images[0].file
    name = name.replace("NAME", package.images[0].name)
    (folder / name).parent.mkdir(exist_ok=True)
    if "images" in name:
        shutil.copy(photo, folder / name)
    elif name.endswith(".png"):
        Image.new("L", (WIDTH, HEIGHT)).save(folder / name)
    else:
        (folder / name).touch()
    run.take(folder)
    told = capsys.readouterr().out
    assert (f"all: {name} in it was not read (1 such files)" in told) == ("images" not in name)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("suffix", ["jpg", "tif", "xcf"])
def test_label_maps_that_are_no_png_beside_others_are_told_of(run, tmp_path, capsys, suffix):
    package = run.export("--round", "0")
    path = masks(package, answers(run, package), tmp_path / "a", "color")
    for image in package.images:  # photos beside their label maps, and what GDAL writes
        (path / f"{image.name}.JPG").touch()
        (path / f"{image.name}.png.aux.xml").touch()
    run.take(path)
    assert "note: " not in capsys.readouterr().out
    name = package.images[1].name
    (path / f"{name}.JPG").unlink()
    (path / f"{name}.png").rename(path / f"{name}.{suffix}")
    for files in ([path], sorted(f for f in path.iterdir() if f.suffix != ".xml")):
        run.take(*files)
        assert f"{name}.{suffix} is no PNG" in capsys.readouterr().out


def low_bits(codes: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits a sample, which Pillow does not write."""
    parts = codes.reshape(len(codes), -1, 8 // bits).astype(int)
    rows = (parts << np.arange(8 - bits, -1, -bits)).sum(2).astype(np.uint8)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    pixels = zlib.compress(np.insert(rows, 0, 0, 1).tobytes())
    chunks = ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_holds_codes_as_they_are_stored(run, tmp_path, bits):
    package = run.export("--round", "0")
    codes = np.minimum(run.truth[0], 3 if bits == 2 else 10)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"{package.images[0].name}.png").write_bytes(low_bits(codes, bits))
    run.truth[0] = codes
    run.take(tmp_path / "a")
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


@pytest.mark.parametrize("kind", ["grey", "color", "palette"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_label_maps_are_turned_upright(run, tmp_path, kind, orientation):
    package = run.export("--round", "0")
    path = masks(package, answers(run, package), tmp_path / "a", kind)
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file in path.iterdir():
        with Image.open(file) as picture:
            picture.transpose(back[orientation]).save(file, exif=exif)
    run.take(path)
    assert np.array_equal(run.label(0), run.expected(0, [1, 6]))


def voc_color(number: int) -> list[int]:
    """The colour of a number in PASCAL VOC's palette."""
    return [sum((number >> 3 * b + c & 1) << 7 - b for b in range(3)) for c in range(3)]


@pytest.mark.parametrize("kind", ["PASCAL VOC", "grey", "own, but for 255", "of other classes"])
def test_palettes_of_other_colours_are_read_by_number(run, tmp_path, kind):
    package = run.export("--round", "0")
    drawn = answers(run, package)
    for codes in drawn.values():
        codes[:, ::8] = 255
    path = masks(package, drawn, tmp_path / "a", "grey")
    colors = np.array([[n] * 3 if kind == "grey" else voc_color(n) for n in range(256)])
    if "own" in kind:
        colors[:255] = package.classes.color_table[:255]
    if "other" in kind:
        colors[:18] = package.classes.color_table[1:19]
    for file in path.iterdir():
        picture = Image.open(file).convert("P")
        picture.putpalette(colors.ravel().tolist())
        picture.save(file)
    run.take(path)
    expected = run.expected(0, [1, 6])
    expected[:, ::8] = 255
    assert np.array_equal(run.label(0), expected)


def test_a_polygon_of_coco_may_come_without_a_list_around_it(run, tmp_path):
    package = run.export("--round", "0")
    (tmp_path / "a.json").write_text(one_coco(package, [8, 0, 16.0, 0, 16, 8, 8, 8]))
    run.take(tmp_path / "a.json")
    assert (run.label(0)[run.superpixels == 1] == 7).all()


def test_a_polygon_of_label_studio_may_have_lost_its_corners(run, tmp_path, caplog):
    package = run.export("--round", "0")
    (tmp_path / "a.json").write_text(one_task(package, {"points": []}, "polygonlabels"))
    run.take(tmp_path / "a.json")
    assert "a polygon of fewer than three corners is left out" in caplog.text


@pytest.mark.parametrize("stray", [[[]], [[3, 3]], [[3, 3, 9, 9]]])
def test_a_stray_click_ends_no_import(run, tmp_path, caplog, stray):
    package = run.export("--round", "0")
    square = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
    (tmp_path / "a.json").write_text(one_coco(package, [*stray, square, *stray]))
    run.take(tmp_path / "a.json")
    (record,) = caplog.records
    told = "a polygon of fewer than three corners is left out (2 in this file)"
    assert told in record.getMessage()
    assert (run.label(0)[run.superpixels == 1] == 7).all()


def test_polygons_that_reach_out_of_the_image_keep_their_shape(run, tmp_path):
    package = run.export("--round", "0")
    triangle = [[-16, -8, 32, -8, 8, 16]]  # its sides cross the upper border at x = -8 and 24
    (tmp_path / "a.json").write_text(one_coco(package, triangle))
    run.take(tmp_path / "a.json", "--min_share", "0.1")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (columns + rows < 24 - 1) & (rows < columns + 8 - 1) & (run.superpixels == 1)
    outside = (columns + rows > 24 + 1) & (run.superpixels == 1)
    assert inside.sum() > 40 and (run.label(0)[inside] == 7).all()
    assert (run.label(0)[outside] == 255).all()

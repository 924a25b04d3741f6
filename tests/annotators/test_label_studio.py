"""A package in a real Label Studio: shown, labelled, exported and imported."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotation.package import PackageImage
from tests.annotators.conftest import Asked, output, python
from tests.annotators.label_studio_server import EMAIL, Project, Server

BROWSE = Path(__file__).with_name("browse.py")
STROKES = Path(__file__).with_name("strokes.py")
WIDE = (1800, 2400)  # a window in which the page lists all regions at once
SMALL = (1000, 700)
COLORS = 96
MAX_BYTES = 150_000


def strokes(asked: Asked, image: PackageImage, codes: np.ndarray, folder: Path) -> list[Any]:
    """Results with brush strokes for (H, W) codes, encoded by Label Studio's own code."""
    drawn = [c for c in asked.package.classes.classes if (codes == c.code).any()]
    np.save(folder / "masks.npy", np.array([codes == c.code for c in drawn]))
    encoded = output(python("label-studio"), STROKES, folder / "masks.npy")
    return [
        {
            "type": "brushlabels",
            "from_name": "brush",
            "to_name": "image",
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle, "brushlabels": [c.name]},
        }
        for c, rle in zip(drawn, encoded, strict=True)
    ]


def outlines(task: dict[str, Any]) -> list[Any]:
    """The results of a task's prediction that show what is asked for."""
    (prediction,) = task["predictions"]
    return [result for result in prediction["result"] if result["from_name"] == "regions"]


def browse(
    server: Server, asked: Asked, page: str, *flags: Any, size: tuple[int, int] = WIDE
) -> dict[str, Any]:
    """What a browser shows of a page; see browse.py."""
    account = ("--address", server.address, "--email", EMAIL, "--password", server.password)
    browser = ("--browser", shutil.which(os.environ["CHROMIUM"]))
    outline = ("--outline", *asked.package.classes.region.color)
    where = (*browser, *account, "--page", page)
    return output(python("label-studio"), BROWSE, *where, *outline, "--size", *size, *flags)


def names_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """The classes of some results, in alphabetical order."""
    return sorted(result["value"][result["type"]][0] for result in results)


def statuses(asked: Asked) -> dict[str, dict[int, str]]:
    """Image name -> region number -> what people said, for each image that has answers."""
    content = json.loads((asked.folder / "annotation" / "labels" / "answers.json").read_text())
    names = {image.key: image for image in asked.package.images}
    return {
        names[key].name: {
            region.number: entry["regions"][str(region.id)]["status"]
            for region in names[key].regions
            if str(region.id) in entry["regions"]
        }
        for key, entry in content["images"].items()
    }


@pytest.fixture(scope="module")
def answered(asked, label_studio, tmp_path_factory) -> Project:
    """A project whose tasks are all answered by somebody who knows the truth."""
    project = label_studio.import_package(asked.package.folder)
    truth = asked.truth()
    for task, image in zip(project.tasks(), asked.package.images, strict=True):
        assert task["data"]["package_image"] == image.name
        folder = tmp_path_factory.mktemp("strokes")
        drawn = strokes(asked, image, truth[image.name], folder)
        project.submit(task["id"], [*outlines(task), *drawn])
    return project


def test_answers_in_label_studio_train_as_label_files_do(asked, answered, script, tmp_path):
    run = asked.copy(tmp_path / "exp")
    export = answered.export("JSON", tmp_path / "answers")
    told = script(f"annotation/import.py -p {run.folder} {export}")
    assert f"of {run.package.regions} regions asked for" in told and "0 missing" in told
    assert "outside of the asked regions" not in told and "differs" not in told
    run.check_labels()


def test_regions_and_classes_show_in_the_browser(asked, answered, tmp_path):
    """Writes the picture of docs/annotation.md where the variable PICTURE names a file."""
    tasks = answered.tasks()
    shown = max(tasks, key=lambda task: len(task["annotations"][0]["result"]))
    screenshot = tmp_path / "label_studio.png"
    page = f"/projects/{answered.number}/data?task={shown['id']}"
    seen = browse(answered.server, asked, page)
    classes = asked.package.classes
    names = [c.name for c in classes.classes]
    assert seen["classes"] == [*names, *names, classes.region.name]
    assert sorted(seen["regions"]) == names_of(shown["annotations"][0]["result"])
    assert seen["picture"] == [512, 256] and seen["outlined"] > 1000
    assert seen["elsewhere"] == []
    browse(answered.server, asked, page, "--screenshot", screenshot, size=SMALL)
    picture = Image.open(screenshot).convert("RGB")
    picture = picture.quantize(COLORS, kmeans=1, dither=Image.Dither.NONE)
    target = os.environ.get("PICTURE") or tmp_path / "small.png"
    picture.save(target, optimize=True)
    assert Path(target).stat().st_size < MAX_BYTES


def test_several_answers_skipped_regions_and_cancelled_annotations(
    asked, label_studio, script, tmp_path
):
    project = label_studio.import_package(asked.package.folder)
    classes, truth = asked.package.classes, asked.truth()
    wrong = {name: np.where(codes < 255, 9, 255) for name, codes in truth.items()}
    tasks = list(zip(project.tasks(), asked.package.images, strict=True))

    def drawn(image: PackageImage, codes: np.ndarray) -> list[Any]:
        return strokes(asked, image, codes, tmp_path)

    (two, first), (skipped, second), (cancelled, third), (void, fourth) = tasks
    right = project.submit(two["id"], drawn(first, wrong[first.name]))
    project.submit(two["id"], drawn(first, wrong[first.name]))
    project.change(right, drawn(first, truth[first.name]))  # the last change, of the first one

    numbers = asked.package.read_numbers(second)
    without = np.where(numbers == 1, classes.skip, truth[second.name])
    project.submit(skipped["id"], drawn(second, without))

    project.submit(cancelled["id"], drawn(third, wrong[third.name]), was_cancelled=True)
    project.save_draft(cancelled["id"], drawn(third, truth[third.name]))

    empty = np.where(truth[fourth.name] < 255, classes.void, 255)
    project.submit(void["id"], drawn(fourth, empty))
    project.submit(void["id"], drawn(fourth, wrong[fourth.name]), was_cancelled=True)

    run = asked.copy(tmp_path / "exp")
    export = project.export("JSON", tmp_path / "answers")
    told = script(f"annotation/import.py -p {run.folder} {export}")
    lines = {line.split(" ")[0]: line for line in told.splitlines()}
    found = statuses(run)
    assert lines[first.name].count("differs from") == len(first.regions)
    assert "the later one taken" in lines[first.name]
    assert found[second.name][1] == "skipped" and "1 skipped" in lines[second.name]
    assert third.name not in found and third.name not in lines
    assert set(found[fourth.name].values()) == {"void"}
    assert f"{len(third.regions)} missing" in told
    label = np.asarray(Image.open(run.folder / "annotation" / "labels" / first.key))
    assert np.array_equal(label, classes.label_table[truth[first.name]])


def test_exports_in_other_formats_are_refused_or_told_of(asked, answered, script, tmp_path):
    """All formats that the server offers for such a project and that hold answers."""
    kinds = ("JSON_MIN", "CSV", "TSV", "YOLO", "BRUSH_TO_NUMPY", "BRUSH_TO_PNG", "BRUSH_TO_COCO")
    assert {*kinds, "COCO"} <= set(answered.kinds())
    run = asked.copy(tmp_path / "exp")
    for kind in kinds:
        path = answered.export(kind, tmp_path / kind)
        line = script(f"annotation/import.py -p {run.folder} {path}", fails=True)
        assert path.name in line and "JSON" in line, line
        assert not (run.folder / "annotation" / "labels").exists()
    path = answered.export("COCO", tmp_path / "coco")  # polygons alone
    told = script(f"annotation/import.py -p {run.folder} {path}")
    assert "leaves brush strokes out" in told and f"{run.package.regions} missing" in told

"""Files of a package, read and written by Datumaro, the library that CVAT converts formats with."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation.package import Package
from tests.annotators.conftest import Asked, output, python

CONVERT = Path(__file__).with_name("convert.py")
DRAW = Path(__file__).with_name("draw.py")


def coco(file: Path, images: Path, folder: Path) -> Path:
    """The layout of CVAT's "COCO 1.0", with the images, which Datumaro asks for."""
    (folder / "annotations").mkdir(parents=True)
    shutil.copy(file, folder / "annotations" / "instances_default.json")
    shutil.copytree(images, folder / "images" / "default")
    return folder


def cvat(file: Path, images: Path, folder: Path) -> Path:
    """That of "CVAT for images 1.1"."""
    shutil.copytree(images, folder / "images")
    return Path(shutil.copy(file, folder / "annotations.xml"))


def masks(file: Path, images: Path, folder: Path) -> Path:
    """That of "Segmentation mask 1.1", which is the one of Pascal VOC."""
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


LAYOUTS: dict[str, Callable[[Path, Path, Path], Path]] = {
    "coco_instances": coco,
    "cvat": cvat,
    "voc_segmentation": masks,
}
OURS = {
    "coco.json": "coco_instances",
    "cvat_images.xml": "cvat",
    "cvat_masks.zip": "voc_segmentation",
}


def converted(kind: str, file: Path, images: Path, folder: Path) -> tuple[Path, dict]:
    """What Datumaro makes of a file: a ZIP as CVAT exports it, and what it found in the file."""
    source = LAYOUTS[kind](file, images, folder / "read")
    found = output(python("datumaro"), CONVERT, kind, source, folder / "written")
    archive = shutil.make_archive(str(folder / "written"), "zip", folder / "written")
    return Path(archive), found["images"]


def labels_of(run: Asked) -> dict[str, bytes]:
    """All that an import wrote."""
    folder = run.folder / "annotation" / "labels"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def known(asked, script, tmp_path_factory) -> Package:
    """The package of the same round whose first guess is the truth, so that its files hold it."""
    root = tmp_path_factory.mktemp("known")
    (root / "truth").mkdir()
    for image, codes in zip(asked.package.images, asked.truth().values(), strict=True):
        Image.fromarray(codes).save(root / "truth" / f"{Path(image.key).stem}.png")
    script(
        f"annotation/export.py -p {asked.folder} --trg_data_dir {asked.city} "
        f"--pred_dir {root}/truth --out {root}/round_00"
    )
    return Package.load(root / "round_00")


@pytest.mark.parametrize("name", OURS)
def test_datumaro_keeps_what_a_package_says(name, asked, known, script, tmp_path):
    file = known.folder / name
    archive, found = converted(OURS[name], file, known.folder / "images", tmp_path)
    outline = [] if OURS[name] == "voc_segmentation" else [known.classes.region.name]
    for image, item, _ in asked.each():
        guess = np.asarray(Image.open(known.folder / "masks" / f"{image.name}.png"))
        names = {c.name for c in known.classes.classes if (guess == c.code).any()}
        assert set(found[image.name]) - {"background"} == names | set(outline), item.image
    direct, round_trip = (asked.copy(tmp_path / part) for part in ("direct", "round_trip"))
    script(f"annotation/import.py -p {direct.folder} {file}")
    told = script(f"annotation/import.py -p {round_trip.folder} {archive}")
    assert "outside of the asked regions" not in told
    assert labels_of(round_trip) == labels_of(direct)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_answers_that_datumaro_draws_train_as_label_files_do(kind, asked, script, tmp_path):
    classes = asked.package.classes.classes
    assert [c.code for c in classes] == list(range(len(classes)))
    names, colors = [c.name for c in classes], [c.color for c in classes]
    np.savez(tmp_path / "drawn.npz", classes=names, colors=colors, **asked.truth())
    output(python("datumaro"), DRAW, kind, tmp_path / "drawn.npz", tmp_path / "drawn")
    archive = shutil.make_archive(str(tmp_path / "drawn"), "zip", tmp_path / "drawn")
    run = asked.copy(tmp_path / "exp")
    told = script(f"annotation/import.py -p {run.folder} {archive}")
    assert f"of {run.package.regions} regions asked for" in told and "0 missing" in told
    assert "two answers" not in told and "outside" not in told
    run.check_labels()

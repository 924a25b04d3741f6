"""The toy city: layouts and encodings of the real data, repeatable, with a gap between looks."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_preprocessing import toy_city
from data_preprocessing.toy.canvas import CAR, SKY, Camera, Canvas, Paint, rectangle
from data_preprocessing.toy.looks import SOURCE, TARGET
from data_preprocessing.toy.scene import THINGS, draw_scene, fill_row
from dataloader.dataset_info import load_dataset
from dataloader.images import read_label
from utils.errors import UserError

N, HEIGHT, WIDTH = 16, 48, 96
SIZE = ["--size", str(HEIGHT), str(WIDTH)]
ROAD, PERSON, RIDER, TRAIN, BICYCLE = 0, 11, 12, 16, 18
TERRAIN, TRUCK = 9, 14


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "city"
    toy_city.main(["--root", str(root), "--images", str(N), *SIZE, "--quiet"])
    return root


def files(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern))


def train_labels(root: Path, dataset: str, pattern: str) -> list[np.ndarray]:
    return [read_label(path, load_dataset(dataset)) for path in files(root, pattern)]


def source_and_target(root: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    source = train_labels(root, "GTA5", "GTA5/labels/*.png")
    return source, train_labels(root, "cityscapes", "Cityscapes/gtFine/train/*/*.png")


def share(labels: list[np.ndarray], train_id: int) -> float:
    return sum((label == train_id).sum() for label in labels) / sum(label.size for label in labels)


def test_gta5_layout(city):
    images = files(city, "GTA5/images/*")
    assert [path.name for path in images] == [f"{i:05d}.png" for i in range(1, N + 1)]
    assert [path.name for path in files(city, "GTA5/labels/*")] == [path.name for path in images]
    valid = {0, *load_dataset("GTA5").label_to_train}
    for path in images:
        with Image.open(path) as image, Image.open(city / "GTA5/labels" / path.name) as label:
            assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
            smaller = 2 if path.name == "00004.png" else 0
            assert (label.mode, label.size) == ("L", (WIDTH - smaller, HEIGHT - smaller))
            assert set(np.unique(label)) <= valid


def test_synthia_keeps_ids_in_red_and_instances_in_green(city):
    names = [f"{i:07d}.png" for i in range(N)]
    assert [path.name for path in files(city, "SYNTHIA/RGB/*")] == names
    assert [path.name for path in files(city, "SYNTHIA/GT/LABELS/*")] == names
    mapping = load_dataset("SYNTHIA").label_to_train
    missing = {label for label, train in mapping.items() if train in (TERRAIN, TRUCK, TRAIN)}
    counts = []
    for path in files(city, "SYNTHIA/GT/LABELS/*"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert (pixels.dtype, pixels.shape) == (np.uint16, (HEIGHT, WIDTH, 3))
        blue, instance, ids = np.moveaxis(pixels, -1, 0)
        assert not blue.any()
        assert set(np.unique(ids).tolist()) <= {0, *mapping} - missing
        cars_and_people = np.isin(ids, [8, 10])
        assert instance[cars_and_people].all()
        assert not instance[np.isin(ids, [1, 2, 3, 4, 6])].any()
        counts.append(len(np.unique(instance[ids == 8])))
    assert max(counts) > 1  # cars are told apart


def test_cityscapes_layout(city):
    root = city / "Cityscapes"
    for split, count in (("train", N), ("val", N // 2)):
        images = files(root, f"leftImg8bit/{split}/*/*_leftImg8bit.png")
        labels = files(root, f"gtFine/{split}/*/*_gtFine_labelIds.png")
        assert len(images) == count
        stems = [
            str(path.relative_to(root / "leftImg8bit"))[: -len("_leftImg8bit.png")]
            for path in images
        ]
        assert stems == [
            str(p.relative_to(root / "gtFine"))[: -len("_gtFine_labelIds.png")] for p in labels
        ]
        for path in labels:
            with Image.open(path) as label:
                assert (label.mode, label.size) == ("L", (WIDTH, HEIGHT))
                assert set(np.unique(label)) <= {1, *load_dataset("cityscapes").label_to_train}
    cities = {path.name for path in root.glob("leftImg8bit/*/*")}
    assert cities == {"toytown", "drawburg", "inkfurt"}


@pytest.mark.parametrize(
    ("dataset", "pattern"),
    [
        ("GTA5", "GTA5/labels/*.png"),
        ("SYNTHIA", "SYNTHIA/GT/LABELS/*.png"),
        ("cityscapes", "Cityscapes/gtFine/train/*/*.png"),
    ],
)
def test_many_classes_in_each_layout(city, dataset, pattern):
    labels = train_labels(city, dataset, pattern)
    present = set(np.unique(np.concatenate([label.ravel() for label in labels])).tolist())
    assert len(present - {255}) >= 12
    assert 255 in present


def test_classes_are_rare_or_absent_in_the_source(city):
    source, target = source_and_target(city)
    assert share(source, TRAIN) == 0 < share(target, TRAIN)
    assert share(source, RIDER) < 0.4 * share(target, RIDER)
    assert share(source, BICYCLE) < 0.1 * share(target, BICYCLE)
    for train_id in range(6):  # and what streets are made of is common to both
        assert 0.2 < share(source, train_id) / share(target, train_id) < 5


def test_looks_differ_in_light_colour_and_noise(city):
    def measure(pattern: str) -> tuple[float, float, float]:
        pictures = np.stack([np.asarray(Image.open(path)) for path in files(city, pattern)]).astype(
            float
        )
        grey = pictures.mean(axis=-1)
        grain = np.median(np.abs(np.diff(grey[:, HEIGHT * 2 // 3 :], axis=2)))
        return grey.std(axis=(1, 2)).mean(), np.ptp(pictures, axis=-1).mean(), grain

    contrast, saturation, grain = measure("GTA5/images/*.png")
    grey_contrast, grey_saturation, more_grain = measure("Cityscapes/leftImg8bit/train/*/*.png")
    assert grey_contrast < 0.9 * contrast
    assert grey_saturation < 0.6 * saturation
    assert more_grain > 2 * grain


def test_an_image_has_the_same_bytes_in_every_run_however_many_there_are(city, tmp_path):
    toy_city.main(["--root", str(tmp_path), "--images", "5", *SIZE, "--quiet"])
    drawn = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")]
    assert len(drawn) == 2 * (5 + 5 + 5 + 2)
    for path in drawn:
        assert (tmp_path / path).read_bytes() == (city / path).read_bytes()


def test_another_seed_draws_another_city(city, tmp_path):
    toy_city.main(["--root", str(tmp_path), "--images", "1", *SIZE, "--seed", "1", "--quiet"])
    for name in ("GTA5/images/00001.png", "GTA5/labels/00001.png", "SYNTHIA/RGB/0000000.png"):
        assert (tmp_path / name).read_bytes() != (city / name).read_bytes()


def test_domains_show_different_scenes(city):
    first = city / "GTA5/images/00001.png"
    assert first.read_bytes() != (city / "SYNTHIA/RGB/0000000.png").read_bytes()


def test_script_on_all_cores_writes_the_same_and_tells_one_line_a_domain(tmp_path):
    script = Path(toy_city.__file__)
    command = [sys.executable, script, "--root", "out", "--images", "17", "--size", "32", "64"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "out/GTA5: 17 train images",
        "out/SYNTHIA: 17 train images",
        "out/Cityscapes: 17 train images",
        "out/Cityscapes: 8 val images",
    ]
    here = tmp_path / "here"
    for domain in toy_city.DOMAINS:
        toy_city.write_scene(here, domain, (32, 64), 0, 7)
    alone = [path.relative_to(here) for path in here.rglob("*.png")]
    assert len(alone) == 8
    for path in alone:
        assert (here / path).read_bytes() == (tmp_path / "out" / path).read_bytes()


def test_the_same_city_may_be_drawn_again_quietly(tmp_path, capsys):
    command = ["--root", str(tmp_path), "--images", "1", *SIZE, "--quiet"]
    toy_city.main(command)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    toy_city.main(command)
    assert capsys.readouterr().out == ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--root", "x", "--images", "0"], "--images"),
        (["--root", "x", "--images", "many"], "--images"),
        (["--root", "x", "--size", "31", "64"], "--size 31 64"),
        (["--root", "x", "--size", "32", "63"], "--size 32 63"),
        (["--root", "x", "--seed", "-1"], "--seed"),
        ([], "--root"),
    ],
)
def test_bad_flags_are_named(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        toy_city.main(arguments)
    assert not list(tmp_path.iterdir())


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"--root .*cannot be written"):
            toy_city.main(["--root", str(root), "--images", "1"])


def test_real_data_and_other_cities_are_not_drawn_over(city, tmp_path):
    (tmp_path / "GTA5" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"--root .*GTA5 is there already"):
        toy_city.main(["--root", str(tmp_path), "--images", "1"])
    with pytest.raises(UserError, match=r"--root .*another toy city"):
        toy_city.main(["--root", str(city), "--images", "1", *SIZE])


def test_canvas_projects_like_a_pinhole_and_nearer_things_hide_farther_ones():
    camera = Camera(x=0.5, height=1.5, focal=1.0, vanish_x=0.4, horizon=0.5)
    canvas = Canvas((64, 128), camera, SOURCE, SOURCE.weathers[0], sun_side=1)
    canvas.ground(rectangle(-500, 500, 1, 500), Paint((90, 90, 90), ROAD))
    canvas.front(20, rectangle(-4, 4, 0, 3), Paint((200, 0, 0), CAR, instance=1))
    canvas.front(10, rectangle(0, 1, 0, 2), Paint((0, 0, 200), PERSON, instance=2))
    row, column = np.mgrid[:64, :128] + 0.5
    right, up = (column - 0.4 * 128) / 128, (32 - row) / 128  # the ray through a pixel, at z = 1
    expected = np.full((64, 128), SKY, np.uint8)
    expected[up < 0] = ROAD
    for z, left, end, top, train_id in ((20, -4, 4, 3, CAR), (10, 0, 1, 2, PERSON)):
        x, y = 0.5 + right * z, 1.5 + up * z
        expected[(x > left) & (x < end) & (y > 0) & (y < top)] = train_id
    labels = canvas.labels()
    wrong = labels != expected
    assert wrong.mean() < 0.02  # outlines are a pixel wide
    kernel = np.ones((3, 3), np.uint8)
    apart = cv2.dilate(expected, kernel) == cv2.erode(expected, kernel)  # from any outline
    assert not wrong[apart].any()
    assert np.array_equal(
        canvas.instances(), np.select([labels == CAR, labels == PERSON], [1, 2], 0)
    )


@pytest.mark.parametrize("look", [SOURCE, TARGET])
def test_scenes_are_streets(look):
    rng = np.random.default_rng(3)
    for _ in range(4):
        scene = draw_scene(look, (64, 128), rng)
        assert scene.image.shape == (64, 128, 3) and scene.image.dtype == np.uint8
        assert scene.label.dtype == np.uint8 and scene.instances.dtype == np.uint16
        rows = {c: np.nonzero(scene.label == c)[0] for c in (SKY, ROAD)}
        assert rows[SKY].max() < rows[ROAD].min() + 4  # the road ends at the horizon
        assert (scene.label[40:] == ROAD).mean() > 0.25


def test_things_in_a_row_do_not_overlap():
    row = fill_row(np.random.default_rng(0), TARGET.oncoming, 10.0)
    starts = [z for z, _ in row]
    ends = [z + THINGS[kind][1] for z, kind in row]
    assert starts[0] >= 10
    assert all(end <= start for end, start in zip(ends[:-1], starts[1:], strict=True))


def test_a_cartoon_is_a_simpler_source_of_the_same_target(city, tmp_path):
    toy_city.main(["--root", str(tmp_path), "--images", "4", *SIZE, "--cartoon", "--quiet"])
    for domain in toy_city.DOMAINS:
        info = load_dataset(domain.dataset)
        images, labels = zip(*(domain.paths(info, index) for index in range(2)), strict=True)
        ours, theirs = (
            [cv2.imread(str(root / path)) for path in images] for root in (tmp_path, city)
        )
        if domain.folder == "Cityscapes":
            np.testing.assert_array_equal(ours, theirs)
            continue
        for drawn, usual in zip(ours, theirs, strict=True):
            assert 10 < colors(drawn) < colors(usual) / 2
        assert all((tmp_path / path).is_file() for path in labels)
    with pytest.raises(UserError, match="another toy city"):
        toy_city.main(["--root", str(tmp_path), "--images", "4", *SIZE, "--quiet"])


def colors(image):
    return len(np.unique(image.reshape(-1, 3), axis=0))

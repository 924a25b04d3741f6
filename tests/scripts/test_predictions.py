"""inference.py and evaluation.py in this process: names of predictions, and what they may hold."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tifffile import TiffWriter

import evaluation
import inference
from dataloader.checks.prediction_values import warn_if_labels_renumbered
from dataloader.checks.turned_predictions import warn_if_predictions_turned
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from dataloader.overlay import draw_overlay
from dataloader.predictions import color_path, find_predictions, list_targets
from experiments import pictures
from experiments.reporting.confusion_figure import draw_confusion, row_shares
from utils.errors import UserError
from utils.files import locked_folder
from utils.metrics import ConfusionMatrix

NAMES = ("seq 1/0001.png", "seq 1/0002.jpg", "seq2/0001.png", "seq2/deep/0003.JPG")


@pytest.fixture()
def network(monkeypatch) -> list[str]:
    """Flags of a network of one layer, which predicts something."""
    monkeypatch.setattr(inference, "get_model", lambda *_: torch.nn.Conv2d(3, 19, 1))
    monkeypatch.setattr(inference, "load_model", lambda *_: None)
    return ["--image_size", "32", "64", "--num_workers", "0", "--trained_model_path", "x"]


def draw(root: Path, *names: str) -> list[Item]:
    """Small images below ``root``."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (32, 64, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return [Item(str(root / name), "", "") for name in names]


def write(targets: list[Path]) -> None:
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def below(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix == ".png"
    )


def test_a_size_that_nobody_gave_is_told_of_where_images_are_of_another(tmp_path, network, capsys):
    draw(tmp_path, "small/0.png")
    (tmp_path / "large").mkdir()
    Image.new("RGB", (1100, 600)).save(tmp_path / "large" / "0.png")
    out = ["--save_dir", str(tmp_path / "out"), "--num_workers", "0"]
    for folder, size, told in (("small", 0, 1), ("small", 1, 0), ("large", 0, 0)):
        flags = network if size else network[3:]
        inference.main([*flags, "--image_dir", str(tmp_path / folder), *out])
        said = "images of 64 x 32 pixels" in capsys.readouterr().err
        assert said is bool(told)


def test_predictions_that_are_no_numbers_name_their_image(tmp_path, network, monkeypatch):
    draw(tmp_path, *NAMES)
    monkeypatch.setattr(inference, "load_model", lambda _, net, *__: net.bias.data.fill_(np.nan))
    with pytest.raises(UserError, match=r"seq 1/0001\.png: the network's predictions .* NaN"):
        inference.main([*network, "--image_dir", str(tmp_path), "--save_dir", f"{tmp_path}/out"])


def test_folders_are_mirrored_and_predictions_never_predicted(network, tmp_path, capsys):
    items = draw(tmp_path / "in", *NAMES)
    (tmp_path / "in" / "notes.heic").touch()
    save = tmp_path / "in" / "out"
    wanted = ["seq 1/0001", "seq 1/0002", "seq2/0001", "seq2/deep/0003"]
    flags = [*network, "--image_dir", str(tmp_path / "in"), "--save_dir", str(save)]
    for _ in range(2):
        inference.main(flags)
        assert below(save) == sorted(f"{n}{end}.png" for n in wanted for end in ("", "_color"))
    assert "1 files with other suffixes left out, the first notes.heic" in capsys.readouterr().err
    assert find_predictions(items, save) == [save / f"{name}.png" for name in wanted]


def test_predictions_of_another_run_are_no_images(network, tmp_path, capsys):
    draw(tmp_path / "in", "a.png", "b/c.png")
    for run in ("1", "2"):
        save = tmp_path / "in" / "b" / run
        inference.main([*network, "--image_dir", str(tmp_path / "in"), "--save_dir", str(save)])
        assert len(below(save)) == 4
    said = "in: 2 images; left out: 4 in folders of predictions (b/1/a.png, ...)"
    assert said in capsys.readouterr().err


def test_tiff_files_of_several_pages_are_told_of(network, tmp_path, capsys):
    draw(tmp_path / "in", "a.tif", "b.tif", "c.tif")
    flags = [*network, "--image_dir", str(tmp_path / "in"), "--save_dir", str(tmp_path / "out")]
    page = Image.new("RGB", (64, 32))
    with TiffWriter(tmp_path / "in" / "b.tif") as file:
        file.write(np.asarray(page), photometric="rgb")
        file.write(np.asarray(page)[::2, ::2], photometric="rgb", subfiletype=1)  # a preview
    inference.main(flags)
    assert "pages" not in capsys.readouterr().err
    page.save(tmp_path / "in" / "c.tif", save_all=True, append_images=[page, page])
    inference.main(flags)
    said = f" warning: {tmp_path}/in/c.tif: the first of its 3 pages is used"
    assert said in capsys.readouterr().err


def test_evaluation_tells_of_images_that_are_gone(tmp_path, caplog):
    items = draw(tmp_path, "a.png", "b.png")
    evaluation.warn_of_absent_images(items)
    (tmp_path / "b.png").unlink()
    evaluation.warn_of_absent_images(items[1:])  # none is there: nobody needs them
    assert not caplog.records
    evaluation.warn_of_absent_images(items)
    assert "b.png: no such file, and so with 1 of 2 images" in caplog.text


def test_a_jpeg_beside_a_png_of_its_name_keeps_its_suffix(network, tmp_path, capsys):
    items = draw(tmp_path / "in", "a.png", "a.jpg", "b.jpg", "c.jpg", "c.png")
    save = tmp_path / "out"
    inference.main([*network, "--image_dir", str(tmp_path / "in"), "--save_dir", str(save)])
    told = capsys.readouterr().err
    assert "a.jpg: another image differs from this one only in the" in told
    assert told.count("another image") == 1 and "a.jpg.png (1 other images are such)" in told
    names = [path.name for path in find_predictions(items, save)]
    assert names == ["a.png", "a.jpg.png", "b.png", "c.jpg.png", "c.png"]
    assert find_predictions(items[1:2], save) == [save / "a.jpg.png"]
    (tmp_path / "in" / "a.png").unlink()
    assert len(find_predictions(items, save)) == 5  # evaluation needs no images
    with pytest.raises(UserError, match=r"two runs, .*a\.jpg\.png and .*/a\.png; remove those of"):
        find_predictions(items[1:], save)  # a.png is that of a.jpg if it was predicted once more
    (tmp_path / "in" / "a.jpg").unlink()
    assert len(find_predictions(items[1:], save)) == 4


def test_a_list_needs_no_more_than_images(network, tmp_path):
    draw(tmp_path, *NAMES)
    (tmp_path / "list.txt").write_text("\n".join([*NAMES[:1], *NAMES[2:3]]))
    flags = ["--val_data_dir", str(tmp_path), "--val_datalist", str(tmp_path / "list.txt")]
    inference.main([*network, *flags, "--save_dir", str(tmp_path / "out"), "--label_ids"])
    assert below(tmp_path / "out") == ["seq 1/0001.png", "seq2/0001.png"]
    ids = np.unique(np.asarray(Image.open(tmp_path / "out" / "seq2" / "0001.png")))
    assert set(ids) <= set(load_dataset("cityscapes").label_to_train)


def test_label_ids_invert_the_datasets_table(caplog):
    info = load_dataset("cityscapes")
    assert (info.label_table[inference.label_ids(info, 19)[:19]] == np.arange(19)).all()
    object.__setattr__(info, "label_to_train", {3: 0, 9: 0, 255: 1, 300: 1})
    assert inference.label_ids(info, 19)[:3].tolist() == [3, 255, 254]
    assert "several label ids for road, sidewalk" in caplog.text
    object.__setattr__(info, "label_to_train", {3: 0, 300: 1})
    with pytest.raises(UserError, match="--label_ids: sidewalk has no label id below 256"):
        inference.label_ids(info, 19)
    object.__setattr__(info, "label_to_train", {i: i % 19 for i in range(256)})
    assert inference.label_ids(info, 19)[:19].tolist() == [*range(19)]
    with pytest.raises(UserError, match="none is left for class 19, which has no label id; leave"):
        inference.label_ids(info, 20)


def test_label_ids_do_not_go_beside_coloured_pictures(tmp_path):
    items, target = draw(tmp_path, "a.jpg"), tmp_path / "out" / "a.png"
    write([color_path(target)])
    inference.check_targets(items, [[target, color_path(target)]], label_ids=False)
    with pytest.raises(UserError, match="--save_dir for --label_ids"):
        inference.check_targets(items, [[target]], label_ids=True)
    with pytest.raises(UserError, match="--overlay: no pictures are written with --label_ids"):
        inference.main(["--trained_model_path", "x", "--label_ids", "--overlay", "0.5"])


def test_predictions_do_not_overwrite_labels(tmp_path):
    item = Item(str(tmp_path / "a.jpg"), str(tmp_path / "a.png"), "")
    with pytest.raises(UserError, match=r"a\.png: would overwrite a label"):
        inference.check_targets([item], [[tmp_path / "a.png"]], label_ids=False)


def test_overlays_blend_and_name_the_classes(network, tmp_path):
    (item,) = draw(tmp_path / "in", "a.png")
    save = tmp_path / "out"
    flags = ["--image_dir", str(tmp_path / "in"), "--save_dir", str(save), "--overlay", "0.25"]
    inference.main([*network, *flags])
    drawn = np.asarray(Image.open(save / "a_overlay.png")).astype(float)
    image, colors = (np.asarray(Image.open(p)) for p in (item.image, save / "a_color.png"))
    assert np.abs(drawn[:32] - (0.75 * image + 0.25 * colors)).max() <= 0.5
    legend = drawn[32:].reshape(-1, 3)
    for color in np.unique(colors.reshape(-1, 3), axis=0):
        assert (legend == color).all(1).any()
    assert (legend == 0).all(1).any()  # names in black


def test_names_beyond_ascii_are_drawn_with_their_letters():
    """A letter that the font lacks is drawn as the same box as any other such letter."""
    image, labels = np.zeros((20, 60, 3), np.uint8), np.zeros((20, 60), np.uint8)
    info = load_dataset("camvid")

    def legend(name):
        named = dataclasses.replace(info, class_names=[name, *info.class_names[1:]])
        return draw_overlay(image, labels, named, 0.5).tobytes()

    def header(name):
        return pictures.grid([name], [[image]]).tobytes()

    for drawn in (legend, header):
        names = (
            "a\u0101",
            "a\u00e4",
            "a\u00fc",
            "a\u00df",
            "a\u0142",
            "a\u0434",
            "a\u03c9",
            "a\u4e00",
        )
        assert len(set(map(drawn, names))) == len(names)
        assert drawn("a\u4e00") == drawn("a\u4e01")


def test_the_official_script_finds_label_ids(network, tmp_path, monkeypatch):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    names = [f"bonn/bonn_00000{n}_000019" for n in range(2)]
    draw(tmp_path, *(f"leftImg8bit/val/{name}_leftImg8bit.png" for name in names))
    draw(tmp_path, *(f"gtFine/val/{name}_gtFine_labelIds.png" for name in names))
    save = tmp_path / "out"
    flags = ["--val_data_dir", str(tmp_path), "--save_dir", str(save), "--label_ids"]
    inference.main([*network, *flags])
    monkeypatch.setenv("CITYSCAPES_RESULTS", str(save))
    options = official.CArgs()
    options.predictionPath = options.predictionWalk = None
    for name in names:
        truth = str(tmp_path / "gtFine" / "val" / f"{name}_gtFine_labelIds.png")
        wanted = save / f"{Path(name).name}_leftImg8bit.png"
        assert official.getPrediction(options, truth) == str(wanted)


def test_predictions_of_a_list_are_found_where_they_were_written(tmp_path):
    """Side by side; mirrored from the data root where names clash; by --image_dir of any folder."""
    root, save = tmp_path / "data", tmp_path / "out"
    items = draw(root, *(f"img/{name}" for name in NAMES))
    targets = list_targets(items, root, save)
    assert [path.relative_to(save).as_posix() for path in targets] == [
        "img/seq 1/0001.png",
        "img/seq 1/0002.png",
        "img/seq2/0001.png",
        "img/seq2/deep/0003.png",
    ]
    with pytest.raises(UserError, match=r"no prediction of 4 of 4 images, the first .*inference"):
        find_predictions(items, save)
    for name in ("0001_color.PNG", "0001.npy"):
        write([save / name])
        with pytest.raises(UserError, match=rf"{name}: predictions are PNG files, \.png, with the"):
            find_predictions(items, save)
    with pytest.raises(UserError, match=r"0001\.npy is no folder; run inference\.py with"):
        find_predictions(items, save / "0001.npy")
    write(targets[:-1])
    with pytest.raises(UserError, match=r"no prediction of 1 of 4 images, the first .*0003\.png"):
        find_predictions(items, save)
    write(targets[-1:])
    assert find_predictions(items, save) == targets
    assert list_targets(items[1:], root, save) == [
        save / name for name in ("0002.png", "0001.png", "0003.png")
    ]
    outside = draw(tmp_path / "elsewhere", "x/1.png", "y/1.png")
    targets = list_targets(outside, root, save)
    assert all(target.resolve().is_relative_to(save) for target in targets)
    write(targets)
    assert find_predictions(outside, save) == targets


def test_predictions_of_two_runs_in_one_folder_are_refused(tmp_path):
    items, save = draw(tmp_path, "a/1.png", "b/2.png"), tmp_path / "out"
    write([save / "1.png", save / "2.png", save / "a" / "1.png"])
    assert find_predictions(items, save) == [save / "1.png", save / "2.png"]
    write([save / "b" / "2.png"])
    with pytest.raises(UserError, match=r"predictions of two runs, .*out/1\.png and .*a/1\.png"):
        find_predictions(items, save)


@pytest.fixture()
def camvid(tmp_path):
    """Four labelled images of CamVid's layout; returns a function that predicts and evaluates."""
    rng = np.random.default_rng(0)
    draw(tmp_path, *(f"test/{n}.png" for n in range(4)))
    labels = rng.integers(0, 12, (4, 32, 64), np.uint8)
    (tmp_path / "testannot").mkdir()
    for number, label in enumerate(labels):
        Image.fromarray(label).save(tmp_path / "testannot" / f"{number}.png")

    def evaluate(predictions: np.ndarray, more: str = "") -> dict:
        (tmp_path / "pred").mkdir(exist_ok=True)
        for number, prediction in enumerate(predictions):
            Image.fromarray(prediction).save(tmp_path / "pred" / f"{number}.png")
        flags = f"--dataset camvid --root_dir {tmp_path} --pred_dir {tmp_path}/pred {more}"
        evaluation.main([*flags.split(), "--json", str(tmp_path / "out.json")])
        return json.loads((tmp_path / "out.json").read_text())

    evaluate.root, evaluate.labels = tmp_path, labels
    return evaluate


def test_pictures_compare_what_inference_wrote(camvid):
    truth = load_dataset("camvid").label_table[camvid.labels]
    camvid(np.where(truth == 255, 2, truth).astype(np.uint8))
    root = str(camvid.root)
    flags = ["--dataset", "camvid", "--datadir", root, "--pred_dir", f"{root}/pred"]
    pictures.main(["compare", *flags, "--images", "2", "--height", "32", "--out", f"{root}/x.png"])
    drawn = np.asarray(Image.open(camvid.root / "x.png"))
    top, gap = pictures.HEADER, pictures.GAP
    assert drawn.shape == (top + 2 * 32 + gap, 3 * 64 + 2 * gap, 3)
    label, prediction = drawn[top : top + 32, 64 + gap :][:, :64], drawn[top : top + 32, -64:]
    void = camvid.labels[0] == 11
    assert (label == prediction)[~void].all()
    assert (label[void] == 0).all()
    assert (prediction[void] == load_dataset("camvid").palette[2]).all()
    for left in (0, 64 + gap, 128 + 2 * gap):  # a name above each column
        assert drawn[:top, left : left + 64].min() < 100


def test_pictures_compare_images_of_one_name_in_folders_inside_each_other(camvid):
    root = camvid.root
    camvid(np.zeros_like(camvid.labels))
    for folder in ("test", "testannot", "pred"):
        (root / folder / "seq").mkdir()
        (root / folder / "3.png").rename(root / folder / "seq" / "0.png")
    (root / "val.txt").unlink()
    pictures.main(
        ["compare", "--dataset", "camvid", "--datadir", str(root), "--pred_dir", f"{root}/pred"]
        + ["--images", "4", "--height", "32", "--out", f"{root}/x.png"]
    )
    assert (root / "x.png").is_file()


def test_means_are_over_the_classes_that_a_dataset_has(camvid, capsys):
    truth = load_dataset("camvid").label_table[camvid.labels]
    predicted = np.where(truth == 255, 3, truth)  # CamVid has no wall
    assert camvid(predicted)["mIoU"] == 100
    predicted[:, 0] = 3  # nor do a few pixels of one cost a class
    figures = camvid(predicted)
    expected = []
    for c in sorted(set(load_dataset("camvid").label_to_train.values())):
        here, there = truth == c, (predicted == c) & (truth != 255)
        expected.append(100 * (here & there).sum() / (here | there).sum())
    assert figures["mIoU"] == pytest.approx(np.mean(expected))
    assert figures["IoU"]["wall"] is None
    assert "mIoU16" not in figures
    assert "wall                 -" in capsys.readouterr().out


def test_the_confusion_matrix_is_in_percent_of_each_row(camvid):
    truth = load_dataset("camvid").label_table[camvid.labels]
    predicted = np.random.default_rng(1).permutation(truth.ravel()).reshape(truth.shape)
    camvid(predicted, f"--confusion {camvid.root}/confusion.png")
    with Image.open(camvid.root / "confusion.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    with pytest.raises(UserError, match=r"--confusion x\.jpg: .* name a \.png file"):
        camvid(predicted, "--confusion x.jpg")
    with pytest.raises(UserError, match=r"--confusion .*0\.png: is a file of --pred_dir"):
        camvid(predicted, f"--confusion {camvid.root}/pred/0.png")

    counts = ConfusionMatrix(19)
    counts.add(truth, predicted)
    shares, rows, columns = row_shares(counts.counts)
    assert rows == sorted({*np.unique(truth), *np.unique(predicted)} - {255})
    assert columns == [*rows, 19]  # void was predicted, too
    for share, c in zip(shares, rows, strict=True):
        here = truth == c
        wanted = [(predicted[here] == k).mean() for k in rows] + [(predicted[here] == 255).mean()]
        np.testing.assert_allclose(share, 100 * np.array(wanted))


@pytest.mark.parametrize(("classes", "numbers"), [(5, 25), (60, 0)])
def test_cells_of_many_classes_have_no_numbers(classes, numbers):
    """Drawing them takes minutes."""
    counts = np.ones((classes, classes + 1), int)
    counts[:, -1] = 0
    figure = draw_confusion(counts, [f"c{i}" for i in range(classes)])
    assert len(figure.axes[0].texts) == numbers
    assert figure.get_figwidth() < 12


def test_labels_of_another_scale_and_predictions_of_another(camvid, caplog):
    truth = load_dataset("camvid").label_table[camvid.labels].repeat(2, 1).repeat(2, 2)
    draw(camvid.root, *(f"test/{n}.png" for n in range(4)))
    for number in range(4):
        Image.new("RGB", (128, 64)).save(camvid.root / "test" / f"{number}.png")
    assert camvid(truth)["mIoU"] == 100
    assert "4 of 4 labels have another size than their prediction" in caplog.text
    assert "0.png: 64 x 32 pixels, its prediction 128 x 64" in caplog.text
    with pytest.raises(UserError, match="is 32 x 16 pixels, its label 64 x 32, its image 128 x 64"):
        camvid(truth[:, ::4, ::4].copy())


def test_predictions_that_hold_label_ids_are_refused(tmp_path, caplog):
    info = load_dataset("cityscapes")
    ids = np.random.default_rng(0).choice(list(info.label_to_train), (3, 64, 128)).astype(np.uint8)
    city, predictions = tmp_path / "city", tmp_path / "pred"
    draw(city, *(f"leftImg8bit/val/bonn/{n}_leftImg8bit.png" for n in range(3)))
    (city / "gtFine" / "val" / "bonn").mkdir(parents=True)
    predictions.mkdir()
    for number, label in enumerate(ids):
        for path in (
            city / "gtFine" / "val" / "bonn" / f"{number}_gtFine_labelIds.png",
            predictions / f"{number}_leftImg8bit.png",
        ):
            Image.fromarray(label).save(path)
    flags = ["--root_dir", str(city), "--pred_dir", str(predictions)]
    with pytest.raises(UserError, match=r" 100\.00 % .*ids\): predict without --label_ids"):
        evaluation.main(flags)
    for path in predictions.iterdir():
        Image.fromarray(np.full((64, 128), 200, np.uint8)).save(path)
    with pytest.raises(
        UserError, match=r"100\.00 % of the predicted values are no class, most often 200"
    ):
        evaluation.main(flags)
    for path in predictions.iterdir():
        pixels = np.zeros((64, 128), np.uint8)
        pixels[-1, -1] = 77
        Image.fromarray(pixels).save(path)
    evaluation.main(flags)
    assert "values are no class, most often 77; they count as wrong" in caplog.text


def test_label_ids_that_could_be_train_ids_are_warned_of(camvid, caplog):
    with caplog.at_level(logging.WARNING):
        camvid(camvid.labels)
    assert "in another way (label ids)" in caplog.text


def test_warnings_of_a_script_without_a_log_say_that_they_are(camvid, script):
    camvid(np.full((4, 32, 64), 2, np.uint8))
    Image.fromarray(np.full((32, 64), 77, np.uint8)).save(camvid.root / "pred" / "0.png")
    flags = f"--dataset camvid --root_dir {camvid.root} --pred_dir {camvid.root}/pred"
    assert f"\nwarning: {camvid.root}/pred: " in f"\n{script(f'evaluation.py {flags}')}"


def test_single_predictions_that_hold_label_ids_are_told_of(camvid, caplog):
    truth = load_dataset("camvid").label_table[camvid.labels]
    camvid(np.stack([*truth[:3], camvid.labels[3]]))
    assert "3.png: holds label ids, as which most of its pixels are right" in caplog.text
    assert "(1 of 4 predictions are such)" in caplog.text
    caplog.clear()
    poor = np.where(truth == 0, 3, truth)  # for road a wall, whose number is the label id of road
    camvid(np.stack([*truth[:3], poor[3]]))
    assert "label ids" not in caplog.text


@pytest.mark.parametrize("how", ["each 1 too high", "each 1 too low", "18 for road", None])
def test_predictions_in_another_order_are_warned_of(camvid, caplog, how):
    info = load_dataset("camvid")
    right = info.label_table[camvid.labels]
    table = np.arange(256)
    if how == "each 1 too high":
        table[:19] += 1
    elif how == "each 1 too low":
        table[:19] -= 1
        right = np.where(right == 0, 255, right)
    elif how:
        table[:19] = table[18::-1]
    predicted = table[right].astype(np.uint8)
    if how:  # a fifth of the pixels is of another class, as with any network
        wrong = np.random.default_rng(0).random(right.shape) < 0.2
        predicted[wrong] = table[1]
    else:
        predicted[:] = 2  # a network that knows two classes,
        predicted[right == 2] = 5  # and takes one for another
    if how == "each 1 too high":  # and one value is no class at all
        with pytest.raises(UserError, match=r"most often 19; .* another way \(each 1 too high\)"):
            camvid(predicted)
        return
    with caplog.at_level(logging.WARNING):
        camvid(predicted)
    assert (f"numbered in another way ({how})" in caplog.text) == bool(how)
    assert ("numbered" in caplog.text) == bool(how)


def test_labels_that_are_numbered_unlike_the_network_are_told_of(caplog):
    """By its confusion matrix in validation; a poor network, or one of few classes, is no sign."""
    info, rng = load_dataset("camvid"), np.random.default_rng(0)
    right = np.diag(rng.integers(100, 1000, 19)) + rng.integers(0, 20, (19, 19))
    collapsed, inverted, two = np.zeros((3, 19, 19), int)
    collapsed[:, 2] = inverted[0, 1] = 500
    two[0, 10] = two[10, 0] = 500  # classes that occur, of 19
    for quiet in (right, collapsed, inverted, two, np.zeros((19, 20), int)):
        assert not warn_if_labels_renumbered(quiet, info)
    assert not caplog.records
    knows_five = np.diag([900] * 5 + [0] * 14)
    knows_five[5:, 0] = 50
    binary = dataclasses.replace(
        info, class_names=["a", "b"], label_to_train={0: 0, 1: 1}, missing_classes=()
    )
    assert warn_if_labels_renumbered(np.array([[1, 9], [9, 1]]), binary)
    assert warn_if_labels_renumbered(knows_five[[1, 2, 3, 4, 0, *range(5, 19)]], info)
    assert warn_if_labels_renumbered(right[[1, 0, 2, 4, 5, 6, 3, *range(18, 6, -1)]], info)
    assert "exchanged (road is predicted as sidewalk, sidewalk is predicted as road, wall is " in (
        caplog.text
    )


def test_predictions_whose_palette_was_renumbered_are_refused(camvid):
    info = load_dataset("camvid")
    camvid(info.label_table[camvid.labels])
    for path in (camvid.root / "pred").iterdir():
        colors = info.colors(np.asarray(Image.open(path)))
        Image.fromarray(colors).quantize().save(path)
    flags = f"--dataset camvid --root_dir {camvid.root} --pred_dir {camvid.root}/pred"
    with pytest.raises(
        UserError, match=r"number \d+ of its palette has the colour of .*8-bit grey"
    ):
        evaluation.main(flags.split())


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (np.s_[:, ::-1], "upside down"),
        (np.s_[:, :, ::-1], "mirrored"),
        (np.s_[:, ::-1, ::-1], "turned by 180 degrees"),
        (np.s_[:], None),
    ],
)
def test_predictions_that_are_turned_are_told_of(camvid, caplog, how, name):
    truth = load_dataset("camvid").label_table[camvid.labels]
    poor = np.where(np.random.default_rng(1).random(truth.shape) < 0.4, 2, truth)
    camvid(poor[how].astype(np.uint8))
    assert (f"0.png: fits its label better when it is {name}: 6" in caplog.text) == bool(name)
    assert ("(4 of 4 predictions looked at are such)" in caplog.text) == bool(name)
    assert name or "fits its label" not in caplog.text


def test_predictions_of_square_images_that_are_transposed_are_told_of(tmp_path, caplog):
    info, label = load_dataset("camvid"), np.random.default_rng(0).integers(0, 11, (40, 40))
    pair = Item(str(tmp_path / "0.png"), str(tmp_path / "label.png"), "")
    Image.fromarray(label.astype(np.uint8)).save(pair.label)
    ways = (
        (label, None),
        (label.T, "transposed"),
        (label.T[::-1], "turned by 90 degrees to the right"),
    )
    for turned, name in ways:
        Image.fromarray(info.label_table[turned]).save(pair.image)
        warn_if_predictions_turned([pair], info)
        assert (f"when it is {name}:" in caplog.text) == bool(name)
        caplog.clear()


def test_predictions_that_were_interpolated_are_warned_of(camvid, caplog):
    truth = load_dataset("camvid").label_table[camvid.labels]
    camvid(truth)
    assert "at many borders" not in caplog.text
    halves = [Image.fromarray(values).resize((32, 16), Image.NEAREST) for values in truth]
    camvid(np.stack([np.asarray(half.resize((64, 32), Image.BILINEAR)) for half in halves]))
    assert "pred: at many borders of the predictions lies a value between" in caplog.text


def test_predictions_of_other_classes_are_refused(network, camvid, caplog):
    """inference.py tells which they are; where nothing does, nothing is compared."""
    info = load_dataset("camvid")
    truth = info.label_table[camvid.labels]
    save, toy = camvid.root / "pred", camvid.root / "toy" / "info.json"
    inference.main([*network, "--image_dir", str(camvid.root / "test"), "--save_dir", str(save)])
    logging.getLogger().handlers = [caplog.handler]  # not those of inference.py
    assert camvid(truth)["mIoU"] == 100
    content = json.loads(Path("dataloader/init_data/camvid/info.json").read_text())
    content["class_names"][2:4] = content["class_names"][3:1:-1]
    toy.parent.mkdir()
    toy.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"class 2 of these .* is building, that of toy is wall;"):
        camvid(truth, f"--dataset {toy}")
    notes, names = json.loads((save / "inference.json").read_text()), info.class_names
    for more, told in ((names[:-1], 1), ([*names, "tram"], 1), ([*names, "class 19"], 0)):
        (save / "inference.json").write_text(json.dumps(notes | {"class_names": more}))
        caplog.clear()
        camvid(truth)
        assert caplog.text.count(f"predictions are of {len(more)} classes, camvid has 19") == told
    (save / "inference.json").write_text("[3]")
    camvid(truth, f"--dataset {toy}")
    (save / "inference.json").unlink()
    camvid(truth, f"--dataset {toy}")


def test_label_ids_are_not_evaluated_as_train_ids(network, camvid):
    """Whatever is right as it is, unless both have the same numbers."""
    truth = load_dataset("camvid").label_table[camvid.labels]
    predict = [*network, "--label_ids", "--save_dir", str(camvid.root / "pred")]
    predict += ["--val_data_dir", str(camvid.root), "--val_dataset"]
    inference.main([*predict, "camvid"])
    with pytest.raises(UserError, match=r"inference\.json: these predictions are label ids"):
        camvid(truth)
    content = json.loads(Path("dataloader/init_data/camvid/info.json").read_text())
    same = content | {"label_to_train": {str(i): i for i in range(19)}}
    (camvid.root / "info.json").write_text(json.dumps(same))
    inference.main([*predict, str(camvid.root / "info.json")])
    assert camvid(truth)["mIoU"] == 100


def test_predictions_of_other_images_and_unfinished_runs_are_warned_of(
    network, camvid, caplog, capsys, monkeypatch
):
    truth = load_dataset("camvid").label_table[camvid.labels]
    predict = ["--save_dir", str(camvid.root / "pred"), *network, "--image_dir"]
    inference.main([*predict, str(camvid.root / "test"), "--overlay", "1"])
    shutil.copytree(camvid.root / "test", camvid.root / "copy")
    capsys.readouterr()
    inference.main([*predict, str(camvid.root / "copy")])
    assert "is of an earlier run (4 pictures in all)" in capsys.readouterr().err

    logging.getLogger().handlers = [caplog.handler]  # not those of inference.py
    camvid(truth)
    assert not caplog.records
    draw(camvid.root / "other", "x.png", "0.png")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(inference, "write_png", lambda *_: 1 / 0)
        inference.main([*predict, str(camvid.root / "other")])
    logging.getLogger().handlers = [caplog.handler]
    camvid(truth)
    assert "inference.py has not come to its end there" in caplog.text
    assert "other/0.png, which is not" in caplog.text


def test_predictions_of_two_checkpoints_are_told_of(network, camvid, caplog):
    """All images by one, then the last by the same, then two by another."""
    predict = ["--val_dataset", "camvid", "--val_data_dir", str(camvid.root)]
    predict += [*network, "--save_dir", str(camvid.root / "pred"), "--val_datalist"]
    evaluate = f"--dataset camvid --root_dir {camvid.root} --pred_dir {camvid.root}/pred".split()
    for images, seed, told in ((range(4), 0, False), ([3], 0, False), ([1, 2], 1, True)):
        listed = camvid.root / "some.txt"
        listed.write_text("".join(f"test/{n}.png testannot/{n}.png -\n" for n in images))
        torch.manual_seed(seed)
        inference.main([*predict, str(listed)])
        logging.getLogger().handlers = [caplog.handler]  # not those of inference.py
        evaluation.main(evaluate)
        said = "1.png were predicted by different checkpoints (as the second, 2 of 4)"
        assert (said in caplog.text) == told


@pytest.mark.parametrize("while_predicting", [False, True])
def test_predictions_of_a_checkpoint_that_was_trained_since_are_told_of(
    network, camvid, caplog, monkeypatch, while_predicting
):
    checkpoint = camvid.root / "checkpoint.tar"
    data = ["--val_dataset", "camvid", "--val_data_dir", str(camvid.root)]
    out = ["--save_dir", str(camvid.root / "pred"), "--trained_model_path", str(checkpoint)]
    predict = inference.write_predictions

    def predict_and_train(*args) -> None:
        predict(*args)
        if while_predicting:
            torch.save({"a": torch.tensor(2)}, checkpoint)

    monkeypatch.setattr(inference, "write_predictions", predict_and_train)
    for weight, told in ((1, while_predicting), (2, True), (None, False)):
        torch.save({"a": torch.tensor(weight)}, checkpoint) if weight else checkpoint.unlink()
        if weight == 1:
            inference.main([*data, *network, *out])
        logging.getLogger().handlers = [caplog.handler]  # not those of inference.py
        caplog.clear()
        evaluation.main(f"--dataset camvid --root_dir {camvid.root} --pred_dir {out[1]}".split())
        assert (f"pred: predicted by {checkpoint}, which has changed" in caplog.text) is told


def test_two_runs_at_once_in_one_folder_are_refused(network, tmp_path):
    draw(tmp_path / "in", "a.png")
    out = tmp_path / "out"
    flags = [*network, "--image_dir", str(tmp_path / "in"), "--save_dir", str(out)]
    with (
        locked_folder(out, "here"),
        pytest.raises(UserError, match=r"--save_dir .*out: another run is at work in it"),
    ):
        inference.main(flags)
    inference.main(flags)


def test_predictions_of_other_images_are_not_replaced_without_a_word(tmp_path, network, capsys):
    draw(tmp_path, "seq1/0.png", "seq1/1.png", "seq2/1.png", "seq2/2.png")
    shutil.copytree(tmp_path / "seq1", tmp_path / "copy")
    for folder, said in {"seq1": 0, "copy": 0, "seq2": 1}.items():
        out = str(tmp_path / "out")
        inference.main([*network, "--image_dir", str(tmp_path / folder), "--save_dir", out])
        assert capsys.readouterr().err.count("and is replaced by the prediction of") == said


def test_nothing_to_evaluate_is_one_line(camvid):
    truth = load_dataset("camvid").label_table[camvid.labels]
    listed = camvid.root / "some.txt"
    listed.write_text("test/0.png - -\ntest/1.png testannot/1.png -\n")
    with pytest.raises(UserError, match=r"1 of 2 images have no label, the first .*test/0\.png"):
        camvid(truth, f"--val_datalist_dir {listed}")
    for path in (camvid.root / "testannot").iterdir():
        Image.fromarray(np.full((32, 64), 11, np.uint8)).save(path)
    with pytest.raises(UserError, match="no pixel has a class of camvid, in this label and 3"):
        camvid(truth)


def test_the_list_is_that_of_the_dataset(camvid, tmp_path, monkeypatch):
    """The default folder of lists is Cityscapes' own; any other must have a list."""
    (tmp_path / "dataloader/init_data/cityscapes").mkdir(parents=True)
    (tmp_path / "dataloader/init_data/cityscapes/val.txt").write_text("a b c\n")
    monkeypatch.chdir(tmp_path)
    truth = load_dataset("camvid").label_table[camvid.labels]
    assert camvid(truth)["images"] == 4
    with pytest.raises(UserError, match=r"--val_datalist_dir .*pred: there is no val\.txt"):
        camvid(truth, f"--val_datalist_dir {tmp_path}/pred")
    (tmp_path / "val.txt").write_text("test/0.png testannot/0.png\n")
    for path in (tmp_path, tmp_path / "val.txt"):
        assert camvid(truth, f"--val_datalist_dir {path}")["images"] == 1

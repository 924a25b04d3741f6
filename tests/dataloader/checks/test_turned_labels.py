"""Labels that lie over their images turned or mirrored, or are those of other images."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dataloader.checks.exchanged import (
    warn_if_labels_exchanged,
    warn_if_maps_exchanged,
    warn_if_predictions_exchanged,
)
from dataloader.checks.turned_labels import warn_if_labels_turned
from dataloader.dataset_info import load_dataset
from dataloader.images import read_superpixels
from dataloader.item import Item
from utils.files import write_png

CITYSCAPES = load_dataset("cityscapes")
IDS = np.array(list(CITYSCAPES.label_to_train), np.uint8)


@pytest.fixture()
def look(tmp_path, caplog):
    """A function that writes pictures of blocks with labels that lie over them so; what is said."""

    def write(flip=np.s_[:], exif: int = 1, count: int = 3, scale: float = 1) -> str:
        rng = np.random.default_rng(0)
        items = [Item(str(tmp_path / f"{i}.jpg"), str(tmp_path / f"{i}.png"), "") for i in range(3)]
        for number, item in enumerate(items):
            blocks = cv2.resize(rng.integers(0, 19, (6, 8), np.uint8), (160, 120), interpolation=0)
            blocks = blocks[3:, 4:]  # not the same grid from both sides
            orientation = Image.Exif()
            orientation[0x0112] = exif if number < count else 1
            stored = blocks[::-1, ::-1] if number < count and exif == 3 else blocks
            Image.fromarray(13 * stored).save(item.image, quality=90, exif=orientation)
            label = IDS[blocks][flip] if number < count else IDS[blocks]
            label = cv2.resize(label, None, fx=scale, fy=scale, interpolation=0)
            Image.fromarray(label).save(item.label)
        caplog.clear()
        warn_if_labels_turned(items, CITYSCAPES)
        return caplog.text

    return write


def test_labels_that_lie_over_their_images_pass_quietly(look):
    assert not look()
    assert not look(exif=3)
    assert not look(scale=0.5)
    assert not look(np.s_[::-1], count=1)


def said_of(tmp_path, caplog, picture, label) -> str:
    item = Item(str(tmp_path / "0.png"), str(tmp_path / "0_label.png"), "")
    Image.fromarray(picture).save(item.image)
    Image.fromarray(label).save(item.label)
    caplog.clear()
    warn_if_labels_turned([item], CITYSCAPES)
    return caplog.text


def test_labels_below_textured_houses_pass_quietly(tmp_path, caplog):
    """Turned by 180 degrees this lane fits the houses better, but upside down as well."""
    rng = np.random.default_rng(0)
    houses = rng.integers(0, 256, (120, 320), np.uint8)
    street = rng.integers(90, 98, (120, 320), np.uint8)
    lane = np.zeros((240, 320), np.uint8)
    cv2.fillPoly(lane, [np.array([(90, 239), (150, 179), (170, 179), (230, 239)])], 7)
    assert not said_of(tmp_path, caplog, np.vstack([houses, street]), lane)


def test_a_few_pixels_of_border_tell_nothing(tmp_path, caplog):
    for side, told in ((20, False), (120, True)):
        blot, label = np.full((240, 320), 90, np.uint8), np.zeros((240, 320), np.uint8)
        blot[30 : 30 + side, 40 : 40 + side] = 200
        label[30 : 30 + side, 280 - side : 280] = 7
        assert ("is mirrored (1 of 1" in said_of(tmp_path, caplog, blot, label)) is told


@pytest.mark.parametrize(
    ("flip", "name"),
    [
        (np.s_[::-1], "upside down"),
        (np.s_[:, ::-1], "mirrored"),
        (np.s_[::-1, ::-1], "turned by 180 degrees"),
    ],
)
def test_turned_labels_are_told_of(look, flip, name):
    assert f"0.jpg better when it is {name} (3 of 3 labels looked at are such); save" in look(flip)


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        (np.transpose, "transposed"),
        (lambda label: np.rot90(label, 2).T, "transposed and turned by 180 degrees"),
        (np.rot90, "turned by 90 degrees to the right"),
        (lambda label: np.rot90(label, -1), "turned by 90 degrees to the left"),
    ],
)
def test_quarter_turns_of_square_images_are_told_of(tmp_path, caplog, turn, name):
    blocks = np.random.default_rng(0).integers(0, 19, (8, 8), np.uint8).repeat(20, 0).repeat(20, 1)
    blocks = blocks[10:, 4:154]  # another grid from each side
    assert not said_of(tmp_path, caplog, 13 * blocks, IDS[blocks])
    said = said_of(tmp_path, caplog, 13 * blocks, np.ascontiguousarray(turn(IDS[blocks])))
    assert f"0.png better when it is {name} (1 of 1" in said


def test_labels_of_a_photo_as_its_camera_stored_it_are_told_of(look):
    said = look(np.s_[::-1, ::-1], exif=3, count=1)
    assert "(1 of 1 labels looked at are such); the image is shown as its EXIF" in said


@pytest.fixture()
def streets(tmp_path) -> list[Item]:
    """Twelve images of streets that look alike, labels, and predictions that are half right."""
    rng, items = np.random.default_rng(0), []
    for number in range(12):
        train_ids = np.zeros((144, 160), np.uint8)
        train_ids[: 40 + rng.integers(5)] = 10
        for _ in range(20):
            left, top = rng.integers(0, 130), rng.integers(20, 110)
            train_ids[top : top + 25, left : left + 25] = rng.integers(11, 19)
        items.append(Item(*(str(tmp_path / f"{number:02}{kind}.png") for kind in "ilp")))
        noise = rng.integers(0, 20, (144, 160), np.uint8)
        pictures = 12 * train_ids + noise, IDS[train_ids], np.where(noise > 9, 0, train_ids)
        for path, pixels in zip(items[-1], pictures, strict=True):
            Image.fromarray(pixels).save(path)
    return items


@pytest.mark.parametrize("count", [2, 4, 12])
def test_labels_and_predictions_of_other_images_are_told_of(streets, caplog, count):
    def say(order: list[int]) -> str:
        items = streets[:count]
        labelled = [i._replace(label=items[k].label) for i, k in zip(items, order, strict=True)]
        caplog.clear()
        warn_if_labels_exchanged(labelled, CITYSCAPES)
        predicted = [item._replace(image=item.superpixel) for item in labelled]
        warn_if_predictions_exchanged(predicted, CITYSCAPES)
        return caplog.text

    numbers = list(range(count))
    assert not say(numbers)
    said = say([*numbers[1:], 0])
    assert "01l.png: its borders fit the edges of" in said
    assert "01l.png: fits the prediction of another image, " in said


def ignore_around_objects(items: list[Item], width: int) -> None:
    for item in items:
        label = read_superpixels(item.label)
        near = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((width, width), np.uint8)) > 0
        Image.fromarray(np.where(near, 255, label).astype(np.uint8)).save(item.label)


def test_labels_with_rings_around_objects_pass_quietly(streets, caplog):
    """As those of PASCAL VOC: each border of the label lies beside the edge of the image."""
    ignore_around_objects(streets, 7)
    warn_if_labels_exchanged(streets, CITYSCAPES)
    assert not caplog.records
    shifted = [i._replace(label=streets[n - 1].label) for n, i in enumerate(streets)]
    warn_if_labels_exchanged(shifted, CITYSCAPES)
    assert "fit another image better" in caplog.text


def test_superpixel_maps_of_other_images_are_told_of(streets, caplog):
    own = [item._replace(superpixel=item.label) for item in streets]
    shifted = [
        i._replace(superpixel=k.superpixel) for i, k in zip(own, own[1:] + own, strict=False)
    ]
    warn_if_maps_exchanged(own)
    warn_if_maps_exchanged([item._replace(superpixel=own[3].superpixel) for item in own])  # a grid
    assert not caplog.records
    warn_if_maps_exchanged(shifted)
    assert "01l.png: its borders fit the edges of" in caplog.text
    caplog.clear()
    for item in own:
        write_png(item.superpixel, read_superpixels(item.superpixel), f"SLIC, image={'0' * 16}")
    warn_if_maps_exchanged(shifted)  # provenance tells of these
    assert not caplog.records


def test_labels_of_images_without_edges_pass_quietly(streets, caplog):
    for item in streets:
        Image.new("L", (160, 144), 90).save(item.image)
    warn_if_labels_exchanged(streets, CITYSCAPES)
    assert not caplog.records


def test_a_standing_camera_by_day_and_night_passes_quietly(streets, caplog):
    """All labels fit the day's images best; the network is right by day alone."""
    label, rng = read_superpixels(streets[0].label), np.random.default_rng(1)
    for number, item in enumerate(streets):
        scene, noise = label.astype(int), rng.integers(0, 20, label.shape)
        by_day = number % 4 == 0
        Image.fromarray(((10 if by_day else 1) * scene % 230 + noise).astype(np.uint8)).save(
            item.image
        )
        Image.fromarray(label).save(item.label)
        Image.fromarray(label if by_day else noise.astype(np.uint8)).save(item.superpixel)
    warn_if_labels_exchanged(streets, CITYSCAPES)
    predicted = [item._replace(image=item.superpixel) for item in streets]
    warn_if_predictions_exchanged(predicted, CITYSCAPES)
    assert not caplog.records


def test_labels_of_the_middle_of_objects_pass_quietly(streets, caplog):
    """Coarse ones: their borders to what is ignored lie inside of objects."""
    ignore_around_objects(streets, 17)
    warn_if_labels_exchanged(streets, CITYSCAPES)
    assert not caplog.records

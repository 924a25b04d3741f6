"""Validation: what counts in which mean, and what the line and the records hold."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from dataloader.dataset_info import load_dataset
from utils.errors import UserError
from utils.metrics import ConfusionMatrix
from utils.runtime import Runtime
from utils.stopping import STOP, Stopped
from utils.validation import Scores, validate, validation_line

CITYSCAPES, SYNTHIA = load_dataset("cityscapes"), load_dataset("SYNTHIA")


class Fixed(nn.Module):
    """A network that gives each image the labels drawn in its first channel."""

    def __init__(self, classes: int = 19):
        super().__init__()
        self.classes = classes

    def forward(self, images):
        return nn.functional.one_hot(images[:, 0].long(), self.classes).movedim(-1, 1).float()


@pytest.fixture()
def batches():
    """Three batches of labels and of predictions that are right for two thirds of the pixels."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(3):
        labels = rng.integers(0, 19, (2, 8, 16))
        predicted = np.where(rng.random(labels.shape) < 1 / 3, 0, labels)
        labels[:, 0] = 255
        images = torch.from_numpy(predicted)[:, None].float().repeat(1, 3, 1, 1)
        result.append(([0, 1], images, torch.from_numpy(labels.astype(np.uint8)), None))
    return result


def plain_ious(batches) -> list[float]:
    label = np.concatenate([b[2].numpy().ravel() for b in batches])
    found = np.concatenate([b[1][:, 0].numpy().ravel() for b in batches])[label != 255]
    label = label[label != 255]
    shares = []
    for c in range(19):
        both, either = (label == c) & (found == c), (label == c) | (found == c)
        shares.append(both.sum() / either.sum() if either.any() else float("nan"))
    return shares


def run(batches, names=CITYSCAPES.class_names, **options) -> Scores:
    return validate(Fixed(len(names)), batches, names, Runtime(torch.device("cpu")), **options)


def test_scores_are_those_of_all_pixels_that_count(batches, caplog):
    expected = plain_ious(batches)
    with caplog.at_level(logging.INFO):
        scores = run(batches)
    assert scores.miou == pytest.approx(np.mean(expected))
    assert list(scores.iou) == CITYSCAPES.class_names
    assert list(scores.iou.values()) == pytest.approx(expected)
    line = caplog.messages[-1].removeprefix("validation ").split(",")
    assert line == [f"{100 * value:.2f}" for value in (np.mean(expected), *expected)]


def test_the_line_of_synthia_has_two_means_and_its_16_classes(batches, caplog):
    expected = np.array(plain_ious(batches))
    missing, star = SYNTHIA.missing_classes, SYNTHIA.star_classes_without
    with caplog.at_level(logging.INFO):
        scores = run(batches, missing=missing, star=star)
    sixteen = np.delete(expected, missing)
    thirteen = np.delete(expected, [*missing, *star])
    values = caplog.messages[-1].removeprefix("validation ").split(",")
    assert len(values) == 18
    wanted = (sixteen.mean(), thirteen.mean(), *sixteen)
    assert [float(v) for v in values] == pytest.approx([100 * v for v in wanted], abs=0.006)
    assert scores.miou == pytest.approx(sixteen.mean())
    assert len(scores.iou) == 19


def test_classes_that_the_data_cannot_have_count_in_no_mean(batches):
    """CamVid labels 11 of the 19; others are always wrong where they are predicted."""
    absent = {3, 4, 9}
    for _, images, labels, _ in batches:
        labels[torch.isin(labels, torch.tensor(sorted(absent)))] = 255
        images[:, :, 1, :3] = 3.0
    expected = np.delete(plain_ious(batches), sorted(absent))
    assert run(batches, absent=absent).miou == pytest.approx(expected.mean())
    confusion = ConfusionMatrix(19)
    for _, images, labels, _ in batches:
        confusion.add(labels.numpy(), images[:, 0].numpy().astype(np.uint8))
    values = validation_line(confusion, absent=absent).split(",")
    assert len(values) == 20
    assert values[0] == f"{100 * expected.mean():.2f}"
    assert values[1 + 9] == "nan"


def test_records_hold_per_cent_and_none_for_what_does_not_occur():
    scores = Scores(0.25, {"road": 0.5, "sky": float("nan"), "car": 0.0})
    assert scores.percent() == {"mIoU": 25.0, "IoU": {"road": 50.0, "sky": None, "car": 0.0}}
    assert Scores().miou == -1
    again = Scores(**scores.plain())
    assert (again.miou, again.iou["road"]) == (0.25, 0.5)


def test_labels_of_which_no_pixel_counts_are_one_line(batches):
    for batch in batches:
        batch[2][:] = 255
    with pytest.raises(
        UserError, match="no pixel of the validation labels has a class that counts"
    ):
        run(batches)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_no_numbers_name_their_image(batches, value):
    """Finite weights may overflow: the largest of NaN is the first, and all were class 0."""
    images = batches[1][1]
    images[1, :, 3, 5] = value
    net, runtime = nn.Conv2d(3, 19, 1), Runtime(torch.device("cpu"))
    with pytest.raises(UserError, match=r"b\.png: the network's predictions .* NaN or infinite"):
        validate(net, batches, CITYSCAPES.class_names, runtime, paths=["a.png", "b.png"])


def test_it_can_be_stopped(batches, monkeypatch):
    monkeypatch.setattr(STOP, "signum", 15)
    with pytest.raises(Stopped):
        run(batches)


def test_a_network_is_measured_in_evaluation_mode(batches):
    net = Fixed()
    net.train()
    validate(net, batches, CITYSCAPES.class_names, Runtime(torch.device("cpu")))
    assert not net.training

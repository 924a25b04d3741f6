from pathlib import Path

import numpy as np
import pytest

from utils.metrics import ConfusionMatrix
from utils.validation import validation_line

GOLDEN = Path(__file__).parents[1] / "golden" / "miou.npz"


def brute_force_iou(label, prediction, classes):
    counted = label != 255
    label, prediction = label[counted], prediction[counted]
    result = []
    for c in range(classes):
        union = ((label == c) | (prediction == c)).sum()
        result.append(((label == c) & (prediction == c)).sum() / union if union else np.nan)
    return np.array(result)


def test_iou_equals_the_release_but_for_the_absent_class():
    golden = np.load(GOLDEN)
    confusion = ConfusionMatrix(19)
    for label, prediction in zip(golden["label"], golden["pred"], strict=True):
        confusion.add(label, prediction)
    expected = golden["iou_reference"] / 100
    present = np.arange(19) != 16
    assert np.allclose(confusion.iou()[present], expected[present])
    ours = brute_force_iou(golden["label"], golden["pred"], 19)
    assert np.array_equal(np.isnan(confusion.iou()), np.isnan(ours))
    assert confusion.mean_iou() == pytest.approx(np.nanmean(ours))


def test_absent_class_counts_only_when_it_is_predicted():
    label = np.array([0, 0, 1, 1, 255])
    absent, wrong = ConfusionMatrix(3), ConfusionMatrix(3)
    absent.add(label, np.array([0, 0, 1, 1, 2]))  # class 2 only where the label is ignored
    wrong.add(label, np.array([0, 2, 1, 1, 0]))
    assert absent.mean_iou() == 1
    assert np.isnan(absent.iou()[2])
    assert wrong.iou().tolist() == [0.5, 1, 0]
    assert wrong.mean_iou() == 0.5


def test_prediction_that_is_no_class_is_a_miss_and_charged_to_nobody():
    confusion = ConfusionMatrix(2)
    confusion.add(np.array([0, 0, 1]), np.array([0, 255, 1], np.uint8))
    assert confusion.iou().tolist() == [0.5, 1]


def test_batches_add_up():
    rng = np.random.default_rng(0)
    label = rng.choice([*range(19), 255], (4, 30, 40))
    prediction = rng.integers(0, 19, label.shape)
    parts, whole = ConfusionMatrix(19), ConfusionMatrix(19)
    whole.add(label, prediction)
    for pair in zip(label, prediction, strict=True):
        parts.add(*pair)
    assert np.array_equal(parts.counts, whole.counts)
    assert np.allclose(whole.iou(), brute_force_iou(label, prediction, 19))


def test_validation_line_has_the_means_then_every_class():
    confusion = ConfusionMatrix(4)
    confusion.add(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2]))
    assert validation_line(confusion) == "72.22,50.00,66.67,100.00,nan"
    assert validation_line(confusion, [0], [1]) == "83.33,100.00,66.67,100.00,nan"
    assert validation_line(confusion, absent=[1]) == "75.00,50.00,nan,100.00,nan"


def test_counts_are_exact_beyond_float32(monkeypatch):
    """In parts of any length, and for integers of any kind."""
    monkeypatch.setattr("utils.metrics.EXACT_COUNTS", 1000)
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 300, (50, 77))
    prediction = rng.integers(-5, 300, label.shape)
    confusion = ConfusionMatrix(19)
    confusion.add(label, prediction)
    for c in range(19):
        mine = prediction[label == c]
        expected = [(mine == other).sum() for other in range(19)]
        assert confusion.counts[c].tolist() == [*expected, len(mine) - sum(expected)]

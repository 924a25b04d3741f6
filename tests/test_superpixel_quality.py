"""The measure of superpixels, against brute force."""

import numpy as np

from benchmarks.superpixel_quality import METHODS, achievable_segmentation_accuracy


def test_accuracy_equals_brute_force():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 7, (30, 40)).astype(np.uint8)
    labels = rng.choice([0, 1, 2, 255], (30, 40)).astype(np.uint8)
    right = 0
    for region in range(7):
        inside = labels[(ids == region) & (labels != 255)]
        right += np.bincount(inside).max()
    expected = (right, (labels != 255).sum())
    assert achievable_segmentation_accuracy(ids, labels) == expected


def test_more_ids_than_a_byte_holds():
    ids = np.arange(30 * 40).reshape(30, 40)
    labels = np.full((30, 40), 3, np.uint8)
    assert achievable_segmentation_accuracy(ids, labels) == (1200, 1200)


def test_grid_is_of_equal_rectangles():
    ids = METHODS["grid"](40, 10.0)(np.zeros((360, 480, 3), np.uint8))
    assert np.bincount(ids.ravel()).tolist() == [360 * 480 // 40] * 40

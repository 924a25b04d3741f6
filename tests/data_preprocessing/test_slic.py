"""Superpixels: exact counts, connected, along the borders of things; brute-force accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from data_preprocessing.slic import _grid, _k_means, achievable_segmentation_accuracy, slic


def street(height, width, seed=0):
    """Sky, houses, road and boxes, with noise: (H, W, 3) uint8 and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    labels[height // 3 :] = 1
    labels[2 * height // 3 :] = 2
    for label in range(3, 9):
        y, x = rng.uniform(0.2, 0.8, 2) * (height, width)
        h, w = rng.uniform(0.08, 0.2, 2) * (height, width)
        labels[int(y) : int(y + h), int(x) : int(x + w)] = label
    colors = rng.integers(30, 226, (9, 3))
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(colors[labels] + noise, 0, 255).astype(np.uint8), labels


def assert_valid(ids, shape):
    assert ids.shape == shape
    assert ids.dtype == np.uint8
    assert np.array_equal(np.unique(ids), np.arange(ids.max() + 1))
    for region in range(ids.max() + 1):
        assert ndimage.label(ids == region)[1] == 1, f"region {region} is in pieces"


@pytest.mark.parametrize("size", [(360, 480), (760, 1280), (1052, 1914), (1024, 2048)])
def test_forty_connected_regions_at_every_datasets_size(size):
    ids = slic(street(*size)[0])
    assert_valid(ids, size)
    assert ids.max() == 39
    areas = np.bincount(ids.ravel())
    assert areas.min() > 0.05 * ids.size / 40  # no splinters


def test_borders_follow_things_better_than_a_grid():
    image, labels = street(240, 480)
    rows, columns = np.mgrid[:240, :480]
    grid = (rows * 5 // 240 * 8 + columns * 8 // 480).astype(np.uint8)
    ours, counted = achievable_segmentation_accuracy(slic(image), labels)
    plain, _ = achievable_segmentation_accuracy(grid, labels)
    assert ours / counted > 0.97
    assert plain / counted < 0.93


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 255), st.integers(0, 99))
def test_any_small_image(height, width, count, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    ids = slic(image, count)
    assert_valid(ids, (height, width))
    assert ids.max() < count


def test_constant_image_is_cut_evenly():
    ids = slic(np.full((100, 200, 3), 90, np.uint8))
    assert_valid(ids, (100, 200))
    areas = np.bincount(ids.ravel())
    assert len(areas) == 40
    assert areas.max() < 2 * areas.min()


def test_compactness_weighs_position_against_colour():
    image, _ = street(120, 240)
    y, x = np.mgrid[:120, :240]

    def spread(ids):
        variances = [ndimage.variance(axis, ids, np.arange(ids.max() + 1)) for axis in (y, x)]
        return (np.sum(variances, 0) * np.bincount(ids.ravel())).sum()

    spreads = [spread(slic(image, compactness=c)) for c in (1, 10, 100)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_repeats_exactly():
    image, _ = street(120, 240)
    assert np.array_equal(slic(image), slic(image.copy()))


def test_one_step_of_k_means_equals_a_plain_loop():
    height, width, count, compactness = 20, 36, 8, 10.0
    lab = np.random.default_rng(0).normal(50, 15, (height, width, 3)).astype(np.float32)
    interval = np.sqrt(height * width / count)
    expected = np.zeros((height, width), int)
    for y, x in np.ndindex(height, width):
        best = np.inf
        for index, (cy, cx) in enumerate(_grid(height, width, count).astype(int)):
            low = np.floor([cy - 2 * interval, cx - 2 * interval])  # windows hold whole pixels
            high = np.floor([cy + 2 * interval, cx + 2 * interval])
            inside = np.all((low <= (y, x)) & ((y, x) <= high))
            color = ((lab[y, x].astype(float) - lab[cy, cx]) ** 2).sum()
            distance = color + (compactness / interval) ** 2 * ((y - cy) ** 2 + (x - cx) ** 2)
            if inside and distance < best:
                best, expected[y, x] = distance, index
    assert np.array_equal(_k_means(lab, count, compactness, 1), expected)


@pytest.mark.parametrize("count", [0, 256])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match="1 to 255"):
        slic(np.zeros((8, 8, 3), np.uint8), count)


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

"""Superpixels: their number, connected, along the borders of things, at any size of image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import segmentation

from benchmarks.superpixel_quality import achievable_segmentation_accuracy
from data_preprocessing.slic import COPY_PIXELS, _merge_smallest, slic


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


def checked(ids, image, wanted):
    """The number of regions of a map that is as promised for this image and number wanted."""
    assert ids.shape == image.shape[:2]
    assert ids.dtype == np.uint8
    count = int(ids.max()) + 1
    assert np.array_equal(np.unique(ids), np.arange(count))
    for region, box in enumerate(ndimage.find_objects(ids.astype(int) + 1)):
        assert ndimage.label(ids[box] == region)[1] == 1, f"region {region} is in pieces"
    assert 2 * min(wanted, ids.size) <= 3 * count
    assert count <= wanted
    return count


@pytest.mark.parametrize("size", [(360, 480), (760, 1280), (1052, 1914), (1024, 2048)])
def test_connected_regions_at_every_datasets_size(size):
    image, _ = street(*size)
    ids = slic(image)
    checked(ids, image, 40)
    areas = np.bincount(ids.ravel())
    assert areas.min() > 0.05 * ids.size / 40  # no splinters


@pytest.mark.parametrize("wanted", [1, 2, 5, 10, 100, 200, 255])
def test_any_number_of_regions(wanted):
    image, _ = street(360, 480)
    checked(slic(image, wanted), image, wanted)


def test_more_regions_than_a_byte_holds_are_merged():
    """scikit-image makes 258 and more of this image where 255 are wanted."""
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    plain = segmentation.slic(image, 255, sigma=1, min_size_factor=0.1, start_label=0)
    assert plain.max() > 255
    assert checked(slic(image, 255), image, 255) == 255


def test_few_enough_regions_are_scikit_images():
    image, _ = street(200, 300)  # not more pixels than the copy has
    plain = segmentation.slic(image, 20, compactness=10, sigma=1, min_size_factor=0.1)
    count = len(np.unique(plain))
    ids = slic(image, 20)
    assert count <= 20 and ids.max() + 1 == count
    assert len(np.unique(ids.astype(int) * 1000 + plain)) == count  # the same but for their numbers


def test_borders_follow_things_better_than_a_grid():
    image, labels = street(240, 480)
    rows, columns = np.mgrid[:240, :480]
    grid = (rows * 5 // 240 * 8 + columns * 8 // 480).astype(np.uint8)
    ours, counted = achievable_segmentation_accuracy(slic(image), labels)
    plain, _ = achievable_segmentation_accuracy(grid, labels)
    assert ours / counted > 0.97
    assert plain / counted < 0.93


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 255),
    st.sampled_from(["noise", "one colour", "stripes", "two halves"]),
)
def test_any_small_image(height, width, wanted, kind):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rows = np.arange(height)[:, None, None]
    values = {
        "noise": noise,
        "one colour": 90,
        "stripes": rows % 2 * 255,
        "two halves": (rows > height // 2) * 200,
    }
    image = np.broadcast_to(values[kind], noise.shape).astype(np.uint8)
    checked(slic(image, wanted), image, wanted)


@pytest.mark.parametrize("size", [(251, 333), (4, 20_000), (70_001, 1), (2, 65_537)])
@pytest.mark.parametrize("wanted", [40, 255])
def test_images_larger_than_the_copy(size, wanted):
    """After the copy's regions are enlarged, too, each is there and connected."""
    assert size[0] * size[1] > COPY_PIXELS
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    checked(slic(image, wanted), image, wanted)


def test_an_image_of_54_megapixels():
    ids = slic(np.full((6000, 9000, 3), 120, np.uint8))
    areas = np.bincount(ids.ravel())
    assert ids.shape == (6000, 9000) and 27 <= len(areas) <= 40 and areas.min() > 0


def test_the_smallest_region_joins_the_neighbour_of_the_longest_border():
    blocks = np.random.default_rng(0).permutation(48).reshape(6, 8)
    regions = np.kron(blocks, np.ones((5, 7), int))  # of equal size: the first one counts
    regions[:, 20:31] = regions[:, 19:20]  # and of different sizes
    regions = np.unique(regions, return_inverse=True)[1].reshape(regions.shape)
    expected = regions.copy()
    while len(np.unique(expected)) > 9:
        areas = {region: (expected == region).sum() for region in np.unique(expected)}
        smallest = min(areas, key=areas.get)
        inside = expected == smallest
        borders = dict.fromkeys(areas, 0)
        for y, x in np.argwhere(inside):
            for row, column in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= row < 30 and 0 <= column < 56:
                    borders[expected[row, column]] += 1
        borders[smallest] = -1
        expected[inside] = max(borders, key=borders.get)
    expected = np.unique(expected, return_inverse=True)[1].reshape(regions.shape)
    assert np.array_equal(_merge_smallest(regions, 9), expected)
    assert np.array_equal(_merge_smallest(regions, 48), regions)


def test_constant_image_is_cut_evenly():
    image = np.full((100, 200, 3), 90, np.uint8)
    ids = slic(image)
    checked(ids, image, 40)
    areas = np.bincount(ids.ravel())
    assert areas.max() < 2.5 * areas.min()  # at most two of the grid's cells


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


@pytest.mark.parametrize("count", [0, 256])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match="1 to 255"):
        slic(np.zeros((8, 8, 3), np.uint8), count)

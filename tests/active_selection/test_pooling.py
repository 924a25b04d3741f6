"""Region means against plain upsampling and averaging, and resizing of superpixel maps."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from active_selection.pooling import (
    add_up,
    pool_at_once,
    pool_features,
    pool_in_blocks,
    pool_predictions,
    sum_by_region,
    sum_runs,
)
from active_selection.region_table import column_types, make_table
from active_selection.table_pass import measure_image, resize_superpixels
from benchmarks.measure import peak_mb
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item
from utils.errors import UserError


def superpixel_map(height, width, regions, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.random((regions, 2)) * [height, width]
    pixels = np.stack(np.mgrid[:height, :width], -1)[:, :, None]
    return torch.from_numpy(((pixels - centres) ** 2).sum(-1).argmin(-1))


def brute_force_means(values, superpixels, regions):
    """Mean of (C, H, W) over each region, in double precision."""
    return torch.stack(
        [values[:, superpixels == region].double().mean(1) for region in range(regions)]
    )


SIZES = [((5, 7), (40, 56)), ((16, 32), (64, 128)), ((9, 17), (30, 50)), ((8, 8), (8, 8))]


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_features_equal_upsample_and_average(small, large):
    torch.manual_seed(0)
    features = torch.randn(12, *small)
    superpixels = superpixel_map(*large, regions=9)
    upsampled = F.interpolate(features[None], large, mode="bilinear", align_corners=False)[0]
    expected = brute_force_means(upsampled, superpixels, 9)
    pooled = pool_features(features, superpixels, 9)
    torch.testing.assert_close(pooled.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", [pool_in_blocks, pool_at_once])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_predictions_equal_upsample_softmax_and_average(small, large, pool, monkeypatch):
    monkeypatch.setattr("active_selection.pooling.BLOCK_PIXELS", 3 * large[1])  # several blocks
    monkeypatch.setattr("active_selection.pooling.MEMBER_CELLS", 9 * 3 * large[1])
    torch.manual_seed(0)
    logits = 3 * torch.randn(19, *small)
    superpixels = superpixel_map(*large, regions=9)
    upsampled = F.interpolate(logits[None], large, mode="bilinear", align_corners=False)[0]
    p = upsampled.double().softmax(0)
    top = p.sort(0, descending=True).values
    uncertainties = torch.stack([-(p * (p + 1e-12).log2()).mean(0), -top[0], top[1] - top[0]])
    prob, uncertainty, predicted_share = pool(logits, superpixels, 9)
    torch.testing.assert_close(
        prob.double(), brute_force_means(p, superpixels, 9), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        uncertainty.double(), brute_force_means(uncertainties, superpixels, 9), rtol=1e-4, atol=1e-6
    )
    votes = F.one_hot(p.argmax(0), 19).movedim(-1, 0)
    torch.testing.assert_close(predicted_share.double(), brute_force_means(votes, superpixels, 9))


def test_pooling_at_once_and_in_blocks_give_the_same_numbers():
    torch.manual_seed(1)
    logits = 4 * torch.randn(19, 24, 48)
    superpixels = superpixel_map(96, 192, regions=30)
    superpixels[superpixels == 7] = 8  # a region without pixels
    blocks, once = (pool(logits, superpixels, 30) for pool in (pool_in_blocks, pool_at_once))
    for expected, values in zip(blocks, once, strict=True):
        assert values.dtype == expected.dtype
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(blocks[2], once[2])  # every pixel is predicted as the same class


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("pool", [pool_in_blocks, pool_at_once])
def test_logits_that_are_no_numbers_are_not_averaged_away(pool, bad):
    logits = torch.zeros(3, 4, 4)
    logits[1, 2, 2] = bad
    prob, uncertainty, _ = pool(logits, torch.zeros(8, 8, dtype=torch.int64), 1)
    assert prob.isnan().any()
    assert uncertainty.isnan().any()


def test_shrinking_keeps_every_region():
    superpixels = torch.zeros(64, 64, dtype=torch.uint8)
    superpixels[:, 32:] = 1
    superpixels[5, 7] = 2  # one pixel: gone in a plain nearest-neighbour resize
    superpixels[60:62, 60] = 3
    small = resize_superpixels(superpixels, np.arange(4), (16, 16))
    assert small.shape == (16, 16)
    assert small[1, 1] == 2
    assert set(np.unique(small)) == {0, 1, 2, 3}


def test_lost_regions_never_take_one_anothers_only_pixel():
    superpixels = torch.zeros(100, 100, dtype=torch.uint8)
    superpixels[50, 50], superpixels[50, 51], superpixels[51, 50] = 1, 2, 3
    small = resize_superpixels(superpixels, np.arange(4), (20, 20))
    assert np.bincount(small.ravel()).tolist() == [397, 1, 1, 1]
    for y, x in np.argwhere(small):
        assert abs(y - 10) <= 2 and abs(x - 10) <= 2
    with pytest.raises(UserError, match="--image_size 1 3"):
        resize_superpixels(superpixels, np.arange(4), (1, 3))


def test_shrinking_is_nearest_neighbour_at_pixel_centres():
    superpixels = superpixel_map(60, 90, 12).to(torch.uint8)
    small = resize_superpixels(superpixels, np.unique(superpixels), (20, 30))
    assert np.array_equal(small, superpixels.numpy()[1::3, 1::3])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_name_their_image(bad):
    regions = {"/d/map.png": {0: 32, 1: 32}}
    types = column_types(num_classes=3, with_discriminator=False) | {"feature": (np.float32, (4,))}
    columns = {name: np.zeros((2, *shape), dtype) for name, (dtype, shape) in types.items()}
    item = Item("/d/street.png", "/d/label.png", "/d/map.png")
    domain = Domain(load_dataset("camvid"), "/d", [item], regions)
    table = make_table(domain, columns)
    superpixels = torch.arange(8).repeat(8, 1) // 4
    features, logits = torch.ones(4, 2, 2), torch.ones(3, 2, 2)
    arguments = (table, slice(0, 2), features, logits, superpixels.to(torch.uint8), (8, 8))
    measure_image(*arguments)
    features[1, 0, 0] = bad
    with pytest.raises(UserError, match=r"/d/street\.png: .*NaN"):
        measure_image(*arguments)


def test_predictions_need_memory_for_a_block_of_rows_not_for_the_image():
    logits = torch.randn(19, 64, 64)
    maps = (torch.arange(rows * 512).view(rows, 512) % 40 for rows in (512, 4096))
    small, large = (peak_mb(partial(pool_predictions, logits, ids, 40)) for ids in maps)
    assert large < small + 40  # all probabilities in full size would be 140 MB more


def test_features_need_an_eighth_of_the_memory_of_upsampled_ones():
    features = torch.randn(256, 64, 128)
    ids = superpixel_map(256, 512, 40)
    assert peak_mb(lambda: pool_features(features, ids, 40)) < 256 * 256 * 512 * 4 / 8 / 1e6


def test_sums_by_region_of_runs_and_of_pixels_are_equal():
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 5, 1000) // 2 * 2)
    values = torch.randint(0, 9, (3, 1000)).float()
    by_pixel = add_up(values, torch.ones_like(ids), ids, 6)
    by_run = add_up(*sum_runs(values, ids), 6)
    table = torch.stack([values[:, ids == region].sum(1) for region in range(6)])
    for sums, counts in (by_pixel, by_run, sum_by_region(values, ids, 6)):
        assert torch.equal(sums, table)
        assert counts.tolist() == np.bincount(ids, minlength=6).tolist()

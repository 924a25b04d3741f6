"""A region table's rows against plain upsampling and averaging, image by image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from active_selection.ranking import largest_first
from active_selection.region_table import UNCERTAINTIES, column_types, make_table
from active_selection.schedule import cut_at_budget
from active_selection.strategies import STRATEGIES, Candidates
from active_selection.table_pass import fill_table
from active_selection.uncertainty import rank_by_uncertainty
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.datasets import EvaluationSet
from dataloader.domain import Domain
from dataloader.images import read_superpixels
from dataloader.loaders import evaluation_loader
from models import get_model
from models.discriminator import Discriminator
from utils.runtime import Runtime

SIZE = (64, 128)


@pytest.fixture(scope="module")
def filled(toy_city):
    """(table, network and discriminator as one, images) of the toy target."""
    torch.manual_seed(0)
    root = toy_city / "Cityscapes"
    items = read_datalist(root / "train.txt", root)
    model = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False)
    discriminator = Discriminator(19).eval()
    discriminator.classifier.weight.data *= 100  # an opinion that differs from place to place
    domain = Domain(load_dataset("cityscapes"), str(root), items).with_regions("train")
    n = sum(map(len, domain.regions.values()))
    types = column_types(num_classes=19, with_discriminator=True).items()
    columns = {
        name: np.full((n, *shape), np.nan if dtype == np.float32 else 0, dtype)
        for name, (dtype, shape) in types
    }
    table = make_table(domain, columns)
    data = EvaluationSet(items, domain.info, SIZE, superpixels=True)
    runtime = Runtime(torch.device("cpu"))
    loader = evaluation_loader(data, 4, 0)
    done = list(fill_table(table, model, loader, runtime, discriminator))
    assert done == [4, 6]
    images = torch.stack([data[index][1] for index in range(len(data))])
    return table, (model.eval(), discriminator), images


def pixel_maps(networks, images):
    """Features, probabilities, scores, votes and D of pixels, (N, C, H, W) in double precision."""
    model, discriminator = networks
    with torch.inference_mode():
        features, logits = model.forward_features(images)
        domain = discriminator(F.interpolate(logits, SIZE, mode="bilinear").softmax(1)).sigmoid()
    features, domain, logits = (
        F.interpolate(m.double(), SIZE, mode="bilinear", align_corners=False)
        for m in (features, domain, logits)
    )
    p = logits.softmax(1)
    top = p.sort(1, descending=True).values
    entropy = (-p * torch.log2(p + 1e-12)).mean(1)
    scores = torch.stack([entropy, -top[:, 0], top[:, 1] - top[:, 0]], 1)
    votes = F.one_hot(p.argmax(1), 19).movedim(-1, 1).double()
    return features, p, scores, votes, domain


def measured(table):
    """A table's columns in the order of :func:`pixel_maps`."""
    return (
        table.feature,
        table.prob,
        table.uncertainty,
        table.predicted_share,
        table.target_prob[:, None],
    )


def test_every_row_is_its_regions_mean(filled):
    table, model, images = filled
    maps = pixel_maps(model, images)
    for row, (image, region) in enumerate(zip(table.image, table.region, strict=True)):
        inside = torch.from_numpy(read_superpixels(table.items[image].superpixel) == region)
        assert table.area[row] == table.pixels[row] == inside.sum()
        for values, whole in zip(measured(table), maps, strict=True):
            expected = whole[image][:, inside].mean(1).numpy()
            np.testing.assert_allclose(values[row], expected, rtol=1e-4, atol=2e-5)
    assert np.array_equal(table.pseudo_class, table.prob.argmax(1))
    assert table.target_prob.std() > 0.01


def test_whole_images_are_the_means_of_their_pixels(filled):
    table, model, images = filled
    whole = table.per_image()
    for values, maps in zip(measured(whole), pixel_maps(model, images), strict=True):
        np.testing.assert_allclose(values, maps.mean((2, 3)), rtol=1e-4, atol=2e-5)
    assert (whole.area == SIZE[0] * SIZE[1]).all()
    assert (whole.region == -1).all()
    pool = np.arange(len(table)) % 3 == 0
    left = table.per_image(pool)
    for image in range(len(images)):
        assert left.area[image] == table.area[pool & (table.image == image)].sum()


def test_equal_scores_keep_datalist_order():
    """Ties are broken by the order of the table, which is that of the datalist."""
    score = np.array([1, 3, 1, 3, 2, 1, 3], np.float32)
    pool = np.array([1, 1, 1, 1, 1, 1, 0], bool)
    assert largest_first(score, pool).rows.tolist() == [1, 3, 4, 0, 2, 5]
    flat = largest_first(np.zeros(5000), np.ones(5000, bool))
    assert flat.rows.tolist() == list(range(5000))


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_uncertainty_ranks_the_pool_by_its_column(filled, name):
    table, *_ = filled
    pool = np.arange(len(table)) % 2 == 0
    ranking = rank_by_uncertainty(table, pool, name)
    assert sorted(ranking.rows) == np.flatnonzero(pool).tolist()
    column = table.uncertainty[:, UNCERTAINTIES.index(name)]
    assert ranking.scores.tolist() == sorted(column[pool].tolist(), reverse=True)


def test_random_is_a_permutation_that_its_seed_decides(filled):
    table, *_ = filled
    pool = np.ones(len(table), bool)
    rank = STRATEGIES["random"].rank
    orders = [rank(Candidates(table, seed=seed), pool, 0).rows for seed in (0, 0, 1)]
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()
    assert sorted(orders[0]) == list(range(len(table)))


@pytest.mark.parametrize("mode", ["region", "scan"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_ranks_unlabelled_regions_and_spends_any_budget(filled, name, mode):
    table, *_ = filled
    regions_left = table.image > 1  # the first two images are labelled
    edge = np.linspace(0, 1, len(table), dtype=np.float32)
    candidates = Candidates(table, table, edge=edge)
    if mode == "scan":
        candidates = candidates.per_image(regions_left)
    target = candidates.target
    pool = target.image > 1
    for share in (0.1, 0.5, 1):
        budget = share * target.area[pool].sum()
        rows, scores = STRATEGIES[name].rank(candidates, pool, budget)
        assert len(rows) == len(scores) == len(set(rows.tolist()))
        assert pool[rows].all()
        assert np.issubdtype(rows.dtype, np.integer)
        taken = cut_at_budget(rows, target.area, budget)
        assert target.area[taken].sum() >= budget


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_ranks_the_same(filled, name):
    table, *_ = filled
    pool = table.image > 0
    edge = np.zeros(len(table), np.float32)
    candidates = Candidates(table, table, 7, edge=edge)
    rankings = [STRATEGIES[name].rank(candidates, pool, 9e3) for _ in range(2)]
    assert rankings[0].rows.tolist() == rankings[1].rows.tolist()

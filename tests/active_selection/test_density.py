"""Density-aware selection on arrays: published formulas, scikit-learn, degenerate cases."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.covariance import OAS
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from active_selection.density import (
    DensityOptions,
    class_weight,
    draw_rows,
    log_density_ratio,
    rank_by_density,
)
from active_selection.mixture import fit_mixture
from active_selection.region_table import RegionTable
from active_selection.schedule import cut_at_budget
from utils.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "density.npz"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


@pytest.mark.parametrize("c", [0, 1, 2])
def test_ratio_and_weight_equal_the_published_formulas(golden, c):
    ratio = log_density_ratio(golden[f"src_{c}"], golden[f"trg_{c}"])
    expected = golden[f"logp_trg_{c}"] - golden[f"logp_src_{c}"]
    assert ratio.dtype == np.float64
    assert spearmanr(ratio, expected).statistic >= 0.99
    assert class_weight(ratio) == max(1, int(golden[f"log10_kl_{c}"]))


def test_class_weight_is_at_least_one():
    for mean, weight in [(0, 1), (0.01, 1), (-0.5, 1), (9, 1), (99, 1), (100, 2), (-1e5, 5)]:
        assert class_weight(np.full(3, mean)) == weight
    assert class_weight(np.array([np.inf, 1.0])) == 1


def test_more_target_regions_than_100_per_component_get_ten_at_most():
    rng = np.random.default_rng(0)
    for rows, components in [(3, 1), (199, 1), (200, 2), (1500, 10)]:
        target = rng.normal(size=(rows, 2))
        ratio = log_density_ratio(rng.normal(size=(0, 2)), target)
        assert np.allclose(ratio, fit_mixture(target, components).log_density(target))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.zeros((0, 256)), np.random.default_rng(0).normal(size=(20, 256))),
        (np.zeros((1, 256)), np.random.default_rng(0).normal(size=(20, 256))),
        (np.random.default_rng(1).normal(size=(4, 256)), np.ones((500, 256))),
        (np.ones((300, 256)), np.ones((300, 256))),
        (
            np.random.default_rng(1).normal(size=(2, 3)),
            np.random.default_rng(2).normal(size=(2, 3)),
        ),
        (1e6 * np.ones((40, 8)), np.repeat(np.random.default_rng(2).normal(size=(3, 8)), 90, 0)),
    ],
    ids=["no source", "one source", "few source", "identical", "two and two", "duplicates"],
)
def test_degenerate_features_give_finite_ratios(source, target):
    ratio = log_density_ratio(source.astype(np.float32), target.astype(np.float32))
    assert ratio.shape == (len(target),)
    assert np.isfinite(ratio).all()


@pytest.mark.parametrize("components", [1, 6])
def test_accelerators_compute_the_same_mixture_all_components_at_once(components, monkeypatch):
    """What an accelerator computes is computed on the CPU here, in several blocks."""
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(900, 24)) + rng.integers(0, 6, (900, 1))).astype(np.float32)
    expected = fit_mixture(features, components)
    monkeypatch.setattr("active_selection.mixture.on_accelerator", lambda device: True)
    monkeypatch.setattr("active_selection.mixture.BATCH_ROWS", 400 * components)
    mixture = fit_mixture(features, components)
    for name in ("weights", "means", "covariances"):
        torch.testing.assert_close(
            getattr(mixture, name), getattr(expected, name), rtol=1e-9, atol=1e-12
        )
    np.testing.assert_allclose(
        mixture.log_density(features), expected.log_density(features), rtol=1e-10
    )


def test_ill_conditioned_covariance_raises_the_regulariser(caplog):
    caplog.set_level("INFO")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 1)) @ rng.normal(size=(1, 64)) * 1e7
    assert np.isfinite(fit_mixture(features, 3).log_density(features)).all()
    assert "regulariser raised" in caplog.text
    with pytest.raises(UserError, match=r"features of 50 regions, up to .*lower rate"):
        fit_mixture(features * 1e20, 3)


def table(classes, features, area=10):
    """A region table with given pseudo-classes (n,) and features (n, d)."""
    n = len(classes)
    prob = np.full((n, 19), 0.01, np.float32)
    prob[np.arange(n), classes] = 0.9
    return RegionTable(
        items=[],
        image=np.arange(n, dtype=np.int32),
        region=np.zeros(n, np.int32),
        area=np.full(n, area, np.int64),
        pixels=np.full(n, area, np.int64),
        feature=np.asarray(features, np.float32),
        prob=prob,
        uncertainty=np.zeros((n, 3), np.float32),
        predicted_share=prob,
    )


def normal(n, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, size=(n, 8))


CASES = {
    "class without source": ([0] * 50, [1] * 30 + [0] * 30),
    "one target region": ([0] * 50 + [3] * 5, [0] * 40 + [3]),
    "fewer regions than components": ([0] * 3, [0] * 900),
    "only single regions": ([0] * 9, [1, 2, 3]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("identical", [False, True])
def test_every_region_is_ranked_once_and_the_budget_is_spent(case, identical):
    source_classes, target_classes = CASES[case]
    make = (lambda n, **_: np.ones((n, 8))) if identical else normal
    source = table(source_classes, make(len(source_classes), seed=1))
    target = table(target_classes, make(len(target_classes), seed=2))
    pool = np.ones(len(target), bool)
    pool[::4] = False
    ranking = rank_by_density(source, target, pool)
    assert sorted(ranking.rows) == np.flatnonzero(pool).tolist()
    budget = 10 * (int(pool.sum()) - 1)
    assert target.area[cut_at_budget(ranking.rows, target.area, budget)].sum() == budget


def test_regions_the_source_lacks_come_first_within_their_class():
    source = table([0] * 400, normal(400))
    novel = np.arange(300) >= 250  # in 0..249 the target looks like the source
    target = table([0] * 300, np.where(novel[:, None], normal(300, 6.0), normal(300, seed=3)))
    ranking = rank_by_density(source, target, np.ones(300, bool))
    assert novel[ranking.rows[:50]].all()
    assert (np.diff(ranking.scores) <= 0).all()


def test_best_200_of_each_class_come_before_any_201st():
    target = table([0] * 300 + [1] * 250, normal(550))
    ranking = rank_by_density(table([0], normal(1)), target, np.ones(550, bool))
    classes = target.pseudo_class[ranking.rows]
    assert np.bincount(classes[:400]).tolist() == [200, 200]


def test_the_whole_order_is_that_of_a_brute_force():
    """Three classes of different sizes and weights, a fourth with one region, some labelled."""
    classes = [0] * 700 + [1] * 450 + [2] * 260 + [5]
    target = table(
        classes, np.concatenate([normal(700), normal(450, 3), normal(260, 9), [[0] * 8]])
    )
    source = table([0] * 300 + [1] * 300 + [2] * 300, normal(900, seed=1))
    pool = np.random.default_rng(0).random(len(target)) < 0.7
    ratio, weight = np.zeros(len(target)), {}
    for c, k in {0: 7, 1: 4, 2: 2}.items():
        of_target, of_source = (t.feature[t.pseudo_class == c] for t in (target, source))
        fits = [
            GaussianMixture(k, max_iter=200, random_state=0).fit(rows.astype(float))
            for rows in (of_target, of_source)
        ]
        d = np.subtract(*(fit.score_samples(of_target.astype(float)) for fit in fits))
        ratio[target.pseudo_class == c] = d
        weight[c] = max(1, int(np.log10(abs(d.mean()))))
    assert len(set(weight.values())) > 1
    queues = {}
    for c in weight:
        rows = np.flatnonzero((target.pseudo_class == c) & pool)
        queues[c] = sorted(rows, key=lambda row: -ratio[row])
    expected = []
    for part in (slice(200), slice(200, None)):
        lists = {c: queue[part] for c, queue in queues.items()}
        while any(lists.values()):
            for c, queue in lists.items():
                expected += queue[: weight[c]]
                lists[c] = queue[weight[c] :]
    expected += np.flatnonzero((target.pseudo_class == 5) & pool).tolist()
    ranking = rank_by_density(source, target, pool)
    assert ranking.rows.tolist() == expected
    np.testing.assert_allclose(ranking.scores, ratio[expected], rtol=1e-6)


def test_labelled_regions_leave_room_for_others():
    """The release dropped labelled regions only after taking the 200 best of a class."""
    target = table([0] * 500, normal(500))
    everything = np.ones(500, bool)
    first = rank_by_density(table([0], normal(1)), target, everything).rows[:200]
    pool = everything.copy()
    pool[first] = False
    second = rank_by_density(table([0], normal(1)), target, pool).rows
    assert len(second) == 300
    assert not set(first) & set(second)


def test_skipped_classes_come_last():
    target = table([9] * 20 + [0] * 20, normal(40))
    options = DensityOptions(skip_classes=[9, 14, 16])
    ranking = rank_by_density(table([0, 9], normal(2)), target, np.ones(40, bool), options)
    assert target.pseudo_class[ranking.rows].tolist() == [0] * 20 + [9] * 20


def test_without_class_balance_all_regions_are_in_one_list():
    target = table([0] * 300 + [1] * 250, normal(550))
    source = table([0] * 40 + [1] * 40, normal(80, 1.0, seed=1))
    pool = np.arange(550) % 3 > 0
    turns, plain = (
        rank_by_density(source, target, pool, DensityOptions(class_balance=balance))
        for balance in (True, False)
    )
    assert sorted(plain.rows) == sorted(turns.rows) == np.flatnonzero(pool).tolist()
    assert (np.diff(plain.scores) <= 0).all()
    assert (np.diff(turns.scores) > 0).any()


@pytest.mark.parametrize("components", [1, 3])
def test_components_can_be_set(components):
    target, source = (table([0] * 700, normal(700, seed=seed)) for seed in (0, 1))
    options = DensityOptions(components=components)
    ranking = rank_by_density(source, target, np.ones(700, bool), options)
    with_rule = rank_by_density(source, target, np.ones(700, bool))
    fits = [fit_mixture(t.feature, components) for t in (target, source)]
    ratio = np.subtract(*(fit.log_density(target.feature) for fit in fits))
    np.testing.assert_allclose(ranking.scores, -np.sort(-ratio))
    assert not np.allclose(ranking.scores, with_rule.scores)  # which gives 7


def test_source_mixtures_can_be_fitted_to_some_regions():
    """Target mixtures are fitted to all target regions in any case."""
    target, source = (table([0] * 900, normal(900, seed=seed)) for seed in (0, 1))
    everything = np.ones(900, bool)

    def rank(count):
        options = DensityOptions(components=2, max_source_regions=count)
        return rank_by_density(source, target, everything, options)

    drawn = draw_rows(np.arange(900), 400, seed=0)
    assert len(np.unique(drawn)) == 400
    assert (np.diff(drawn) > 0).all()
    fits = [fit_mixture(rows, 2) for rows in (target.feature, source.feature[drawn])]
    ratio = np.subtract(*(fit.log_density(target.feature) for fit in fits))
    some, enough, full = (rank(count) for count in (400, 900, None))
    np.testing.assert_allclose(some.scores, ratio[some.rows])
    assert np.array_equal(enough.scores, full.scores)
    assert not np.allclose(some.scores, full.scores)


def test_source_mixtures_are_fitted_to_20000_regions_by_default():
    rng = np.random.default_rng(0)
    source, target = (table([0] * n, rng.normal(size=(n, 2))) for n in (20_050, 30))
    default, limited, unlimited = (
        rank_by_density(source, target, np.ones(30, bool), options).scores
        for options in (
            DensityOptions(),
            DensityOptions(max_source_regions=20_000),
            DensityOptions(max_source_regions=None),
        )
    )
    assert np.array_equal(default, limited)
    assert not np.allclose(default, unlimited, rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "components", "size"),
    [(2, 1, 64), (2, 2, 64), (40, 1, 64), (90, 3, 64), (700, 7, 64), (5000, 10, 24)],
)
def test_mixtures_equal_scikit_learns(rows, components, size):
    """Initialisation, steps and stopping rule are the same, so results agree to rounding."""
    rng = np.random.default_rng(rows)
    centres = rng.normal(size=(12, size)) * 0.5
    spread = rng.normal(size=(20, size)) * 0.3
    features = centres[rng.integers(0, 12, rows)] + rng.normal(size=(rows, 20)) @ spread
    features = np.maximum(features + 0.3 * rng.normal(size=(rows, size)), 0).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = GaussianMixture(components, max_iter=200, random_state=3).fit(
            features.astype(np.float64)
        )
    ours = fit_mixture(features, components, seed=3)
    expected = theirs.score_samples(features.astype(np.float64))
    np.testing.assert_allclose(ours.log_density(features), expected, rtol=1e-6)
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-6)
    np.testing.assert_allclose(ours.means, theirs.means_, rtol=1e-6, atol=1e-9)


def test_overlapping_components_share_rows():
    """Components so close that every row has several responsibilities."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3)) + 1])
    theirs = GaussianMixture(4, max_iter=200, random_state=0).fit(features)
    ours = fit_mixture(features, 4)
    np.testing.assert_allclose(ours.log_density(features), theirs.score_samples(features), 1e-6)
    assert ((ours.weighted_log_prob(torch.from_numpy(features)) > -torch.inf).sum(1) > 1).all()


def test_the_log_names_the_classes(caplog):
    regions = table([0, 2, 3] * 2, np.eye(6, 4))
    options = DensityOptions(class_names=["soil", "plant", "weed"])
    with caplog.at_level(logging.INFO):
        rank_by_density(regions, regions, np.ones(6, bool), options)
    for name in ("soil", "weed", "class 3"):
        assert f"{name}: 2 target and 2 source regions" in caplog.text
        assert f"{name}: mean d " in caplog.text


@pytest.mark.parametrize("rows", [40, 400])
def test_covariances_are_shrunk_as_scikit_learn_does(rows):
    features = np.random.default_rng(0).normal(size=(rows, 64)) * np.linspace(0.1, 3, 64)
    expected = OAS().fit(features).covariance_
    found = fit_mixture(features, 1, covariance="oas").covariances[0].numpy()
    assert np.allclose(found, expected + 1e-6 * np.eye(64), rtol=1e-9, atol=1e-12)


def test_shrunk_components_weigh_their_own_rows():
    """Each component of two far groups is shrunk by its own number of rows."""
    rng = np.random.default_rng(1)
    groups = [rng.normal(size=(30, 16)), 1000 + rng.normal(size=(300, 16)) * np.arange(1, 17)]
    mixture = fit_mixture(np.concatenate(groups), 2, covariance="oas")
    found = sorted(mixture.covariances.numpy(), key=np.trace)
    for covariance, group in zip(found, groups, strict=True):
        expected = OAS().fit(group).covariance_ + 1e-6 * np.eye(16)
        assert np.allclose(covariance, expected, rtol=1e-6, atol=1e-9)


def test_shrinkage_raises_held_out_densities_of_few_rows():
    rng = np.random.default_rng(2)
    train, test = (rng.normal(size=(n, 128)) for n in (150, 500))
    full, oas = (
        fit_mixture(train, 1, covariance=kind).log_density(test).mean() for kind in ("full", "oas")
    )
    assert oas > full + 100


def test_diagonal_covariances_are_those_of_scikit_learn():
    features = np.random.default_rng(3).normal(size=(300, 8)) ** 3
    expected = GaussianMixture(2, covariance_type="diag", random_state=0).fit(features)
    found = fit_mixture(features, 2, covariance="diagonal")
    assert np.allclose(found.log_density(features), expected.score_samples(features), rtol=1e-4)

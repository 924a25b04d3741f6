"""Each strategy on plain arrays against a brute-force version of its paper's formula."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from active_selection import badge, blocks
from active_selection.aada import rank_by_aada
from active_selection.badge import rank_by_badge
from active_selection.clue import rank_by_clue
from active_selection.coreset import rank_by_coreset
from active_selection.redal import rank_by_redal
from active_selection.ripu import rank_by_ripu

N, DIMS, CLASSES = 120, 16, 5


@pytest.fixture(params=[0, 1])
def arrays(request):
    """Random columns of a region table with N regions, a third of which are labelled."""
    rng = np.random.default_rng(request.param)
    return {
        "feature": rng.normal(size=(N, DIMS)).astype(np.float32),
        "prob": rng.dirichlet(np.ones(CLASSES), N).astype(np.float32),
        "entropy": rng.random(N).astype(np.float32),
        "area": rng.integers(1, 20, N),
        "pool": rng.random(N) < 2 / 3,
        "source": rng.normal(size=(40, DIMS)).astype(np.float32),
    }


def test_aada(arrays):
    entropy, pool = arrays["entropy"], arrays["pool"]
    domain = np.random.default_rng(2).random(N).astype(np.float32)
    domain[pool.nonzero()[0][0]] = 1  # D(z) = 1
    ranking = rank_by_aada(domain, entropy, pool)
    worth = {i: domain[i] / (1 - domain[i]) * entropy[i] for i in range(N) if domain[i] < 1}
    expected = sorted((i for i in worth if pool[i]), key=lambda i: -worth[i])
    assert ranking.rows.tolist() == [pool.nonzero()[0][0], *expected]
    np.testing.assert_allclose(ranking.scores[1:], [worth[i] for i in expected], rtol=1e-5)
    assert np.isfinite(ranking.scores).all()


def test_ripu(arrays):
    entropy, pool = arrays["entropy"], arrays["pool"]
    rng = np.random.default_rng(3)
    pixels = [rng.integers(0, rng.integers(1, CLASSES + 1), 30) for _ in range(N)]
    shares = np.array([np.bincount(p, minlength=CLASSES) / 30 for p in pixels], np.float32)

    def worth(i):
        q = [float((pixels[i] == c).mean()) for c in range(CLASSES)]
        return -sum(share * np.log(share) for share in q if share) * entropy[i]

    ranking = rank_by_ripu(shares, entropy, pool)
    assert sorted(ranking.rows) == np.flatnonzero(pool).tolist()
    np.testing.assert_allclose(ranking.scores, [worth(i) for i in ranking.rows], atol=1e-6)
    assert (np.diff(ranking.scores) <= 0).all()


def greedy_redal(feature, entropy, edge, pool, clusters, decay):
    """Take the most important region repeatedly; each decays the rest of its cluster."""
    by_importance = sorted(np.flatnonzero(pool), key=lambda i: -(entropy[i] + 0.05 * edge[i]))
    labels = KMeans(clusters, n_init=1, random_state=0).fit_predict(feature[by_importance])
    cluster = dict(zip(by_importance, labels, strict=True))
    worth = {i: float(entropy[i]) + 0.05 * float(edge[i]) for i in by_importance}
    taken = []
    while worth:
        best = max(worth, key=worth.get)
        taken.append((best, worth.pop(best)))
        for i in worth:
            worth[i] *= decay if cluster[i] == cluster[best] else 1
    return taken


def test_redal(arrays):
    feature, entropy, pool = (arrays[k] for k in ("feature", "entropy", "pool"))
    edge = np.random.default_rng(4).random(N).astype(np.float32)
    ranking = rank_by_redal(feature, entropy, edge, pool, clusters=7)
    rows, worth = zip(*greedy_redal(feature, entropy, edge, pool, 7, 0.95), strict=True)
    assert ranking.rows.tolist() == list(rows)
    np.testing.assert_allclose(ranking.scores, worth, rtol=1e-6)


def test_clue(arrays):
    feature, entropy, area, pool = (arrays[k] for k in ("feature", "entropy", "area", "pool"))
    rows = np.flatnonzero(pool)
    budget = 8.5 * area[rows].mean()
    ranking = rank_by_clue(feature, entropy, area, pool, budget)
    model = KMeans(9, n_init=1, random_state=0).fit(feature[rows], sample_weight=entropy[rows])
    away = np.linalg.norm(feature[rows][:, None] - model.cluster_centers_, axis=2)
    first = []
    for c in range(9):
        members = [i for i in range(len(rows)) if model.labels_[i] == c]
        first.append(rows[min(members, key=lambda i: away[i, c])])
        # every member is nearest to its own cluster's centre
        assert all(away[i].argmin() == c for i in members)
    assert ranking.rows[:9].tolist() == first
    assert sorted(ranking.rows) == rows.tolist()


def test_clue_weights_clusters_by_entropy(arrays):
    """The centre of a single cluster is the entropy-weighted mean."""
    feature, area = arrays["feature"], arrays["area"]
    entropy, pool = np.zeros(N, np.float32), np.ones(N, bool)
    entropy[[5, 60]] = 1
    ranking = rank_by_clue(feature, entropy, area, pool, budget=1)
    away = np.linalg.norm(feature - feature[[5, 60]].mean(0), axis=1)
    assert ranking.rows[0] == away.argmin()


def test_coreset(arrays, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)  # several blocks
    feature, area, pool = (arrays[k] for k in ("feature", "area", "pool"))
    for source in (arrays["source"], arrays["source"][:0]):
        ranking = rank_by_coreset(feature, source, area, pool, budget=100)
        centres, expected, spent = [*feature[~pool], *source], [], 0
        while spent < 100:
            away = {
                i: min(np.linalg.norm(feature[i] - c) for c in centres)
                for i in np.flatnonzero(pool)
                if i not in expected
            }
            expected.append(max(away, key=away.get))
            centres.append(feature[expected[-1]])
            spent += area[expected[-1]]
        assert ranking.rows.tolist() == expected
    assert (np.diff(ranking.scores) <= 0).all()


def test_coreset_of_equal_regions_ends():
    feature = np.ones((30, 4), np.float32)
    pool = np.ones(30, bool)
    ranking = rank_by_coreset(feature, feature, np.ones(30), pool, budget=99)
    assert sorted(ranking.rows) == list(range(30))


def test_badge(arrays):
    feature, prob, area, pool = (arrays[k] for k in ("feature", "prob", "area", "pool"))
    ranking = rank_by_badge(feature, prob, area, pool, budget=150, seed=5)
    rows = np.flatnonzero(pool)
    gradients = []
    for i in rows:
        error = prob[i].astype(np.float64)
        error[prob[i].argmax()] -= 1
        gradients.append(np.outer(error, feature[i]).ravel())
    gradients, rng, expected, spent = np.array(gradients), np.random.default_rng(5), [], 0
    chance = np.ones(len(rows))
    while spent < 150:
        ends = np.cumsum(chance / chance.sum())
        expected.append(int(np.flatnonzero(rng.random() < ends)[0]))
        spent += area[rows[expected[-1]]]
        to_drawn = ((gradients[:, None] - gradients[expected]) ** 2).sum(2)
        chance = to_drawn.min(1)
    assert ranking.rows.tolist() == rows[expected].tolist()


def test_badge_draws_each_region_once_if_all_are_equal():
    feature, pool = np.ones((30, 4), np.float32), np.ones(30, bool)
    prob = np.full((30, 2), 0.5, np.float32)
    for p in (prob, np.eye(2, dtype=np.float32)[np.zeros(30, int)]):  # and gradients of zero
        ranking = rank_by_badge(feature, p, np.ones(30), pool, budget=99)
        assert sorted(ranking.rows) == list(range(30))


def test_badge_never_draws_a_region_of_zero_weight():
    """Not even where rounding leads past the end."""
    weights = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.0], dtype=torch.float64)
    remaining = torch.ones(5, dtype=torch.float64)
    draws = [badge._sample_index(weights, remaining, number) for number in (0.0, 0.3, 0.4, 1.0)]
    assert draws == [1, 1, 2, 2]


@pytest.mark.parametrize("strategy", ["coreset", "BADGE", "CLUE", "ReDAL"])
def test_memory_grows_with_rows_alone(strategy, tmp_path):
    """40,000 x 256 in a memory-mapped file: a few copies of it, not N x N or N x (19 x 256)."""
    from benchmarks.measure import peak_mb

    n = 40_000
    path = tmp_path / "features.npy"
    feature = np.lib.format.open_memmap(path, "w+", np.float32, (n, 256))
    rng = np.random.default_rng(0)
    feature[:] = rng.random((n, 256), np.float32)
    feature += 4 * (rng.integers(0, 20, n)[:, None] == np.arange(256))
    prob = rng.dirichlet(np.ones(19), n).astype(np.float32)
    entropy, area, pool = rng.random(n, np.float32), np.ones(n, np.int64), np.ones(n, bool)
    pool[::10] = False
    ranked = {
        "coreset": lambda: rank_by_coreset(feature, feature[:500], area, pool, 20),
        "BADGE": lambda: rank_by_badge(feature, prob, area, pool, 20),
        "CLUE": lambda: rank_by_clue(feature, entropy, area, pool, 20),
        "ReDAL": lambda: rank_by_redal(feature, entropy, entropy, pool, clusters=20),
    }
    assert peak_mb(ranked[strategy]) < 5 * feature.nbytes / 1e6

"""Fits divided over ranks."""

import numpy as np
import pytest

from active_selection.fitting import Fit, divide


@pytest.mark.parametrize("parts", [1, 2, 3, 50])
def test_parts_cost_about_the_same(parts):
    costs = np.random.default_rng(0).integers(1, 1000, 38).tolist()
    shares = divide(costs, parts)
    assert sorted(task for share in shares for task in share) == list(range(38))
    totals = [sum(costs[task] for task in share) for share in shares]
    assert max(totals) - min(totals) <= max(costs)
    assert max(totals) <= max(4 / 3 * sum(costs) / parts, max(costs))  # Graham 1969


def test_a_fit_is_sent_with_its_own_rows_alone():
    features = np.arange(20.0).reshape(10, 2)
    fit = Fit(features, np.array([1, 4, 9]), 2, 0)
    sent = fit.alone()
    assert sent.features.shape == (3, 2)
    assert (sent.features[sent.rows] == features[[1, 4, 9]]).all()
    assert sent.cost == fit.cost == 6

"""Fits divided over ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from active_selection.fitting import Fit, divide, fit_all, help_to_fit
from utils.distributed import SINGLE


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


def test_densities_of_what_another_rank_has_fitted_are_the_same_with_several_threads():
    """To the last bit, of covariances so large that threads would divide their factorisation."""
    features = np.random.default_rng(0).normal(size=(600, 256)).astype(np.float32)
    fits = [Fit(features, np.arange(start, 600), 1, 0) for start in (0, 100)]
    sent, answers = [], []
    other = SimpleNamespace(receive=lambda _: sent.pop(0), gather_on_main=answers.append)

    def gather(_):
        help_to_fit("cpu", other)
        return [None, *answers]

    both = SimpleNamespace(size=2, send=lambda value, _: sent.append(value), gather_on_main=gather)
    torch.set_num_threads(2)
    alone, divided = fit_all(fits, "cpu", SINGLE), fit_all(fits, "cpu", both)
    for one, two in zip(alone, divided, strict=True):
        assert one.log_density(features).tobytes() == two.log_density(features).tobytes()

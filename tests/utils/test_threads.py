"""Work in threads: its order, and what the libraries below may take."""

import pytest
import sklearn.cluster  # noqa: F401 - its OpenMP is one of those to be limited
import torch
from threadpoolctl import threadpool_info

from utils.threads import map_in_threads


def test_results_are_in_the_tasks_order():
    assert map_in_threads(lambda task: 2 * task, [3, 1, 2], float) == [6, 2, 4]


@pytest.fixture
def two_threads():
    """Torch as it is on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_library_takes_one_core_in_a_thread_and_has_its_own_back_afterwards(two_threads):
    before = [library["num_threads"] for library in threadpool_info()]
    inside = map_in_threads(lambda _: threadpool_info(), range(4), float)
    assert all(library["num_threads"] == 1 for libraries in inside for library in libraries)
    assert [library["num_threads"] for library in threadpool_info()] == before

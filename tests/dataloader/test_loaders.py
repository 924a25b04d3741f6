"""What data workers cannot send ends in an error, not in a main process that waits forever."""

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from dataloader import loaders
from dataloader.loaders import Loader
from utils.errors import UserError


def test_a_worker_that_cannot_send_a_batch_ends(monkeypatch):
    look = _MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(look, "__defaults__", (0.2,))  # not each 5 s whether workers are alive
    with pytest.raises(UserError, match=r"a data worker died"):
        list(Loader([b"a", b"b"], 1, batch_size=None, collate_fn=memoryview))  # cannot be pickled


@pytest.mark.parametrize("kind", [ConnectionRefusedError, EOFError])
def test_a_worker_may_be_dead_before_torch_knows(monkeypatch, kind):
    """Then its last batches cannot be fetched, which torch reports in other errors."""
    said = ""

    def fetch(_):
        raise kind(said)
        yield

    monkeypatch.setattr(DataLoader, "__iter__", fetch)
    with pytest.raises(UserError, match=rf"a data worker died.*{kind.__name__}.*--num_workers"):
        list(Loader([b"a"], 1))
    with pytest.raises(kind):  # without workers, it is an error of reading the data
        list(Loader([b"a"], 0))
    said = f"Caught {kind.__name__} in DataLoader worker process 0."
    with pytest.raises(kind):
        list(Loader([b"a"], 1))


def test_batches_are_pinned_for_a_gpu_alone(monkeypatch):
    """Pinning starts CUDA, whose first GPU may be full: not for a run on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not Loader([b"a"], 0).pin_memory
    assert Loader([b"a"], 0, torch.device("cuda:1")).pin_memory


def test_workers_share_batches_before_they_queue_them(monkeypatch):
    """A full /dev/shm raises there, where torch passes errors on; alone, nothing is shared."""
    sample = (0, torch.zeros(3, 2, 2), torch.zeros(2, 2), torch.zeros(4, 4))
    unlabelled = (0, torch.zeros(3, 2, 2), None, None)
    for in_worker in (False, True):
        monkeypatch.setattr(loaders, "get_worker_info", lambda on=in_worker: on or None)
        _, images, labels, (superpixels,) = loaders._collate([sample])
        assert [t.is_shared() for t in (images, labels, superpixels)] == [in_worker] * 3
        _, images, *rest = loaders._collate([unlabelled])
        assert images.is_shared() == in_worker
        assert rest == [None, [None]]

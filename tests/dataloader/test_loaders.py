"""What data workers cannot send ends in an error, not in a main process that waits forever."""

import pytest
import torch

from dataloader import loaders
from dataloader.loaders import Loader
from utils.errors import UserError


def test_a_worker_that_cannot_send_a_batch_ends():
    with pytest.raises(UserError, match=r"a data worker died"):
        list(Loader([b"a", b"b"], 1, batch_size=None, collate_fn=memoryview))  # cannot be pickled


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

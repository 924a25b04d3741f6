"""Scripts that tests call as functions leave this process as it was."""

import logging
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from tests.in_process import call
from tests.ranks import reserved_port
from utils.stopping import SIGNALS, STOP


def state() -> tuple:
    """What scripts set for a whole process."""
    root = logging.getLogger()
    return (
        [signal.getsignal(signum) for signum in SIGNALS],
        STOP.signum,
        list(root.handlers),
        root.level,
        logging.raiseExceptions,
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        (sys.stdout, sys.stderr, list(sys.argv)),
        Path.cwd(),
        dict(os.environ),
    )


def test_a_script_leaves_no_trace(toy_city, tmp_path, monkeypatch, capsys):
    """One that trains, with every flag that changes more than its own results."""
    monkeypatch.chdir(tmp_path)
    before = state()
    ended = call(
        f"warmup.py -p {tmp_path}/exp -m deeplabv3plus_mobilenet --backbone_weights none --seed 3 "
        "--image_size 32 64 --num_workers 0 --device cpu --deterministic --total_itrs 1 "
        f"--warmup sup_warmup --src_data_dir {toy_city}/GTA5 --val_data_dir {toy_city}/Cityscapes"
    )
    assert ended.code == 0
    assert "best mIoU" in ended.err
    assert call("warmup.py --total_itrs nothing").code == 2
    assert state() == before
    assert capsys.readouterr() == ("", "")


def test_a_port_is_reserved_for_the_ranks_of_a_job():
    """No other program gets it before they begin; rank 0's store does."""
    with reserved_port() as reserved:
        port = reserved.getsockname()[1]
        for host in ("127.0.0.1", ""):
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((host, port))
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        store.set("key", "value")
        assert store.get("key") == b"value"

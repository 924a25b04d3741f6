"""Two processes of torchrun on two GPUs (NCCL), or on the CPU (gloo), against one process."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.in_process import ROOT
from utils.recorder import read_metrics

LIMIT = 500  # seconds
TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node 2"


@pytest.fixture(scope="module")
def training(toy_city, device):
    """Makes the command of an adversarial warm-up in a folder; both networks begin random."""

    def command(exp: Path, flags: str) -> str:
        return (
            f"warmup.py -p {exp} -m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 "
            f"--device {device.type} --deterministic --num_workers 0 --backbone_weights none "
            f"--src_data_dir {toy_city}/GTA5 --trg_data_dir {toy_city}/Cityscapes "
            f"--val_data_dir {toy_city}/Cityscapes --train_lr 1e-3 --ramp_itrs 1 {flags}"
        )

    return command


def start(command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors[-3000:]


def weights(exp: Path) -> torch.Tensor:
    state = torch.load(exp / "checkpoint.tar", weights_only=True, map_location="cpu")
    networks = state["model_state_dict"], state["model_D"]
    return torch.cat([value.float().ravel() for part in networks for value in part.values()])


def test_two_processes_train_as_one_with_twice_the_batch(training, tmp_path):
    """Losses of three steps to 1e-3, and weights to 2 % of the change they have gone through."""
    flags = "--total_itrs 3 --val_period 3 --train_batch_size"
    end(start(training(tmp_path / "start", "--total_itrs 1 --train_lr 1e-9")))
    flags = f"--init_checkpoint {tmp_path}/start/checkpoint.tar {flags}"
    end(start(training(tmp_path / "one", f"{flags} 2")))
    end(start(f"{TORCHRUN} {training(tmp_path / 'two', f'{flags} 1')}"))
    before, one, two = (weights(tmp_path / name) for name in ("start", "one", "two"))
    assert (two - one).norm() < 0.02 * (one - before).norm()
    losses = [
        [
            entry["loss"]
            for entry in read_metrics(tmp_path / name / "metrics.jsonl")
            if "loss" in entry
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_two_processes_that_are_stopped_go_on_as_if_unbroken(training, tmp_path):
    flags = "--total_itrs 30 --val_period 30 --save_period 1"
    end(start(f"{TORCHRUN} {training(tmp_path / 'unbroken', flags)}"))
    stopped = start(f"{TORCHRUN} {training(tmp_path / 'stopped', flags)}")
    state = tmp_path / "stopped" / "warmup_state.tar"
    while not state.exists() and stopped.poll() is None:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=LIMIT)
    assert state.exists()
    end(start(f"{TORCHRUN} {training(tmp_path / 'stopped', flags)} --resume"))
    first, second = (weights(tmp_path / name) for name in ("unbroken", "stopped"))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)

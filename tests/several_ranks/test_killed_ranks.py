"""Runs of two processes that are killed and stopped end where an unbroken run ends, bit for bit."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from tests.experiment import assert_same_files
from tests.in_process import ROOT
from tests.killing import Moment, Signal
from tests.processes import children
from tests.ranks import Ranks, run_ranks

TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node 2"


def commands(city: Path, exp: Path) -> list[str]:
    """A warm-up and two active rounds."""
    flags = (
        f"-p {exp} -m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 --device cpu "
        f"--num_workers 0 --val_batch_size 2 --save_period 1 --src_data_dir {city}/GTA5 "
        f"--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes --resume"
    )
    return [
        f"warmup.py {flags} --backbone_weights none --total_itrs 5 --ramp_itrs 2 --val_period 3",
        f"train_ADA.py {flags} --init_checkpoint {exp}/checkpoint.tar --max_iterations 2 "
        "--finetune_itrs 4 --val_period 1 --finetune_lr 5e-3 --active_selection_size 0.3",
    ]


@pytest.fixture(scope="module")
def unbroken(toy_city, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("unbroken") / "exp"
    for command in commands(toy_city, exp):
        run_ranks(command, 2, exp.parent)
    return exp


def test_killed_before_every_change_of_a_file(toy_city, unbroken, tmp_path, tally):
    """Rank 0 and rank 1 in turn; each time the other one ends, too, and names the one that died."""
    exp = tmp_path / "exp"
    for command in commands(toy_city, exp):
        past: set[Moment] = set()
        for number in count():
            victim = number % 2
            signal_ = Signal(signal.SIGKILL, exp, None, past)
            job = Ranks(command, 2, tmp_path, victim=victim, signal_=signal_)
            ended = job.wait()
            if job.moment is None:
                assert [rank.code for rank in ended] == [0, 0], ended
                break
            past.add(job.moment)
            if ended[victim].code == 0:  # it had done all its work when the signal came
                continue
            assert ended[victim].code == -signal.SIGKILL
            errors = [line for line in ended[1 - victim].err.splitlines() if "error: " in line]
            pid = job.processes[victim].pid
            assert [line.partition(" on ")[0] for line in errors] == [
                f"error: rank {victim} (process {pid}"
            ], job.moment
            tally["kills of a rank survived"] += 1
    assert_same_files(exp, unbroken)


@pytest.mark.parametrize(
    ("victim", "signum", "machines", "how"),
    [
        (1, signal.SIGSTOP, None, " died or hangs; go on with"),
        (1, signal.SIGKILL, [ROOT, ROOT], " died or hangs; go on with"),
        # it hangs with the store: that no connection is closed does not keep the others waiting
        (0, signal.SIGSTOP, None, ", or torchrun on its machine, d"),
    ],
)
def test_no_answer(toy_city, tmp_path, victim, signum, machines, how):
    """A process hangs, or dies on another machine: named after --dist_timeout seconds at most."""
    command = commands(toy_city, tmp_path / "exp")[0] + " --dist_timeout 4"
    moment = Moment("os.rename", "warmup_state.tar", 4)
    signal_ = Signal(signum, tmp_path / "exp", moment)
    job = Ranks(command, 2, tmp_path, machines=machines, victim=victim, signal_=signal_)
    other = 1 - victim
    job.processes[other].join(120)
    job.processes[victim].kill()
    ended = job.wait()
    assert ended[other].code == 2
    [line] = [line for line in ended[other].err.splitlines() if "error: " in line]
    assert re.match(rf"error: rank {victim} \(process \d+ on \S+\){how}", line)


def test_torchrun_restarts_what_was_killed(script, toy_city, unbroken, tmp_path):
    """--max_restarts and --resume: torchrun alone brings a run to its end."""
    exp = tmp_path / "exp"
    warmup, rounds = commands(toy_city, exp)
    run_ranks(warmup, 2, tmp_path)
    kills = "1:datalist_00.pkl,0:round_state.tar,1:checkpoint02.tar"
    program = ROOT / "tests" / "several_ranks" / "killed_ranks.py"
    said = script(f"{TORCHRUN} --max_restarts 3 {program} {exp} {kills} {rounds}", process=True)
    for victim in (0, 1):
        assert f"error: rank {victim} (process " in said
    assert "Traceback" not in said
    assert_same_files(exp, unbroken)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_is_asked_to_stop(toy_city, unbroken, tmp_path, signum):
    """torchrun and all processes get the signal, as from a terminal or from Slurm's scancel."""
    exp = tmp_path / "exp"
    warmup, rounds = commands(toy_city, exp)
    run_ranks(warmup, 2, tmp_path)
    rounds = rounds.replace("--save_period 1", "--save_period 100000")
    words = [sys.executable, *shlex.split(f"{TORCHRUN} {rounds}")]
    job = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    heard = []
    for line in job.stderr:
        heard.append(line)
        if "round 01: fine-tuning" in line:
            time.sleep(0.2)
            for pid in (*children(job.pid), job.pid):
                os.kill(pid, signum)
    assert job.wait() != 0
    assert f"stopped by {signal.Signals(signum).name}; go on with --resume" in "".join(heard)
    assert (exp / "round_state.tar").is_file()
    run_ranks(rounds, 2, tmp_path)
    assert_same_files(exp, unbroken)

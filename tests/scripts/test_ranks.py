"""Several processes (gloo) give what one process with all their images gives."""

import json
import shutil
import signal
import threading
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import warmup
from tests.experiment import load
from tests.in_process import Ended, call
from tests.killing import Moment, Signal
from tests.ranks import BesideMadeUpRank, Ranks, reserved_port, run_ranks
from utils import rendezvous
from utils.distributed import World
from utils.errors import UserError
from utils.job import _check_flags, _end_all
from utils.liveness import Ending
from utils.recorder import read_metrics
from utils.runtime import Runtime


@pytest.fixture(scope="module")
def city(toy_city, tmp_path_factory) -> Path:
    """The toy city with images of which few pixels, or none at all, are labelled."""
    root = tmp_path_factory.mktemp("uneven") / "city"
    shutil.copytree(toy_city, root)
    labels = sorted((root / "GTA5" / "labels").glob("*.png"))
    labels += sorted((root / "Cityscapes" / "gtFine" / "train").rglob("*_labelIds.png"))
    for number, path in enumerate(labels):
        label = np.asarray(Image.open(path).convert("L")).copy()
        height = (0, 8, 64)[number % 3]  # rows that keep their labels
        label[height:] = 0
        Image.fromarray(label).save(path)
    return root


def command(city: Path, exp: Path, script: str, flags: str) -> str:
    return (
        f"{script} -p {exp} -m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 "
        f"--device cpu --num_workers 0 --val_batch_size 2 --src_data_dir {city}/GTA5 "
        f"--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes {flags}"
    )


def weights(checkpoint: Path, key: str = "model_state_dict") -> torch.Tensor:
    """All numbers of a network in one vector."""
    tensors = torch.load(checkpoint, weights_only=True)[key]
    return torch.cat([tensor.double().flatten() for _, tensor in sorted(tensors.items())])


def assert_same_weights(checkpoint: Path, expected: Path, start: Path) -> None:
    """What was learned from ``start`` on is the same, but for the rounding of sums."""
    ours, theirs, before = map(weights, (checkpoint, expected, start))
    assert (theirs - before).norm() > 1e-3
    assert (theirs - ours).norm() < 1e-6 * (theirs - before).norm()


def measured(exp: Path, kind: str, name: str) -> list[float]:
    return [e[name] for e in read_metrics(exp / "metrics.jsonl") if e["kind"] == kind]


@pytest.fixture(scope="module")
def start(city, script, tmp_path_factory) -> Path:
    """A checkpoint to start from, hardly trained."""
    exp = tmp_path_factory.mktemp("start")
    flags = "--backbone_weights none --warmup sup_warmup --total_itrs 1 --train_lr 1e-9"
    script(command(city, exp, "warmup.py", flags))
    return exp / "checkpoint.tar"


WARMUPS = [
    # warm-up, number of processes (2 of uda_warmup are below), flags of one process and of several
    ("uda_warmup", 3, "--train_batch_size 6", "--train_batch_size 2"),
    ("sup_warmup", 3, "--train_batch_size 6", "--train_batch_size 2"),
    ("target_supervised", 2, "--train_batch_size 4", "--train_batch_size 2"),
]


@pytest.mark.parametrize(("warmup", "ranks", "one", "several"), WARMUPS)
def test_warm_ups(city, start, script, tmp_path, warmup, ranks, one, several):
    flags = f"--init_checkpoint {start} --total_itrs 2 --ramp_itrs 1 --train_lr 1e-2 --val_period 2"
    flags += f" --warmup {warmup} --train_lr_D 1e-4"
    if warmup == "target_supervised":
        flags += " --loss_type focal_loss"
    script(command(city, tmp_path / "one", "warmup.py", f"{flags} {one}"))
    exp = tmp_path / "several"
    run_ranks(command(city, exp, "warmup.py", f"{flags} {several}"), ranks, tmp_path)
    files = [path / "checkpoint.tar" for path in (exp, tmp_path / "one")]
    assert_same_weights(*files, start)
    adversarial = warmup == "uda_warmup"
    if adversarial:
        ours, theirs = (weights(file, "model_D") for file in files)
        # Adam divides gradients by their size, and so enlarges what is but rounding. Gradients of
        # other images change nearly all weights.
        assert torch.isclose(ours, theirs, 1e-3, 1e-6).double().mean() > 0.9
    for name in ("loss", "adv", "D") if adversarial else ("loss",):
        ours, theirs = (measured(file.parent, "train", name) for file in files)
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_gradients_of_several_batches_are_those_of_one(city, script, tmp_path):
    """In one process and in two; DeepLabV2 draws no dropout."""

    def run(name: str, flags: str, ranks: int = 1) -> Path:
        base = command(city, tmp_path / name, "warmup.py", "--backbone_weights none --val_period 2")
        base = base.replace("deeplabv3plus_mobilenet --separable_conv", "deeplabv2_mobilenet")
        base += f" --train_lr 1e-2 --ramp_itrs 1 {flags}"
        script(base) if ranks == 1 else run_ranks(base, ranks, tmp_path)
        return tmp_path / name / "checkpoint.tar"

    start = run("start", "--total_itrs 1 --train_lr 1e-9")
    one = run("one", "--total_itrs 2 --train_batch_size 4")
    several = run("accumulated", "--total_itrs 2 --train_batch_size 1 --grad_accum 4")
    assert_same_weights(several, one, start)
    two = run("two", "--total_itrs 2 --train_batch_size 1 --grad_accum 2", ranks=2)
    assert_same_weights(two, one, start)
    for name in ("loss", "adv", "D"):
        losses = [measured(file.parent, "train", name) for file in (several, two, one)]
        assert losses[0] == pytest.approx(losses[2], rel=1e-5)
        assert losses[1] == pytest.approx(losses[2], rel=1e-5)


def rounds(city: Path, exp: Path, start: Path, batch: int) -> str:
    flags = f"--init_checkpoint {start} --max_iterations 1 --finetune_itrs 4 --val_period 1 "
    flags += "--finetune_lr 1e-2 --active_selection_size 0.3 --uncertainty softmax_margin "
    flags += f"--train_batch_size {batch} --save_period 1"
    return command(city, exp, "train_ADA.py", flags)


@pytest.fixture(scope="module")
def two(city, start, tmp_path_factory) -> Path:
    """Rounds 0 and 1 by two processes."""
    exp = tmp_path_factory.mktemp("ranks") / "two"
    run_ranks(rounds(city, exp, start, 3), 2, exp.parent)
    return exp


def test_rounds(city, start, script, tmp_path, two):
    """Fine-tuning, validation of three images, selection: the same regions and records."""
    script(rounds(city, tmp_path / "one", start, 6))
    run_ranks(rounds(city, tmp_path / "three", start, 2), 3, tmp_path)
    one = tmp_path / "one"
    for exp in (two, tmp_path / "three"):
        assert_same_weights(exp / "checkpoint01.tar", one / "checkpoint01.tar", start)
        assert load(exp / "datalist_00.pkl") == load(one / "datalist_00.pkl")
        for name in ("round_00.json", "round_01.json"):
            ours, theirs = (json.loads((f / "AL_record" / name).read_text()) for f in (exp, one))
            assert ours == theirs
        names = [{p.name for p in folder.iterdir()} for folder in (exp, one)]
        assert names[0] == names[1]
        assert measured(exp, "validation", "confusion") == measured(one, "validation", "confusion")


def one_line(ended: list[Ended]) -> str:
    """The line of a job that failed on all ranks that were not killed; one of them printed it."""
    assert {rank.code for rank in ended} <= {2, -signal.SIGKILL}
    printed = "".join(rank.err for rank in ended)
    assert "Traceback" not in printed
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    return line


def test_killed_and_resumed(city, start, tmp_path, two):
    """A rank that is killed ends the job with a line that names it; what resumes ends alike."""
    base = rounds(city, tmp_path / "exp", start, 3) + " --resume"
    kills = [(1, "datalist_00.pkl", 1), (0, "round_state.tar", 4)]
    for victim, name, occurrence in kills:
        moment = Moment("os.rename", name, occurrence)
        signal_ = Signal(signal.SIGKILL, tmp_path / "exp", moment)
        job = Ranks(base, 2, tmp_path, victim=victim, signal_=signal_)
        ended = job.wait()
        assert ended[victim].code == -signal.SIGKILL
        pid = job.processes[victim].pid
        assert one_line(ended).startswith(f"error: rank {victim} (process {pid} on ")
    run_ranks(base, 2, tmp_path)
    for path in sorted(two.iterdir()):
        ours = tmp_path / "exp" / path.name
        if path.suffix in (".pkl", ".tar"):
            assert ours.read_bytes() == path.read_bytes(), path
    names = [{p.name for p in folder.iterdir()} for folder in (tmp_path / "exp", two)]
    assert names[0] == names[1]


def test_asked_to_stop_and_resumed_by_another_number_of_processes(city, start, script, tmp_path):
    """SIGTERM to one rank stops all, saved; what goes on must have as many images in a batch."""
    flags = f"--init_checkpoint {start} --total_itrs 4 --ramp_itrs 1 --train_lr 1e-2 --val_period 1"
    flags += " --warmup sup_warmup --train_batch_size "
    exp, one = tmp_path / "exp", tmp_path / "one"
    base = command(city, exp, "warmup.py", flags)
    moment = Signal(signal.SIGTERM, exp, Moment("open", "metrics.jsonl", 4))
    ended = Ranks(f"{base} 2", 2, tmp_path, victim=1, signal_=moment).wait()
    assert [rank.code for rank in ended] == [128 + signal.SIGTERM] * 2
    printed = "".join(rank.err for rank in ended)
    assert printed.count("stopped by SIGTERM; go on with --resume") == 1
    line = script(f"{base} 2 --resume", fails=True)
    assert "--train_batch_size is 2, but the run" in line
    assert "had 4 (2 processes together);" in line
    line = one_line(Ranks(f"{base} 1 --resume", 2, tmp_path).wait())
    assert "--train_batch_size is 2 (2 processes together), but the run" in line
    assert "resumed after iteration 2" in script(f"{base} 4 --resume")
    script(command(city, one, "warmup.py", f"{flags} 4"))
    assert_same_weights(exp / "checkpoint.tar", one / "checkpoint.tar", start)
    assert measured(exp, "train", "loss") == pytest.approx(measured(one, "train", "loss"), rel=1e-5)


def test_what_ranks_do_not_have_alike(city, start, tmp_path):
    """Flags, data, and what no rank can do: named in one line, on no rank a hang."""
    base = command(city, tmp_path / "exp", "warmup.py", f"--init_checkpoint {start}")
    ended = Ranks(f"{base} --seed 1", 2, tmp_path, changed={1: ("--seed 1", "--seed 2")}).wait()
    assert "--seed is 2 on rank 1 but 1 on rank 0" in one_line(ended)
    ended = Ranks(f"{base} --no-freeze_bn --train_batch_size 2", 2, tmp_path).wait()
    assert "--no-freeze_bn: several processes can learn BatchNorm" in one_line(ended)
    other = tmp_path / "city"
    shutil.copytree(city, other)
    image = sorted((other / "GTA5" / "images").glob("*.png"))[1]
    image.write_bytes(image.read_bytes() + b" ")
    ended = Ranks(base.replace(f"{city}/", ""), 2, tmp_path, machines=[city, other]).wait()
    line = one_line(ended)
    assert "rank 1: the data in --src_data_dir are not those of rank 0" in line
    assert f"GTA5/images/{image.name}; all machines need the same copy" in line
    assert not (tmp_path / "exp" / "checkpoint.tar").exists()


def test_a_rank_with_another_version_of_the_code_is_named():
    world = BesideMadeUpRank(lambda flags: {k: v for k, v in flags.items() if k != "new"})
    with pytest.raises(UserError, match=r"rank 1 has other flags than rank 0 \(--new\);"):
        _check_flags(world, Namespace(old=1, new=2))


def test_a_machine_without_its_gpu_is_named():
    flags = warmup.parser().parse_args(["-p", "x", "--device", "auto"])
    with pytest.raises(UserError, match=r"--device auto: cuda on rank 1, but cpu on rank 0"):
        Runtime.from_args(flags, BesideMadeUpRank(lambda _: "cuda"))


@pytest.mark.parametrize(
    ("behind", "error", "told"),
    [
        ([], "NCCL error: ncclDuplicateGpu: Duplicate GPU detected", "Duplicate GPU detected\n"),
        ([], "Cuda failure 2 'out of memory'", "error: the memory of the GPU is full"),
        ([], "[gloo] Timed out waiting\nmore", "no answer from another rank within --dist_timeout"),
        (
            [1, 2],
            "[gloo] Timed out waiting",
            "no answer from rank 1, 2 within --dist_timeout 9 s (",
        ),
    ],
)
def test_the_reason_of_a_failed_operation_is_told(capsys, behind, error, told):
    """A rank that is waited for is named; what NCCL says of anything else is not swallowed."""

    def leave(ending):
        raise SystemExit(ending.code)

    watch = SimpleNamespace(
        why=lambda: None,
        behind=lambda: behind,
        end=lambda code, line: Ending(0, code, line),
        exit_with=leave,
    )
    with pytest.raises(SystemExit):
        _end_all(SimpleNamespace(rank=0, is_main=True, watch=watch), RuntimeError(error), 9, None)
    assert told in capsys.readouterr().err


LEFT_OVER = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many: torchrun sets"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2, but RANK is not set: start 2 processes with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "WORLD_SIZE=2, but RANK is 2:"),
        (LEFT_OVER | {"MASTER_PORT": "x"}, "MASTER_PORT is x: start 2 processes with torchrun or,"),
    ],
)
def test_variables_of_torchrun_that_are_wrong(script, monkeypatch, variables, problem):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert problem in script("warmup.py", fails=True)


def test_variables_that_another_job_left(script, monkeypatch):
    """Who waits for processes that nobody starts is told so, at the start and at the end."""
    with reserved_port() as port:
        for name, value in (LEFT_OVER | {"MASTER_PORT": str(port.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)
        said = call("warmup.py --dist_timeout 0.1").err
    begins, ends = said.splitlines()
    remedy = "; for a single process, unset WORLD_SIZE"
    assert begins == f"warning: WORLD_SIZE=2: waiting up to 0.1 s for the other processes{remedy}"
    assert ends.startswith("error: torchrun: 2 processes did not find each other within 0.1 s")
    assert ends.endswith(remedy)


def test_another_program_at_the_port(script, monkeypatch):
    """It takes what it is sent, and torch waits for its answer."""
    answer = threading.Event()
    silent = SimpleNamespace(rendezvous=lambda *_, **__: iter([answer.wait(20)]))
    monkeypatch.setattr(rendezvous, "dist", silent)
    for name, value in (LEFT_OVER | {"RANK": "1", "MASTER_PORT": "29500"}).items():
        monkeypatch.setenv(name, value)
    line = script("warmup.py --dist_timeout 0.1", fails=True)
    answer.set()
    assert "(no answer from 127.0.0.1:29500; is another program there?)" in line


@pytest.mark.parametrize(
    ("name", "gpus", "problem"),
    [
        ("cuda", 0, "has no GPU; use --device cpu"),
        ("cuda", 1, "has 1 GPUs for more processes; start torchrun with --nproc_per_node 1,"),
        ("cuda:0", 2, "each process of torchrun has its own GPU; use --device cuda"),
    ],
)
def test_devices_that_ranks_cannot_have(monkeypatch, name, gpus, problem):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=f"--device {name}: .*{problem}"):
        World(1, 2, 1).device(name)


def test_processes_started_by_hand_name_their_gpu(monkeypatch):
    """All processes of a machine would take the first one."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UserError, match="LOCAL_RANK is not set"):
        World(1, 2, 0).device("auto")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert World(1, 2, 1).device("auto") == "cuda:1"

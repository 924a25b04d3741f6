"""After a loss of power the newest files may be cut, empty or zeros: same results, or one line."""

import json
import shutil
from pathlib import Path

import pytest

from tests.in_process import call
from tests.killing import Moment, Signal, run_signalled

FLAGS = (
    "-m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 --device cpu --num_workers 0 "
    "--no-freeze_bn --train_batch_size 2 --val_batch_size 1 --save_period 1"
)
RESULTS = ("checkpoint00.tar", "checkpoint01.tar", "datalist_00.pkl", "AL_record/round_01.json")
KILL = 9


@pytest.fixture(scope="module")
def command(toy_city, tmp_path_factory, script) -> str:
    """A warm-up is done; its rounds, in a folder that stands for {exp}."""
    warmup = tmp_path_factory.mktemp("warmup")
    flags = (
        f"{FLAGS} --src_data_dir {toy_city}/GTA5 --trg_data_dir {toy_city}/Cityscapes "
        f"--val_data_dir {toy_city}/Cityscapes"
    )
    script(f"warmup.py -p {warmup} {flags} --backbone_weights none --total_itrs 2 --ramp_itrs 1")
    return (
        f"train_ADA.py -p {{exp}} {flags} --init_checkpoint {warmup}/checkpoint.tar "
        "--max_iterations 1 --finetune_itrs 2 --val_period 1 --active_selection_size 0.3 --resume"
    )


@pytest.fixture(scope="module")
def unbroken(command, tmp_path_factory, script) -> Path:
    exp = tmp_path_factory.mktemp("unbroken")
    script(command.format(exp=exp))
    return exp


def damages(content: bytes) -> dict[str, bytes]:
    half = len(content) // 2
    return {"cut": content[:half], "zeros": content[:half] + bytes(half), "empty": b""}


MOMENTS = {
    "a pass": Moment("os.rename", "round00_target_progress.json", 4),
    "the selection": Moment("os.rename", "softmax_entropy_selection_00.pkl"),
    "the training": Moment("os.rename", "checkpoint01.tar", 1),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_each_of_the_newest_files_is_damaged(moment, command, unbroken, tmp_path, script, tally):
    killed = tmp_path / "killed"
    told = run_signalled(command.format(exp=killed), Signal(KILL, killed, moment))
    assert told == moment
    newest = sorted(
        (path for path in killed.rglob("*") if path.is_file() and path.stat().st_size),
        key=lambda path: path.stat().st_mtime_ns,
    )[-4:]
    for path in newest:
        for kind, content in damages(path.read_bytes()).items():
            exp = tmp_path / f"{path.name}_{kind}"
            shutil.copytree(killed, exp)
            (exp / path.relative_to(killed)).write_bytes(content)
            ends_well(command.format(exp=exp), exp, unbroken)
            tally["damaged newest files survived"] += 1
            shutil.rmtree(exp)


def ends_well(command: str, exp: Path, unbroken: Path) -> None:
    """The run ends with the files of an unbroken one, or with one line."""
    ended = call(command)
    if ended.code:
        assert ended.code == 2, ended.err
        line = ended.err.splitlines()[-1]
        assert line.startswith("error: ") and str(exp) in line
        return
    for name in RESULTS:
        ours, theirs = ((folder / name).read_bytes() for folder in (exp, unbroken))
        same = json.loads(ours) == json.loads(theirs) if name.endswith("json") else ours == theirs
        assert same, f"{exp}: {name}"

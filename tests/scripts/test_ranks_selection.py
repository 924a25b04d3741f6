"""Several processes (gloo) measure, fit, select and predict what one process does."""

import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_selection.strategies import method_names
from tests.experiment import NETWORK, flags
from tests.killing import Moment, Signal
from tests.ranks import Ranks, run_ranks


@pytest.fixture(scope="module")
def command(script, experiment, toy_city, tmp_path_factory) -> str:
    """Select from the toy city, with edge maps, into the folder {exp}; two images a batch."""
    city = shutil.copytree(toy_city, tmp_path_factory.mktemp("edges") / "city")
    root = f"--datadir {city}/Cityscapes"
    script(f"data_preprocessing/edge_detection.py --dataset cityscapes {root} --workers 1")
    return (
        f"tests/selection_job.py -p {{exp}} {flags(city).replace('--no-freeze_bn', '')} "
        f"--init_checkpoint {experiment}/checkpoint.tar --active_selection_size 0.3 "
        "--val_batch_size 2 --keep_features"
    )


@pytest.fixture(scope="module")
def alone(script, command, tmp_path_factory) -> Path:
    """What one process selects."""
    exp = tmp_path_factory.mktemp("alone") / "exp"
    exp.with_suffix(".log").write_text(script(command.format(exp=exp) + " --all"))
    return exp


def assert_same_files(exp: Path, expected: Path) -> None:
    """All files of the folders but logs and metrics, which tell times."""
    names = [
        {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"}
        for folder in (exp, expected)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        assert (exp / name).read_bytes() == (expected / name).read_bytes(), name


def test_every_strategy_selects_what_one_process_does(command, alone, tmp_path):
    """Of three processes, one is on another machine and sends its rows."""
    exp = tmp_path / "exp"
    said = run_ranks(command.format(exp=exp) + " --all --apart 2 --save_period 1", 3, tmp_path)
    assert_same_files(exp, alone)
    assert len(list(exp.glob("*/datalist_00.pkl"))) == 2 * len(method_names())
    features = {path.name for path in (exp / "features").iterdir()}
    assert {"round00_source_feature.npy", "round00_mixtures.npz"} <= features
    logs = said, alone.with_suffix(".log").read_text()
    fits = [sorted(re.findall(r"mixture of .* iterations", log)) for log in logs]
    assert fits[0] == fits[1] != []


def test_a_pass_is_stopped_and_continued_by_another_number_of_processes(
    command, alone, script, tmp_path
):
    """SIGTERM to rank 1 while the target is measured: all stop, and all that is done is saved."""
    exp = tmp_path / "exp"
    moment = Moment("os.rename", "round00_target_progress.json")
    words = command.format(exp=exp) + " --save_period 1"
    ended = Ranks(words, 2, tmp_path, victim=1, signal_=Signal(signal.SIGTERM, exp, moment)).wait()
    assert [rank.code for rank in ended] == [128 + signal.SIGTERM] * 2
    printed = "".join(rank.err for rank in ended)
    assert printed.count("stopped by SIGTERM; go on with --resume") == 1
    assert not (exp / "region_d2ada").exists()
    assert "round00_target: 4 of 6 images are measured" in script(words)
    for path in exp.rglob("*.*"):
        if path.suffix in (".npy", ".pkl"):
            assert path.read_bytes() == (alone / path.relative_to(exp)).read_bytes(), path


def test_a_rank_that_dies_in_the_fits_is_named(command, tmp_path):
    words = command.format(exp=tmp_path / "exp") + " --dies 1"
    ended = Ranks(words, 2, tmp_path).wait()
    assert [rank.code for rank in ended] == [2, -signal.SIGKILL]
    line = re.compile(r"error: rank 1 \(process \d+ on .*\) died .*; go on with --resume\n")
    assert line.fullmatch(ended[0].err.splitlines(keepends=True)[-1])


def test_rank_0_alone_asks_people_and_reports(command, alone, tmp_path):
    """The others wait; regions and package are those of one process."""
    exp, job = tmp_path / "exp", command.replace("tests/selection_job.py", "train_ADA.py")
    words = f"{job.format(exp=exp)} --oracle people --report --max_iterations 1"
    said = Ranks(words, 2, tmp_path).wait()
    assert [rank.code for rank in said] == [0, 0], said
    assert said[0].err.count("annotation/import.py") == 1
    assert said[1].err == ""
    name = "density_selection_00.pkl"
    assert (exp / name).read_bytes() == (alone / "region_d2ada" / name).read_bytes()
    assert list((exp / "annotation" / "round_00").iterdir())
    assert (exp / "report" / "index.html").is_file()


def test_inference(script, experiment, toy_city, tmp_path):
    """Three images in batches of two, by two processes; and on two machines, each by itself."""
    root = tmp_path / "city"
    city = shutil.copytree(toy_city / "Cityscapes", root / "Cityscapes")
    last = sorted((city / "leftImg8bit" / "val").rglob("*.png"))[-1]  # rank 1's, of 12 bits
    Image.fromarray(np.asarray(Image.open(last).convert("L")).astype(np.uint16) * 16).save(last)
    command = inference(experiment, root)
    one, two, *machines = (tmp_path / name for name in ("one", "two", "a", "b"))
    script(f"{command} --save_dir {one}")
    said = run_ranks(f"{command} --save_dir {two}", 2, tmp_path)
    assert f"3 predictions in {two}" in said
    assert "not shared" not in said
    assert f"{last}: 16-bit images are scaled from 0..65535" in said
    for machine in machines:
        machine.mkdir()
    said = run_ranks(f"{command} --save_dir both", 2, tmp_path, machines=machines)
    assert "--save_dir both: is not shared; the files of rank 1 stay on" in said
    for machine in machines:
        shutil.copytree(machine / "both", tmp_path / "both", dirs_exist_ok=True)
    for folder in (one, two, tmp_path / "both"):
        (folder / "inference.toml").unlink()  # it names the folder
    assert_same_files(two, one)
    assert_same_files(tmp_path / "both", one)


def test_a_rank_that_dies_in_inference_is_named(experiment, toy_city, tmp_path):
    """Though torchrun ends the others at once."""
    out = tmp_path / "out"
    kill = Signal(signal.SIGKILL, out, Moment("os.rename", "inference.toml"))
    command = f"{inference(experiment, toy_city)} --save_dir {out}"
    job = Ranks(command, 2, tmp_path, victim=1, signal_=kill)
    job.processes[1].join(120)
    job.processes[0].terminate()
    ended = job.wait()
    assert [rank.code for rank in ended] == [2, -signal.SIGKILL]
    line = rf"error: rank 1 \(process {job.processes[1].pid} on .*\) died .*; start it again\n"
    assert re.fullmatch(line, ended[0].err)


def test_inference_that_is_stopped_says_so_once(experiment, toy_city, tmp_path):
    """On all ranks, by a signal to any of them."""
    out = tmp_path / "out"
    stop = Signal(signal.SIGTERM, out, Moment("os.rename", "inference.toml"))
    command = f"{inference(experiment, toy_city)} --save_dir {out}"
    ended = Ranks(command, 2, tmp_path, signal_=stop).wait()
    assert [rank.code for rank in ended] == [128 + signal.SIGTERM] * 2
    assert "".join(rank.err for rank in ended) == "stopped by SIGTERM; start it again\n"


def test_inference_ends_on_all_ranks_when_one_finds_a_broken_image(experiment, toy_city, tmp_path):
    city = shutil.copytree(toy_city / "Cityscapes", tmp_path / "city")
    broken = sorted((city / "leftImg8bit" / "val").rglob("*.png"))[-1]
    broken.write_bytes(broken.read_bytes()[:3000])
    command = inference(experiment, toy_city) + f" --image_dir {city}/leftImg8bit/val"
    ended = Ranks(f"{command} --save_dir {tmp_path}/out", 2, tmp_path).wait()
    assert [rank.code for rank in ended] == [2, 2]
    printed = "".join(rank.err for rank in ended)
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: rank 1: {broken}: ")
    assert not (tmp_path / "out").exists()


def inference(experiment: Path, city: Path) -> str:
    return (
        f"inference.py {NETWORK} --trained_model_path {experiment}/checkpoint02.tar "
        f"--val_data_dir {city}/Cityscapes --val_batch_size 2"
    )


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none"}


@pytest.mark.parametrize(
    ("command", "more", "remedy"),
    [
        ("evaluation.py --pred_dir x", TORCHRUN, "start it with python instead"),
        ("evaluation.py --pred_dir x", {}, "unset WORLD_SIZE, which is 2"),
        ("data_preprocessing/make_datalist.py --datadir x", TORCHRUN, "start it with python"),
    ],
)
def test_what_is_a_single_process_refuses_torchrun(script, monkeypatch, command, more, remedy):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **more}.items():
        monkeypatch.setenv(name, value)
    assert f"is a single process; {remedy}" in script(command, fails=True)

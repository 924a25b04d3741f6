"""Runs that are killed, stopped or starved end where an unbroken run ends, bit for bit."""

import ctypes
import json
import os
import pickle
import pty
import random
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.experiment import assert_same_files
from tests.in_process import ROOT
from tests.killing import (
    Moment,
    Signal,
    run_forked,
    run_killed_after,
    run_signalled,
    run_with_kills,
)
from tests.processes import children, name_of, start, wait_for
from utils.recorder import read_metrics

NETWORK = "-m deeplabv3plus_mobilenet --separable_conv --image_size 32 64 --device cpu"
TRAINING = "--no-freeze_bn --train_batch_size 2 --save_period 1"


def commands(city: Path, exp: Path, workers: int = 0) -> list[str]:
    """A warm-up and two active rounds."""
    flags = (
        f"-p {exp} {NETWORK} {TRAINING} --num_workers {workers} --src_data_dir {city}/GTA5 "
        f"--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes"
    )
    return [
        f"warmup.py {flags} --backbone_weights none --total_itrs 5 --ramp_itrs 2 --val_period 3",
        f"train_ADA.py {flags} --init_checkpoint {exp}/checkpoint.tar --max_iterations 2 "
        "--finetune_itrs 4 --val_period 1 --finetune_lr 5e-3 --active_selection_size 0.3 "
        "--val_batch_size 2",
    ]


@pytest.fixture(scope="module")
def warmed_up(script, toy_city, tmp_path_factory) -> Path:
    """An experiment after its warm-up; to be copied."""
    exp = tmp_path_factory.mktemp("warmed_up")
    script(commands(toy_city, exp)[0])
    return exp


@pytest.fixture(scope="module")
def unbroken(script, toy_city, warmed_up, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("unbroken")
    shutil.copytree(warmed_up, exp, dirs_exist_ok=True)
    script(commands(toy_city, exp)[1])
    return exp


def assert_same_results(exp: Path, expected: Path) -> None:
    assert_same_files(exp, expected)
    measured = [
        [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "validation"]
        for folder in (exp, expected)
    ]
    assert measured[0] == measured[1]


def test_killed_before_every_change_of_a_file(toy_city, unbroken, tmp_path, tally):
    """SIGKILL at each moment of a warm-up and two rounds from which on the disk differs."""
    kills = set()
    for command in commands(toy_city, tmp_path):
        kills |= run_with_kills(f"{command} --resume", tmp_path)
    assert_same_results(tmp_path, unbroken)
    changed = {moment.name for moment in kills}
    assert changed >= {path.name for path in unbroken.iterdir() if path.is_file()}
    for number in range(2):
        assert f"round_{number:02d}.json" in changed
        for name in ("source.npy", "target.npy", "source_progress.json", "target_progress.json"):
            assert f"round{number:02d}_{name}" in changed
    tally["kills survived"] += len(kills)


def test_killed_at_random_moments(script, toy_city, unbroken, tmp_path, tally):
    rng = random.Random(0)
    for command in commands(toy_city, tmp_path):
        for _ in range(4):
            killed = run_killed_after(f"{command} --resume", rng.uniform(0.3, 1))
            tally["kills survived"] += killed
        script(f"{command} --resume")
    assert_same_results(tmp_path, unbroken)


def test_a_finished_run_is_extended_and_killed_again(toy_city, unbroken, tmp_path, script, tally):
    """A run that only has to say that it is finished; then one more round after it."""
    exp = tmp_path / "exp"
    shutil.copytree(unbroken, exp)
    more = commands(toy_city, exp)[1].replace("/checkpoint.tar", "/checkpoint02.tar")
    more = more.replace("--max_iterations 2", "--max_iterations 3 --init_iteration 2")
    more += f" --datalist_path {exp}/datalist_01.pkl"
    (exp / "train_ADA_settings.json").unlink()  # a run of other flags begins
    stale = exp / "density_selection_02.pkl"
    stale.write_bytes((exp / "density_selection_01.pkl").read_bytes())
    assert "density_selection_02.pkl" in script(f"{more} --resume", fails=True)
    stale.unlink()
    # Between its settings and its first record: the record is still that of a last round.
    for name in ("train_ADA_settings.json", "datalist_02.pkl", "round_02.json", "round_03.json"):
        moment = Moment("os.rename", name)
        killed = run_signalled(f"{more} --resume", Signal(signal.SIGKILL, exp, moment))
        assert killed == moment
        tally["kills survived"] += 1
    script(f"{more} --resume")
    assert json.loads((exp / "AL_record" / "round_02.json").read_text())["selection"]
    for name in ("datalist_02.pkl", "checkpoint03.tar", "AL_record/round_03.json"):
        assert (exp / name).is_file()


def test_more_rounds_go_on_from_the_last_one(
    toy_city, warmed_up, unbroken, tmp_path, script, tally
):
    """--resume with a larger --max_iterations ends as a run that began with it."""
    shutil.copytree(warmed_up, tmp_path, dirs_exist_ok=True)
    _, rounds = commands(toy_city, tmp_path)
    script(rounds.replace("--max_iterations 2", "--max_iterations 1"))
    trained = (tmp_path / "checkpoint01.tar").stat().st_mtime_ns
    moment = Moment("os.rename", "round_01.json")  # its datalist is there then
    signal_it = Signal(signal.SIGKILL, tmp_path, moment)
    assert run_signalled(f"{rounds} --resume", signal_it) == moment
    tally["kills survived"] += 1
    script(f"{rounds} --resume")
    assert (tmp_path / "checkpoint01.tar").stat().st_mtime_ns == trained
    assert_same_results(tmp_path, unbroken)
    fewer = rounds.replace("--max_iterations 2", "--max_iterations 1")
    assert "are finished" in script(f"{fewer} --resume")


def test_selection_of_another_pool_is_no_traceback(toy_city, warmed_up, unbroken, tmp_path, script):
    shutil.copytree(warmed_up, tmp_path, dirs_exist_ok=True)
    _, rounds = commands(toy_city, tmp_path)
    selection = tmp_path / "density_selection_00.pkl"
    moment = Moment("os.rename", selection.name)
    assert run_signalled(rounds, Signal(signal.SIGKILL, tmp_path, moment)) == moment
    chosen = pickle.loads((unbroken / selection.name).read_bytes())
    for value in (chosen + chosen, [(0.5, "a,b,c", 3)], [1, 2], {"a": 1}):
        selection.write_bytes(pickle.dumps(value))
        assert "not a selection from this pool" in script(f"{rounds} --resume", fails=True)


STOPS = [
    [
        Moment("os.rename", "warmup_state.tar"),  # before the first iteration
        Moment("open", "metrics.jsonl"),  # in a validation
    ],
    [
        Moment("os.rename", "checkpoint00.tar"),
        Moment("open", "round00_source.npy"),  # in a pass
        Moment("os.rename", "density_selection_00.pkl"),  # between two phases
        Moment("os.rename", "round_state.tar"),
        Moment("os.rename", "checkpoint01.tar"),
        Moment("os.rename", "round_01.json"),
    ],
]


def test_asked_to_stop_saves_first(toy_city, unbroken, tmp_path, script):
    """SIGTERM and SIGINT where no state would be saved for long."""
    signals = (signal.SIGTERM, signal.SIGINT)
    for command, moments in zip(commands(toy_city, tmp_path), STOPS, strict=True):
        command = command.replace("--save_period 1", "--save_period 100000")
        for number, moment in enumerate(moments):
            signum = signals[number % 2]
            ended = run_signalled(f"{command} --resume", Signal(signum, tmp_path, moment))
            assert ended.code == 128 + signum, ended.err
            assert ended.err.endswith("go on with --resume\n")
        assert "resumed after iteration" in script(f"{command} --resume")
    assert_same_results(tmp_path, unbroken)


def test_ctrl_c_for_a_process(toy_city, unbroken, tmp_path, script):
    command = commands(toy_city, tmp_path)[0].replace("--save_period 1", "--save_period 100000")
    process = start(command)
    assert wait_for(process, "iteration ")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert "go on with --resume" in errors
    assert "resumed after iteration" in script(f"{command} --resume")
    assert (tmp_path / "checkpoint.tar").read_bytes() == (unbroken / "checkpoint.tar").read_bytes()


def test_a_terminal_that_is_closed_stops_the_run(toy_city, warmed_up, unbroken, tmp_path, script):
    """As a broken connection does: its state is saved, though nobody reads what it writes."""
    shutil.copytree(warmed_up, tmp_path, dirs_exist_ok=True)
    command = commands(toy_city, tmp_path)[1].replace("--save_period 1", "--save_period 100000")
    pid, terminal = pty.fork()
    if not pid:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may run the tests
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, *command.split()])
    seen = b""
    while b"iteration 1/" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert "resumed after iteration" in script(f"{command} --resume")
    assert (tmp_path / "checkpoint02.tar").read_bytes() == (
        unbroken / "checkpoint02.tar"
    ).read_bytes()


def test_a_run_from_before_a_flag_existed_goes_on(script, toy_city, unbroken, tmp_path):
    """A flag that its settings lack counts as its default; another value is refused."""
    shutil.copytree(unbroken, tmp_path / "exp")
    settings = tmp_path / "exp" / "train_ADA_settings.json"
    value = json.loads(settings.read_text())
    del value["flags"]["components"]
    value["flags"]["init_checkpoint"] = str(tmp_path / "exp" / "checkpoint.tar")
    settings.write_text(json.dumps(value))
    command = commands(toy_city, tmp_path / "exp")[-1] + " --resume"
    assert "are finished" in script(command)
    assert "--components is 3" in script(f"{command} --components 3", fails=True)


def test_a_label_that_was_mended_ends_no_run(script, toy_city, warmed_up, tmp_path):
    city, exp = tmp_path / "city", tmp_path / "exp"
    shutil.copytree(toy_city, city)
    shutil.copytree(warmed_up, exp)
    command = commands(city, exp)[1].replace("--max_iterations 2", "--active_method random")
    script(f"{command} --max_iterations 0")
    label = min(city.glob("Cityscapes/gtFine/train/*/*labelIds.png"))
    with Image.open(label) as image:
        image.convert("L").save(label, compress_level=0)
    command += " --resume --max_iterations 1"
    assert "go on with --accept_changed_data" in script(command, fails=True)
    out = script(f"{command} --accept_changed_data")
    assert "the run goes on with them" in out and "done: rounds 0 to 1" in out
    assert "are finished" in script(command)


@pytest.mark.parametrize("number", range(2), ids=["warm-up", "rounds"])
def test_scores_by_labels_that_were_mended_do_not_count(
    number, script, toy_city, warmed_up, tmp_path
):
    city, exp = tmp_path / "city", tmp_path / "exp"
    shutil.copytree(toy_city, city)
    if number:
        shutil.copytree(warmed_up, exp)
    command = commands(city, exp)[number].replace("--max_iterations 2", "--max_iterations 1")
    moment = Moment("os.rename", ("checkpoint.tar", "checkpoint01.tar")[number])
    ended = run_signalled(command, Signal(signal.SIGTERM, exp, moment))
    assert ended.code == 128 + signal.SIGTERM, ended.err
    label = min(city.glob("Cityscapes/gtFine/val/*/*labelIds.png"))
    with Image.open(label) as image:
        image.convert("L").save(label, compress_level=0)
    out = script(f"{command} --resume --accept_changed_data")
    assert "does not count any more: validation data" in out


def test_data_that_moved_while_the_run_was_stopped(script, toy_city, warmed_up, unbroken, tmp_path):
    """Between the phases of a selection. What lies in the old place is not read any more."""
    exp, old, new = tmp_path / "exp", tmp_path / "old", tmp_path / "new"
    shutil.copytree(warmed_up, exp)
    shutil.copytree(toy_city, old)
    moment = Moment("os.rename", "density_selection_00.pkl")
    ended = run_signalled(commands(old, exp)[1], Signal(signal.SIGTERM, exp, moment))
    assert ended.code == 128 + signal.SIGTERM, ended.err
    shutil.copytree(old, new)
    for image in old.rglob("*.png"):
        image.write_bytes(b"")
    out = script(f"{commands(new, exp)[1]} --resume")
    assert f"--src_data_dir had in {old}/GTA5 is read from {new}/GTA5" in out
    for path in (*unbroken.glob("*.tar"), *unbroken.glob("datalist_01.pkl")):
        expected = path.read_bytes()
        if path.suffix == ".pkl":
            listed = json.dumps(pickle.loads(expected)).replace(str(toy_city), str(new))
            assert json.dumps(pickle.loads((exp / path.name).read_bytes())) == listed
        else:
            assert (exp / path.name).read_bytes() == expected
    for path in exp.glob("*.pkl"):  # that of the first phase, too
        assert f"{old}/".encode() not in path.read_bytes(), path


def test_results_are_never_overwritten(script, toy_city, unbroken):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*.tar")}
    for command in commands(toy_city, unbroken):
        assert "holds results already" in script(command, fails=True)
        assert "finished" in script(f"{command} --resume")
        line = script(f"{command} --resume --val_period 17", fails=True)
        assert "--val_period is 17" in line
    assert before == {path: path.stat().st_mtime_ns for path in unbroken.rglob("*.tar")}


def test_same_seed_same_files(script, toy_city, unbroken, tmp_path):
    """A second run, its rounds in a process of its own and with data workers."""
    warmup, rounds = commands(toy_city, tmp_path, workers=1)
    script(warmup, forked=True)
    script(f"{rounds} --save_period 100", process=True)
    assert_same_results(tmp_path, unbroken)


def data_workers(pid: int) -> list[int]:
    """The forked loader processes: below the fork server, which is below the main process."""
    below = children(pid)
    return [child for child in below if not children(child) and "forkserver" in name_of(child)]


def test_two_runs_in_one_folder_and_a_dead_data_worker(script, toy_city, tmp_path):
    """The second run is refused; a worker that is gone is named by the first, which then ends."""
    command, rounds = commands(toy_city, tmp_path, workers=1)
    command = command.replace("--total_itrs 5", "--total_itrs 100000 --save_period 100000")
    process = start(command)
    try:
        assert wait_for(process, "iteration 1/")
        for again in (command, f"{command} --resume", rounds):
            assert "another run is at work" in script(again, fails=True)
        assert process.poll() is None
        os.kill(data_workers(process.pid)[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 2, errors
    assert "a data worker died" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))


def give_up_privileges() -> None:
    """Those of root, who may write anywhere, as every other user has none."""
    version_and_process, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version_and_process, none) == 0


def test_full_disk_is_one_line_and_earlier_results_stay(script, toy_city, unbroken, tmp_path):
    """A limit on the size of files stands for a disk that fills up."""
    for command in commands(toy_city, tmp_path):
        before = {path: path.read_bytes() for path in tmp_path.glob("*.tar")}
        ended = run_forked(command, limit_files)
        assert ended.code == 2, ended.err
        assert "Traceback" not in ended.err
        assert "cannot be written (File too large)" in ended.err.splitlines()[-1]
        assert all(path.read_bytes() == content for path, content in before.items())
        assert not list(tmp_path.rglob("*.tmp"))
        script(f"{command} --resume")
    assert_same_results(tmp_path, unbroken)


def test_read_only_folder_is_one_line_and_earlier_results_stay(toy_city, warmed_up, tmp_path):
    """A folder that may be read but not written, at the start and after a warm-up."""
    warmup, rounds = commands(toy_city, tmp_path / "exp")
    shutil.copytree(warmed_up, tmp_path / "exp")
    for command, folder in ((rounds, tmp_path / "exp"), (warmup, tmp_path / "exp")):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        paths = [folder, *folder.iterdir()]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        ended = run_forked(command, give_up_privileges)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert ended.code == 2, ended.err
        assert "cannot be written (Permission denied)" in ended.err.splitlines()[-1]
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_folder_that_cannot_be_written(script, toy_city, tmp_path):
    (tmp_path / "file").write_text("in the way")
    command = commands(toy_city, tmp_path / "file" / "exp")[0]
    assert "cannot be written" in script(command, fails=True)


def test_datalists_are_the_same_bytes(unbroken):
    data = pickle.loads((unbroken / "datalist_01.pkl").read_bytes())
    assert pickle.dumps(data, protocol=4) == (unbroken / "datalist_01.pkl").read_bytes()

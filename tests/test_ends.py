"""However a script is started or stopped: its exit code, one line, and no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.in_process import ROOT, call
from utils import errors

MAKE_LIST = "data_preprocessing/make_datalist.py"


@pytest.fixture()
def city(tmp_path) -> Path:
    """A data set of one image of which nothing is read."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "00001.png").touch()
    return tmp_path


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", ">&-", ">/dev/full", "| true"])
def test_closed_and_full_streams(city, closed):
    """The work is done all the same, and nothing is printed into its files."""
    command = f"{sys.executable} {MAKE_LIST} --dataset GTA5 --datadir {city} {closed}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len((city / "train.txt").read_text().splitlines()) == 1


SCRIPTS = [("warmup.py", "0"), ("inference.py", "1"), ("annotation/import.py", "0")]


@pytest.mark.parametrize(("script", "rank"), SCRIPTS)
def test_ctrl_c_while_a_script_imports(script, rank):
    """Of several processes, which get the signal from torchrun, the first one says so."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", script, "--help"],
        cwd=ROOT,
        env=os.environ | {"LOCAL_RANK": rank},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:  # of each module that is imported
        if "numpy" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert lines == ["stopped by SIGINT"] * (rank == "0")


def test_the_root_folder_as_a_file(city, script):
    line = script(f"{MAKE_LIST} --dataset GTA5 --datadir {city} --out /", fails=True)
    assert "/: is a folder" in line


def test_names_that_are_too_long(city, script):
    for flags in (f"--datadir {city} --out {city}/{'x' * 300}", f"--datadir {city}/{'x' * 300}"):
        assert "File name too long" in script(f"{MAKE_LIST} --dataset GTA5 {flags}", fails=True)


def test_killed_superpixel_gen_leaves_nothing_behind(toy_city, script, tmp_path):
    """The next run removes the temporary file of the one before it, and no others."""
    root = tmp_path / "GTA5"
    (root / "superpixel").mkdir(parents=True)
    for name in ("images", "labels", "train.txt"):
        (root / name).symlink_to(toy_city / "GTA5" / name)
    folder = Path((root / "train.txt").read_text().split()[2]).parent
    (root / folder).mkdir(parents=True, exist_ok=True)
    dead, other = root / folder / ".00001.png.12.tmp", root / folder / "mine.tmp"
    for path in (dead, other):
        path.touch()
    script(f"data_preprocessing/superpixel_gen.py --dataset GTA5 --datadir {root} --workers 1")
    assert other.exists()
    assert not dead.exists()


def test_the_first_process_of_a_machine_says_what_is_wrong_for_all(monkeypatch):
    """Before ranks know each other; torchrun ends the others, such as this one, as it has ended."""
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    waited = []
    monkeypatch.setattr(errors, "time", SimpleNamespace(sleep=waited.append))
    ended = call("warmup.py --total_itrz 3")
    assert ended.code == 2
    assert ended.err.startswith("error: rank 1: unrecognized arguments: --total_itrz")
    assert waited == [errors.FIRST_SPEAKS]

    def ended_meanwhile(_):
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        raise SystemExit(-signal.SIGTERM)

    monkeypatch.setattr(errors, "time", SimpleNamespace(sleep=ended_meanwhile))
    ended = call("warmup.py --total_itrz 3")
    assert (ended.code, ended.err) == (-signal.SIGTERM, "")


@pytest.mark.parametrize(
    ("given", "level"), [({}, "ERROR"), ({"TORCH_CPP_LOG_LEVEL": "INFO"}, "INFO")]
)
@pytest.mark.parametrize("script", ["warmup.py", "train_ADA.py", "inference.py"])
def test_ranks_print_no_stack_traces_of_torch(tmp_path, script, given, level):
    """Unless somebody wants them; torch reads this when it is imported."""
    (tmp_path / "torch.py").write_text(
        "import os; print(os.environ.get('TORCH_CPP_LOG_LEVEL')); raise SystemExit"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_CPP_LOG_LEVEL"}
    environment |= {"PYTHONPATH": str(tmp_path), "RANK": "0", **given}
    done = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{level}\n"

"""What several tests share: running a script as a user does, on a toy city of a few images."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there: tests run one a core

import gc
import shlex
import subprocess
import sys
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.in_process import ROOT, Ended, call, restored_process
from tests.killing import run_forked

TALLY: Counter[str] = Counter()

# Modules of long tests that share what they look at, in two rows that take about as long.
LONG = (
    ("test_resume.py",),
    (
        *("test_ranks.py", "test_ranks_selection.py", "test_people.py", "test_active_methods.py"),
        *("test_pipeline.py", "test_report.py", "test_power_loss.py"),
    ),
)


def run_script(
    command: str, fails: bool = False, process: bool = False, forked: bool = False
) -> str:
    """Run ``python <command>`` from the repository's root; returns what it printed.

    Args:
        command: script and flags.
        fails: it must end as bad input does, with exit code 2 and one line, which is returned.
        process: run it in a process of its own, where the process matters; else in this one.
        forked: run it in a process forked from one that has imported torch, which is faster.
    """
    ended = (call_process if process else run_forked if forked else call)(command)
    if fails:
        assert ended.code == 2, ended.err
        assert "Traceback" not in ended.err
        line = ended.err.splitlines()[-1]
        assert line.startswith("error: ")
        TALLY["bad inputs refused"] += 1
        return line
    assert ended.code == 0, ended.err[-3000:]
    return ended.out + ended.err


def call_process(command: str) -> Ended:
    """Run ``python <command>`` in a process of its own."""
    result = subprocess.run(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Ended(result.returncode, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def _process():
    """No test leaves a log, a signal handler or a random state behind, also by calling a main."""
    with restored_process():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each worker of pytest-xdist begin with a row of long tests, so that short ones are last.

    Under ``--dist worksteal`` each begins with an equal share of all tests, in their order, and
    whoever has none left takes the last ones of another.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if workers == 1:
        return
    rows = [[item for item in items if item.path.name in names] for names in LONG]
    short = [item for item in items if not any(item.path.name in names for names in LONG)]
    share, ordered = len(items) // workers, []
    for worker in range(workers):
        ordered += [item for row in rows[worker::workers] for item in row]
        missing = max(0, (worker + 1) * share - len(ordered))
        ordered += short[:missing]
        del short[:missing]
    items[:] = ordered + short


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over the modules: a twentieth of all tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _fork_server():
    """In a run of all tests, have the one server of forked processes import what all need."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def tally() -> Counter:
    """What the README's promises count; printed when all tests are done."""
    return TALLY


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["tally"] = dict(TALLY)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    TALLY.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(TALLY.items()))
    terminalreporter.write_line(counts)


@pytest.fixture(scope="session")
def script():
    """See :func:`run_script`."""
    return run_script


@pytest.fixture(scope="session")
def toy_city(tmp_path_factory) -> Path:
    """A toy city of 6 images (3 for validation), 64 x 128, with superpixels."""
    root = tmp_path_factory.mktemp("city")
    run_script(f"data_preprocessing/toy_city.py --root {root} --images 6 --size 64 128 --quiet")
    for dataset, folder in (("GTA5", "GTA5"), ("SYNTHIA", "SYNTHIA"), ("cityscapes", "Cityscapes")):
        run_script(
            f"data_preprocessing/superpixel_gen.py --dataset {dataset} --datadir {root}/{folder}"
            " --workers 1"
        )
    return root

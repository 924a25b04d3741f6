"""What several tests share: running a script as a user does, on a toy city of a few images."""

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TALLY: Counter[str] = Counter()


def run_script(command: str, fails: bool = False) -> str:
    """Run ``python <command>`` from the repository's root; returns what it printed.

    With ``fails``, it must end as bad input does: exit code 2 and one line, which is returned.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if fails:
        lines = [line for line in result.stderr.splitlines() if " INFO " not in line]
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
        assert lines[-1].startswith("error: ")
        TALLY["bad inputs refused"] += 1
        return lines[-1]
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


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

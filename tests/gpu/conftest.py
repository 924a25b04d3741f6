"""Checks on a GPU: `make test-gpu`. They are no part of `make test`, and fail where no GPU is.

TEST_DEVICE=cpu runs them at a small size on the CPU, which shows that they run at all.
"""

import os

import pytest
import torch

ASKED = os.environ.get("TEST_DEVICE")
SEVERAL = not ASKED or ASKED.startswith("cpu") or torch.cuda.device_count() > 1
collect_ignore_glob = [] if ASKED else ["test_*.py"]
collect_ignore = [] if SEVERAL else ["test_several_gpus.py"]
FIGURES: list[str] = []


def pytest_configure() -> None:
    if ASKED and not ASKED.startswith("cpu") and not torch.cuda.is_available():
        pytest.exit(f"no GPU here: TEST_DEVICE={ASKED}, but torch finds no CUDA device", 1)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is checked against the CPU."""
    return torch.device(ASKED)


@pytest.fixture(scope="session")
def figure():
    """Called with a line of text, prints it after all checks."""
    return FIGURES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ASKED and ASKED.startswith("cuda"):
        terminalreporter.write_line(torch.cuda.get_device_name(ASKED))
    if not SEVERAL:
        terminalreporter.write_line("one GPU: training on several (NCCL) was not tried")
    for line in FIGURES:
        terminalreporter.write_line(line)

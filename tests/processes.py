"""Scripts as processes that tests watch, stop and kill."""

import shlex
import subprocess
import sys
from pathlib import Path

from tests.in_process import ROOT


def start(command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen, text: str) -> bool:
    """Read what a process says until a line holds ``text``; whether one did."""
    return any(text in line for line in process.stderr)


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""

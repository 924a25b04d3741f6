"""Scripts in forked processes, some of which get a signal just before a change of a file.

On disk, a run that is killed at any time is in the state before its next change of a file, so that
these moments stand for all. The processes are forked from a server that has imported torch and the
scripts: a start takes a fraction of a second.
"""

import gc
import os
import re
import runpy
import shlex
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from tqdm import tqdm

from tests.in_process import ROOT, Ended, call

EVENTS = ("open", "os.rename", "os.remove")
OCCURRENCES = (1, 4)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PRELOAD = ["tests.in_process", "warmup", "train_ADA", "inference", "sklearn.cluster"]
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOAD)


class Moment(NamedTuple):
    """Just before a file is opened for writing, moved into its place or removed.

    Attributes:
        event: one of :data:`EVENTS`.
        name: of the file; those of a region table's columns are one.
        occurrence: how often that happened in the process, one of :data:`OCCURRENCES`.
    """

    event: str
    name: str
    occurrence: int = 1


@dataclass
class Signal:
    """A signal that a script's process gets.

    Attributes:
        signum: SIGKILL, at which a file that is to be moved into its place is half written, or one
            that asks the script to stop.
        folder: whose files are watched, with those below it.
        at: the moment; the first one that is not among ``past`` if None.
        past: moments at which no signal is sent.
        pid: of the process that gets it; by default the one whose files are watched.
    """

    signum: int
    folder: Path
    at: Moment | None = None
    past: Collection[Moment] = ()
    pid: int | None = None


def run_forked(command: str, prepare: Callable[[], None] | None = None) -> Ended:
    """Run ``python <command>`` in a forked process, which first calls ``prepare``."""
    with tempfile.TemporaryDirectory() as folder:
        process = CONTEXT.Process(target=_run_as_main, args=(command, folder, prepare))
        process.start()
        process.join()
        out, err = (Path(folder, name).read_text() for name in ("out", "err"))
    return Ended(process.exitcode, out, err)


def run_signalled(command: str, signal_: Signal) -> Moment | Ended:
    """Run ``python <command>`` in a forked process.

    Returns:
        The moment at which it was killed, or how it ended by itself.
    """
    process, connection = _start(command, signal_)
    told = connection.recv()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if isinstance(told, Moment) else 0)
    return told


def run_killed_after(command: str, seconds: float) -> bool:
    """Run a script in a forked process, and kill it after so long; whether it still ran."""
    process, connection = _start(command, None)
    ended = connection.poll(seconds)
    process.kill()
    process.join()
    return not ended


def run_with_kills(command: str, folder: Path) -> set[Moment]:
    """Run a script again and again, each time killed at another moment, until none is left.

    Args:
        command: goes on where it stopped.
        folder: of its results.

    Returns:
        The moments at which it was killed.
    """
    past: set[Moment] = set()
    while True:
        told = run_signalled(command, Signal(signal.SIGKILL, folder, None, past))
        if isinstance(told, Ended):
            break
        past.add(told)
    assert told.code == 0, told.err
    return past


def _start(command: str, signal_: Signal | None) -> tuple[BaseProcess, Connection]:
    """Start a forked process; the connection tells what :func:`run_signalled` returns."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(command, signal_, theirs))
    process.start()
    theirs.close()
    return process, ours


def begin() -> None:
    """The first thing that a forked process does."""
    tqdm.set_lock(RLock())  # its own has a semaphore, which a killed process would leave
    gc.freeze()  # no need to look through the server's modules


def _run_as_main(command: str, folder: str, prepare: Callable[[], None] | None) -> None:
    """In the forked process: become the script, with files for what it prints."""
    begin()
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(ROOT)
    sys.argv = shlex.split(command)
    if prepare:
        prepare()
    runpy.run_path(sys.argv[0], run_name="__main__")


def _run(command: str, signal_: Signal | None, connection: Connection) -> None:
    """In the forked process: run the script, and tell how it ended."""
    begin()
    if signal_:
        watch(signal_, connection.send)
    try:
        ended = call(command)
    except Exception:
        ended = Ended(1, "", traceback.format_exc())
    connection.send(ended)


def watch(signal_: Signal, tell: Callable[[Moment], None] = lambda _: None) -> None:
    """Send a process its signal, once, when a change of a file is due; ``tell`` of kills before."""
    counts: Counter[tuple[str, str]] = Counter()
    sent: list[Moment] = []

    def before(event: str, args: tuple) -> None:
        name = _changed(event, args, str(signal_.folder))
        if name is None:
            return
        counts[event, name] += 1
        moment = Moment(event, name, counts[event, name])
        due = moment == signal_.at if signal_.at else moment not in signal_.past
        again = event != "os.rename" and name.endswith(("npy", "lock"))  # one stands for all
        if moment.occurrence not in OCCURRENCES[: 1 if again else None] or not due or sent:
            return
        sent.append(moment)
        if signal_.signum == signal.SIGKILL:
            if event == "os.rename" and signal_.pid is None:
                os.truncate(args[0], Path(args[0]).stat().st_size // 2)
            tell(moment)
        os.kill(signal_.pid or os.getpid(), signal_.signum)

    sys.addaudithook(before)


def _changed(event: str, args: tuple, folder: str) -> str | None:
    """The name of the file below ``folder`` that an audit event of Python is going to change."""
    if event not in EVENTS:
        return None
    path = args[1] if event == "os.rename" else args[0]
    if isinstance(path, int) or not os.fspath(path).startswith(folder):
        return None
    name = Path(path).name
    if name.endswith(".tmp") or (event == "open" and not args[2] & WRITING):
        return None
    return re.sub(r"(round\d\d_(source|target))_\w+\.npy", r"\1.npy", name)

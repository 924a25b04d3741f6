"""Scripts in several processes that are ranks of one job, as torchrun would start them.

The processes are forked from a server that has imported torch and the scripts, since torchrun
itself and each of its processes would spend seconds on that.
"""

import os
import shlex
import socket
import sys
from ast import literal_eval
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.in_process import ROOT, Ended
from tests.killing import CONTEXT, Moment, Signal, begin, watch
from utils.distributed import World
from utils.errors import run


class BesideMadeUpRank(World):
    """Rank 0 beside one that does not exist.

    Args:
        theirs: value of rank 0 -> that of the other rank, where ranks gather values.
    """

    def __init__(self, theirs: Callable[[Any], Any]):
        super().__init__(size=2)
        object.__setattr__(self, "theirs", theirs)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.theirs(value)]


class Ranks:
    """The processes of a job that executes one command.

    Args:
        command: script and flags.
        size: number of processes.
        folder: of files for what they print.
        changed: text that a rank reads in place of another in its command: rank -> (old, new).
        machines: the folders in which ranks run, each as if on a machine of its own; by default
            all are on one machine, in the repository.
        victim: rank that gets the signal.
        signal_: what a rank gets at which change of a file; rank 0 alone changes files.
    """

    def __init__(
        self,
        command: str,
        size: int,
        folder: Path,
        changed: dict[int, tuple[str, str]] | None = None,
        machines: Sequence[Path] | None = None,
        victim: int = 0,
        signal_: Signal | None = None,
    ):
        self.reserved = reserved_port()
        port = self.reserved.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.processes: dict[int, BaseProcess] = {}
        self.outputs = [folder / f"output_of_rank_{rank}.txt" for rank in range(size)]
        self.outputs[0].with_suffix(".moment").unlink(missing_ok=True)
        for rank in reversed(range(size)):
            words = command.replace(*(changed or {}).get(rank, ("", "")))
            local, machine = (rank, 0) if machines is None else (0, rank)
            names = {"RANK": rank, "LOCAL_RANK": local, "GROUP_RANK": machine}
            names |= {
                "TORCHELASTIC_RUN_ID": "tests",
                "WORLD_SIZE": size,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            watched = None
            if rank == 0 and signal_:
                watched = replace(signal_, pid=self.processes[victim].pid if victim else None)
            where = ROOT if machines is None else machines[rank]
            arguments = (words, names, where, self.outputs[rank], watched)
            self.processes[rank] = CONTEXT.Process(target=_run, args=arguments)
            self.processes[rank].start()

    @property
    def moment(self) -> Moment | None:
        """The moment of the kill, if there was one."""
        told = self.outputs[0].with_suffix(".moment")
        return Moment(*literal_eval(told.read_text())) if told.exists() else None

    def wait(self, seconds: float = 120) -> list[Ended]:
        """Return how each rank ended; its exit code is negative if a signal ended it."""
        ended = []
        for rank, output in enumerate(self.outputs):
            self.processes[rank].join(seconds)
            assert self.processes[rank].exitcode is not None, output.read_text()
            ended.append(Ended(self.processes[rank].exitcode, "", output.read_text()))
        self.reserved.close()
        return ended


def reserved_port() -> socket.socket:
    """Return a socket, to be closed later, of a port at which only rank 0 can listen meanwhile.

    Others that ask for it, or for any port, do not get it. The store of torch asks with the same
    option as this socket, which itself never listens.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def run_ranks(command: str, size: int, folder: Path, **options) -> str:
    """Run a command as a job that succeeds; return what rank 0 printed."""
    ended = Ranks(command, size, folder, **options).wait()
    for rank in ended:
        assert rank.code == 0, [rank.err[-3000:] for rank in ended]
    return ended[0].err


def _run(
    command: str, names: dict[str, int | str], where: Path, output: Path, signal: Signal | None
) -> None:
    """In the forked process: be a rank, and execute the script to the end of the process."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ |= {name: str(value) for name, value in names.items()}
    os.chdir(where)
    begin()
    if signal:
        told = output.with_suffix(".moment")
        watch(signal, lambda moment: told.write_text(repr(tuple(moment))))
    script, *argv = shlex.split(command)
    sys.argv = [script, *argv]
    module = import_module(script.removesuffix(".py").replace("/", "."))
    run(partial(module.main, argv), module.parser)

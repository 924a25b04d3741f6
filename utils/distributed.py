"""Several processes as one: a script that torchrun starts once for each GPU (torch.distributed).

Without torchrun, a :class:`World` has one process and no process group, and its methods return
their arguments. With it, all processes ("ranks") execute the same script. Rank 0 alone reads and
writes the files of a run.

Collective operations wait for all ranks, which therefore must call the same ones in the same
order. Two process groups exist: the default one (NCCL for CUDA tensors, gloo for those of the CPU),
in which no rank may wait longer than ``--dist_timeout``, and a gloo group for Python objects, in
which ranks wait as long as it takes, for example while rank 0 fits mixtures. What happens when a
rank fails is in :mod:`utils.liveness`.
"""

import os
import re
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TextIO, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UserError, ending_of, of_rank
from utils.liveness import Watch
from utils.parser import process_count
from utils.rendezvous import meet
from utils.stopping import SIGNALS, STOP, Stopped

Value = TypeVar("Value")

LONG = timedelta(days=30)
LOST = re.compile(r"gloo|NCCL|store|[Cc]onnection|[Ss]ocket")
"""What errors of torch.distributed speak of when another rank is gone."""
RANK_0_SPEAKS = 1.0  # seconds in which rank 0 may say what is wrong on all ranks
PASSED_ON = 5.0  # seconds in which a signal may arrive twice, see StopRequest.patience
OWN_FLAGS = {"config", "device", "num_workers"}
"""Flags that may differ between ranks."""


@dataclass(frozen=True)
class World:
    """The processes of a job, of which this is one.

    Attributes:
        rank: number of this process, 0 .. size - 1.
        size: number of processes.
        local_rank: number of this process among those of its machine.
        control: process group for Python objects; None for one process.
        watch: watches the other processes; None for one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: dist.ProcessGroup | None = None
    watch: Watch | None = None

    @classmethod
    def single(cls) -> "World":
        """Return the world of a process that was started without torchrun."""
        return cls()

    @classmethod
    def start(cls, timeout: float) -> "World":
        """Join the job that torchrun's environment variables describe; without them, be single.

        Args:
            timeout: seconds to wait for other ranks, see ``--dist_timeout``.

        Raises:
            UserError: not all ranks came in time.
        """
        if process_count() == 1:
            return cls.single()
        gpu = torch.cuda.is_available() and dist.is_nccl_available()
        try:
            store, rank, members, name = meet(timeout)
            watch = Watch(rank, members, timeout, name)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpu else "gloo",
                timeout=timedelta(seconds=timeout),
                **{"store": store, "rank": rank, "world_size": len(members)},
            )
            control = dist.new_group(backend="gloo", timeout=LONG)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"torchrun: {process_count()} processes did not find each other within "
                f"{timeout:g} s ({reason}); see MASTER_ADDR and MASTER_PORT, "
                "--rdzv_endpoint and --dist_timeout"
            ) from error
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        return cls(rank, len(members), local_rank, control, watch)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes the files of a run."""
        return self.rank == 0

    @property
    def beside_main(self) -> bool:
        """Whether this process is on the machine of rank 0."""
        return self.is_main or self.watch.members[self.rank].host == self.watch.members[0].host

    def device(self, name: str) -> str:
        """Return the device of this process for the value of ``--device``: GPU ``local_rank``.

        Raises:
            UserError: the machine has fewer GPUs than processes, or the flag names one GPU for all.
        """
        gpus = torch.cuda.device_count()
        if self.size == 1 or name == "cpu" or (name == "auto" and not gpus):
            return name if self.size == 1 else "cpu"
        if name not in ("auto", "cuda"):
            raise UserError(
                f"--device {name}: each process of torchrun has its own GPU; use --device cuda"
            )
        if self.local_rank >= gpus:
            raise UserError(
                f"--device {name}: this machine has {gpus} GPUs for more processes; start torchrun "
                f"with --nproc_per_node {gpus}, or use --device cpu"
            )
        return f"cuda:{self.local_rank}"

    def shard(self, n: int, block: int = 1) -> range:
        """Return this rank's share of 0 .. n - 1: contiguous, and of about the size of others'.

        Args:
            n: number of things.
            block: things that stay together, such as the images of a batch: shares begin at its
                multiples, so that batches are those of one process.
        """
        blocks = -(-n // block)
        start, stop = (blocks * (self.rank + k) // self.size * block for k in (0, 1))
        return range(min(start, n), min(stop, n))

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value on every rank; it may be anything that can be pickled."""
        if self.size == 1:
            return value
        box = [value if self.is_main else None]
        self._begin()
        dist.broadcast_object_list(box, 0, self.control)
        return value if self.is_main else box[0]

    def on_main(self, function: Callable[..., Value], *args: Any) -> Value:
        """Call a function on rank 0, and return its result on every rank."""
        return self.broadcast(function(*args) if self.is_main else None)

    def complete_flags(
        self, function: Callable[..., Namespace], args: Namespace, *more: Any
    ) -> Namespace:
        """Call ``function(args, *more)`` on rank 0; return the flags that it returns on every rank.

        Each rank keeps its own values of :data:`OWN_FLAGS`.
        """
        own = {name: value for name, value in vars(args).items() if name in OWN_FLAGS}
        return Namespace(**vars(self.on_main(function, args, *more)) | own)

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank, on every rank."""
        if self.size == 1:
            return [value]
        values: list = [None] * self.size
        self._begin()
        dist.all_gather_object(values, value, self.control)
        return values

    def gather_on_main(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank, on rank 0; on the others, an empty list."""
        if self.size == 1:
            return [value]
        values: list = [None] * self.size if self.is_main else []
        self._begin()
        dist.gather_object(value, values if self.is_main else None, 0, self.control)
        return values

    def first_other(self, value: Value) -> tuple[int, Value, Value] | None:
        """Compare a value that all ranks should have alike, on all ranks.

        Returns:
            The first rank that has another one than rank 0, its value and that of rank 0; None if
            there is none.
        """
        first, *others = self.gather(value)
        for rank, theirs in enumerate(others, 1):
            if theirs != first:
                return rank, theirs, first
        return None

    def send(self, value: Any, rank: int) -> None:
        """Send anything that can be pickled to another rank, which must :meth:`receive` it."""
        dist.send_object_list([value], rank, self.control)

    def receive(self, rank: int) -> Any:
        """Return what another rank has sent to this one, waiting as long as it takes."""
        box = [None]
        dist.recv_object_list(box, rank, self.control)
        return box[0]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks, on every rank."""
        if self.size == 1:
            return values
        total = values.clone()
        self._begin()
        dist.all_reduce(total)
        return total

    def sum_array(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all ranks, on every rank."""
        return values if self.size == 1 else self.sum(torch.from_numpy(values)).numpy()

    def check_stop(self, number: int = 0) -> int:
        """Stop all ranks at the same place if a signal has asked any of them.

        Args:
            number: of something on this rank.

        Returns:
            The sum of ``number`` over all ranks, which the same small message carries.

        Raises:
            Stopped: on all ranks alike.
        """
        if self.size == 1:
            STOP.check()
            return number
        asked = [int(STOP.signum == signum) for signum in SIGNALS]
        total, *asked = self.sum(torch.tensor([number, *asked])).tolist()
        for signum, ranks in zip(SIGNALS, asked, strict=True):
            if ranks:
                raise Stopped(signum)
        return total

    def share_random_state(self, device: torch.device) -> None:
        """Let all ranks draw the same random numbers from now on, as rank 0 does."""
        if self.size == 1:
            return
        torch.set_rng_state(self.broadcast(torch.get_rng_state()))
        if device.type == "cuda":
            state = self.broadcast(torch.cuda.get_rng_state(device))
            torch.cuda.set_rng_state(state, device)

    def barrier(self) -> None:
        """Wait, as long as it takes, until all ranks have come here."""
        if self.size > 1:
            self._begin()
            dist.barrier(self.control)

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Let one rank of each machine execute the block, then the machine's others.

        For blocks that write a file beside the data once and find it there later.
        """
        if self.local_rank > 0:
            self.barrier()
        yield
        if self.local_rank == 0:
            self.barrier()

    def _begin(self) -> None:
        self.watch.operations += 1


SINGLE = World.single()


@contextmanager
def joined(args: Namespace, parser: Callable[[], ArgumentParser] | None = None) -> Iterator[World]:
    """Join the job that torchrun has started, for the duration of the block.

    An error on one rank ends all of them with the same exit code, and its line is printed once.

    Args:
        args: the flags, with ``dist_timeout``; on every rank they must be those of rank 0.
        parser: see :func:`utils.errors.run`.
    """
    world = World.start(args.dist_timeout)
    if world.size == 1:
        yield world
        return
    if "resume" not in args:
        world.watch.remedy = "start it again"
    if not world.is_main:
        sys.stderr = _NoTerminal(sys.stderr)
    STOP.patience = PASSED_ON
    world.watch.take_sigterm()
    try:
        _check_flags(world, args)
        yield world
        world.barrier()
    except BaseException as error:
        _end_all(world, error, args.dist_timeout, parser)
    world.watch.leave()
    dist.destroy_process_group()


class _NoTerminal:
    """The standard error stream of a rank that shows no progress bars: tqdm asks for a terminal."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _check_flags(world: World, args: Namespace) -> None:
    """Raise a :class:`UserError` if a rank was started with other flags than rank 0."""
    flags = {k: str(v) for k, v in vars(args).items() if k not in OWN_FLAGS}
    if other := world.first_other(flags):
        rank, theirs, first = other
        if theirs.keys() != first.keys():
            raise UserError(
                f"rank {rank} has other flags than rank 0 "
                f"(--{min(theirs.keys() ^ first.keys())}); all machines need the same version of "
                "this code"
            )
        name = next(name for name in first if theirs[name] != first[name])
        raise UserError(
            f"--{name} is {theirs[name]} on rank {rank} but {first[name]} on rank 0; "
            "start all machines with the same flags"
        )


def _end_all(
    world: World,
    error: BaseException,
    timeout: float,
    parser: Callable[[], ArgumentParser] | None,
) -> NoReturn:
    """End this process as the whole job ends; whoever fails first prints its line."""
    try:
        if not world.is_main:  # where all ranks fail alike, rank 0 is the one to say so
            time.sleep(RANK_0_SPEAKS)
        line, code = ending_of(error, parser)
        lost = line is None and isinstance(error, RuntimeError) and LOST.search(str(error))
        if lost and (ending := world.watch.why()) is not None:
            world.watch.exit_with(ending)
        if lost and (behind := [r for r in world.watch.slowest() if r != world.rank]):
            ranks = ", ".join(map(str, behind))
            line = f"error: no answer from rank {ranks} within --dist_timeout {timeout:g} s"
            code = 2
        if line and not world.is_main:
            line = of_rank(line, world.rank)
        ending = world.watch.end(code, line or "")
        if ending.rank == world.rank:
            print(line or "".join(traceback.format_exception(error)), file=sys.stderr)
        world.watch.exit_with(ending)
    except RuntimeError:  # of the store
        world.watch.lost_store()

"""Several processes as one: a script that torchrun starts once for each GPU (torch.distributed).

Without torchrun, a :class:`World` has one process and no process group, and its methods return
their arguments. With it, all processes ("ranks") execute the same script. Rank 0 alone reads and
writes the files of a run.

Collective operations wait for all ranks, which therefore must call the same ones in the same
order. Two process groups exist: the default one (NCCL for CUDA tensors, gloo for those of the CPU),
in which no rank may wait longer than ``--dist_timeout``, and a gloo group for Python objects, in
which ranks wait as long as it takes, for example while rank 0 fits mixtures. What happens when a
rank fails is in :mod:`utils.liveness`, and how a script joins a job and ends with it in
:mod:`utils.job`.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UserError
from utils.liveness import Watch
from utils.parser import check_rank_variables, process_count, started_by_torchrun
from utils.rendezvous import meet
from utils.stopping import SIGNALS, STOP, Stopped

log = logging.getLogger(__name__)

Value = TypeVar("Value")

LONG = timedelta(days=30)
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
    def start(cls, timeout: float) -> "World":
        """Join the job that torchrun's environment variables describe; without them, be single.

        Args:
            timeout: seconds to wait for other ranks, see ``--dist_timeout``.

        Raises:
            UserError: the variables are wrong, or not all ranks came in time.
        """
        if process_count() == 1:
            return SINGLE
        check_rank_variables()
        single = ""
        if not started_by_torchrun():
            single = "; for a single process, unset WORLD_SIZE"
            if os.environ["RANK"] == "0":
                log.warning(
                    "WORLD_SIZE=%s: waiting up to %g s for the other processes%s",
                    *(os.environ["WORLD_SIZE"], timeout, single),
                )
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
                f"--rdzv_endpoint, GLOO_SOCKET_IFNAME and --dist_timeout{single}"
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
            UserError: the machine has fewer GPUs than processes, or the flag names something else
                than a GPU for each.
        """
        gpus = torch.cuda.device_count()
        if self.size == 1 or name == "cpu" or (name == "auto" and not gpus):
            return name if self.size == 1 else "cpu"
        if not gpus:
            raise UserError(f"--device {name}: this machine has no GPU; use --device cpu")
        if name not in ("auto", "cuda"):
            raise UserError(
                f"--device {name}: each process of torchrun has its own GPU; use --device cuda"
            )
        if self.local_rank >= gpus:
            raise UserError(
                f"--device {name}: this machine has {gpus} GPUs for more processes; start torchrun "
                f"with --nproc_per_node {gpus}, or use --device cpu"
            )
        if gpus > 1 and "LOCAL_RANK" not in os.environ:
            raise UserError(
                "LOCAL_RANK is not set, which chooses the GPU: start with torchrun, or give each "
                "process its number on the machine, from 0"
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


SINGLE = World()  # a process that was started without torchrun

"""How the processes that torchrun has started find each other, also when it starts them again."""

import json
import os
import socket
import threading
import time
from concurrent import futures
from concurrent.futures import Future
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore

TRIES = 3  # torch itself tries twice


class Member(NamedTuple):
    """One process of a job: its machine and its process id there."""

    host: str
    pid: int


class Meeting(NamedTuple):
    """What a process knows of its job.

    Attributes:
        store: key-value store that the processes of this job share, and no others.
        rank: number of this process.
        members: all processes, by rank.
        name: of the job, which no other one has.
    """

    store: Store
    rank: int
    members: list[Member]
    name: str


def this_process() -> Member:
    """Return this process; ``GROUP_RANK`` tells machines of the same name apart."""
    return Member(f"{socket.gethostname()}/{os.environ.get('GROUP_RANK', '')}", os.getpid())


def meet(timeout: float) -> Meeting:
    """Wait until all processes have come that torchrun's environment variables speak of.

    torchrun's store may still hold the keys of processes that it has ended, among them the
    addresses at which they waited for each other. The processes of a job therefore agree on a name
    for their keys. Nothing else tells one attempt from another: ``TORCHELASTIC_RESTART_COUNT`` may
    differ between machines.

    Args:
        timeout: seconds to wait.

    Raises:
        RuntimeError: not all of them came.
        ValueError, KeyError: the variables are wrong.
    """
    store, rank, size = _find_store(timeout)
    name = _welcome(store, size, timeout) if rank == 0 else _greet(store, rank)
    members = [Member(*json.loads(store.get(f"here/{name}/{number}"))) for number in range(size)]
    return Meeting(PrefixStore(f"job/{name}", store), rank, members, name)


def connect(name: str) -> Store:
    """Return another connection to the store of a job, for use by another thread."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))
    return PrefixStore(f"watch/{name}", store)


def _find_store(timeout: float) -> tuple[Store, int, int]:
    """Return the store, and rank and number of processes.

    A thread looks for it: torch would wait without end for another program at MASTER_PORT that
    gives no answer, and not listen for Ctrl-C meanwhile.
    """
    found: Future = Future()

    def look() -> None:
        try:
            found.set_result(next(dist.rendezvous("env://", timeout=timedelta(seconds=timeout))))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=look, daemon=True).start()
    try:
        return found.result(TRIES * timeout)
    except futures.TimeoutError:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RuntimeError(f"no answer from {address}; is another program there?") from None


def _greet(store: Store, rank: int) -> str:
    """Ask rank 0, by a word that nobody has used before, for the name of the job."""
    word = uuid4().hex
    store.set(f"hello/{rank}", word)
    name = store.get(f"welcome/{word}").decode()
    store.set(f"here/{name}/{rank}", json.dumps(this_process()))
    return name


def _welcome(store: Store, size: int, timeout: float) -> str:
    """On rank 0: tell all who ask the name of the job, until all have confirmed it."""
    name, answered, until = uuid4().hex, set(), time.monotonic() + timeout
    store.set(f"here/{name}/0", json.dumps(this_process()))
    while not store.check([f"here/{name}/{rank}" for rank in range(1, size)]):
        for rank in range(1, size):
            word = store.get(f"hello/{rank}") if store.check([f"hello/{rank}"]) else None
            if word and word not in answered:
                store.set(f"welcome/{word.decode()}", name)
                answered.add(word)
        if time.monotonic() > until:
            raise RuntimeError("not all of them asked for the name of the job")
        time.sleep(0.02)
    return name

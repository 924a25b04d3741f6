"""How the processes of one job learn that one of them has failed, was killed or is to stop.

A collective operation waits for all processes, so one that is gone would make the others hang.
A thread in each process therefore looks twice a second at the key-value store that torchrun offers:
whoever ends first writes there how the job ends, and all others end in the same way.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from utils.rendezvous import Member, connect
from utils.stopping import STOP, Stopped

PERIOD = 0.5  # seconds between looks at the store
PATIENCE = 8 * PERIOD  # after a failed operation, or SIGTERM: time to find out who is gone
HOSTING = 30.0  # seconds in which the host of the store stays for the others to read it


class Ending(NamedTuple):
    """How a job ends: the rank that ended first, its exit code, and the line that it prints."""

    rank: int
    code: int
    line: str


class Watch:
    """Watches the other processes of a job, from a thread.

    Args:
        rank: of this process.
        members: all processes, by rank.
        timeout: seconds without a sign of life after which a process on another machine counts as
            dead.
        job: name of this job, which no other one has.

    Attributes:
        remedy: what the line on a process that died says to do.
    """

    def __init__(self, rank: int, members: Sequence[Member], timeout: float, job: str):
        self.rank = rank
        self.members = members
        self.timeout = timeout
        self.remedy = "go on with --resume"
        self.store = connect(job)
        self.operations = 0
        self._beats = 0
        self._seen: dict[int, tuple[int, float]] = {}
        self._over, self._left_store = threading.Event(), threading.Event()
        self._losing = threading.Lock()
        self._rounds = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        threading.Thread(target=self._await_answers, daemon=True).start()

    def take_sigterm(self) -> None:
        """Let SIGTERM end a script that does not listen for it, but not before others' news of why.

        As soon as a process dies, torchrun asks the others of its machine to end, too. This watch
        needs a moment to tell which one it was, and then ends this process itself.
        """

        def handle(signum: int, _: FrameType | None) -> NoReturn:
            time.sleep(PATIENCE)
            raise Stopped(signum, self.remedy)

        signal.signal(signal.SIGTERM, handle)

    def end(self, code: int, line: str) -> Ending:
        """Tell the others how this process ends; return how the job ends, as the first one told."""
        ours = json.dumps(Ending(self.rank, code, line))
        return Ending(*json.loads(self.store.compare_set("end", "", ours)))

    def why(self) -> Ending | None:
        """After a failed operation: how the job ends, once that is known; None if it stays unknown.

        A process that gives no sign of life meanwhile, on whatever machine, is the reason.
        """
        others = [rank for rank in range(len(self.members)) if rank != self.rank]
        before, until = self._signs(others), time.monotonic() + PATIENCE
        while time.monotonic() < until:
            time.sleep(PERIOD / 2)
            if (ending := self._ending()) is not None:
                return ending
        now = self._signs(others)
        silent = [rank for rank in others if now[rank] == before[rank] and not self._left(rank)]
        return self._died(silent[0], "died or hangs") if silent else None

    def behind(self) -> list[int]:
        """Return the ranks that have begun fewer operations than this one, which waits for them.

        Those of a network in training, which torch itself begins, are not counted.
        """
        others = [rank for rank in range(len(self.members)) if rank != self.rank]
        begun = {
            rank: json.loads(self.store.get(f"alive/{rank}"))[1]
            for rank in others
            if self.store.check([f"alive/{rank}"])
        }
        return [rank for rank, count in begun.items() if count < self.operations]

    def leave(self) -> None:
        """This process has done its work: its end means nothing to the others."""
        self._over.set()
        self._thread.join()
        self.store.set(f"left/{self.rank}", "")
        self._left_store.set()
        self._host_the_store()

    def exit_with(self, ending: Ending) -> NoReturn:
        """End this process as the job ends."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        self.store.set(f"left/{self.rank}", "")
        self._left_store.set()
        self._host_the_store()
        exit_at_once(ending.code)

    def _host_the_store(self) -> None:
        """On rank 0, unless torchrun has the store: let the others read it for the last time."""
        if self.rank > 0 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return
        others, until = range(1, len(self.members)), time.monotonic() + min(HOSTING, self.timeout)
        while time.monotonic() < until and not all(self._left(r) or self._gone(r) for r in others):
            time.sleep(PERIOD / 20)

    def lost_store(self, silent: bool = False) -> NoReturn:
        """End this process: the one that hosts the store is gone, and with it all news of others.

        The first rank that lives on each machine says so.

        Args:
            silent: the host may still exist, but does not answer; it says nothing then.
        """
        if self._losing.acquire(blocking=False):  # of two threads, the first
            ours = self.members[self.rank].host
            lower = [m for m in self.members[int(silent) : self.rank] if m.host == ours]
            if all(is_gone(member.pid) for member in lower):
                line = f"{self._describe(0)}, or torchrun on its machine, died or does not answer"
                print(f"error: {line}; {self.remedy}", file=sys.stderr)
            exit_at_once(2)
        while True:
            time.sleep(PERIOD)

    def _run(self) -> None:
        try:
            while not self._over.wait(PERIOD):
                self._beats += 1
                self.store.set(f"alive/{self.rank}", json.dumps([self._beats, self.operations]))
                self._share_stop_request()
                ending = self._find_dead()
                if ending is None and (told := self._ending()) and told.rank != self.rank:
                    ending = told  # one of this rank is the business of the thread that told it
                if ending is not None:
                    self.exit_with(ending)
                self._rounds += 1
        except RuntimeError:  # of the store
            if not self._over.is_set():
                self.lost_store()

    def _await_answers(self) -> None:
        """End this process if the store gives no answer for ``timeout`` seconds.

        A machine that lost its power or its network closes no connection, so that the thread above
        would wait for an answer for a quarter of an hour and more. Seconds are those in which this
        thread ran: a process that was suspended does not count them.
        """
        rounds, silence = 0, 0.0
        while not self._left_store.wait(PERIOD):
            rounds, silence = self._rounds, 0.0 if rounds != self._rounds else silence + PERIOD
            if silence > self.timeout:
                self.lost_store(silent=True)

    def _share_stop_request(self) -> None:
        """A signal to one process asks them all to stop, even while they wait for another one."""
        if STOP.signum is not None:
            self.store.set("stop", str(int(STOP.signum)))
        elif self.store.check(["stop"]):
            STOP.signum = int(self.store.get("stop"))

    def _ending(self) -> Ending | None:
        return Ending(*json.loads(self.store.get("end"))) if self.store.check(["end"]) else None

    def _find_dead(self) -> Ending | None:
        """Look for processes that are gone, and tell the others of the first one."""
        ours = self.members[self.rank].host
        for rank in range(len(self.members)):
            if self._gone(rank) and not self._left(rank):
                return self._died(rank, "died (killed, or out of memory?)")
        if self.rank == 0:  # the others notice when the store on its machine is gone
            far = [rank for rank, member in enumerate(self.members) if member.host != ours]
            now = time.monotonic()
            for rank, sign in self._signs(far).items():
                before, since = self._seen.get(rank, (None, now))
                if sign != before:
                    self._seen[rank] = sign, now
                elif now - since > self.timeout and not self._left(rank):
                    return self._died(rank, "died or hangs")
        return None

    def _signs(self, ranks: list[int]) -> dict[int, int]:
        """Return how often each process gave a sign of life; 0 where it did not yet."""
        signs = dict.fromkeys(ranks, 0)
        for rank in ranks:
            if self.store.check([f"alive/{rank}"]):
                signs[rank] = json.loads(self.store.get(f"alive/{rank}"))[0]
        return signs

    def _gone(self, rank: int) -> bool:
        """Whether a process of this machine does not exist any more."""
        member = self.members[rank]
        return member.host == self.members[self.rank].host and is_gone(member.pid)

    def _left(self, rank: int) -> bool:
        return self.store.check([f"left/{rank}"])

    def _died(self, rank: int, how: str) -> Ending:
        line = f"{self._describe(rank)} {how}; {self.remedy}"
        ending = self.end(2, line)
        if ending == Ending(self.rank, 2, line):
            print(f"error: {line}", file=sys.stderr)
        return ending

    def _describe(self, rank: int) -> str:
        member = self.members[rank]
        return f"rank {rank} (process {member.pid} on {member.host.partition('/')[0]})"


def is_gone(pid: int) -> bool:
    """Whether no process of this machine has a process id, or one that has ended already."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except ProcessLookupError:
        return True
    except OSError:  # of another user, or no /proc
        return False


def exit_at_once(code: int) -> NoReturn:
    """End the process without waiting for operations that will never come to their end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)

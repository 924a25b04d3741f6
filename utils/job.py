"""How a script joins the job that torchrun has started, and how all of its processes end alike."""

import re
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch.distributed as dist

from utils.distributed import OWN_FLAGS, World
from utils.errors import UserError, ending_of, of_rank
from utils.stopping import STOP

LOST = re.compile(r"gloo|NCCL|store|[Cc]onnection|[Ss]ocket")
"""What errors of torch.distributed speak of when another rank is gone."""
TIMED_OUT = re.compile(r"[Tt]ime(d |-)?out")
RANK_0_SPEAKS = 1.0  # seconds in which rank 0 may say what is wrong on all ranks
PASSED_ON = 5.0  # seconds in which a signal may arrive twice, see StopRequest.patience


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
        sys.stderr.isatty = lambda: False  # tqdm asks, and shows no bar
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
        if lost and TIMED_OUT.search(str(error)):
            behind = world.watch.behind()
            ranks = f"rank {', '.join(map(str, behind))}" if behind else "another rank"
            reason = str(error).splitlines()[0].rstrip(".")
            line = f"error: no answer from {ranks} within --dist_timeout {timeout:g} s ({reason})"
            code = 2
        if line and not world.is_main:
            line = of_rank(line, world.rank)
        ending = world.watch.end(code, line or "")
        if ending.rank == world.rank:
            print(line or "".join(traceback.format_exception(error)), file=sys.stderr)
        world.watch.exit_with(ending)
    except RuntimeError:  # of the store
        world.watch.lost_store()

"""Scripts as functions of the test's own process, which afterwards is as it was before."""

import io
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch

from utils.errors import run
from utils.stopping import SIGNALS, STOP

ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    """How a script ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


def call(command: str) -> Ended:
    """Run ``python <command>`` from the repository's root, as a function of this process.

    It ends as :func:`utils.errors.run` has it, except that an exception which would be a traceback
    is raised, and that it does not wait for the disk, which no test can tell.
    """
    script, *argv = shlex.split(command)
    module = import_module(script.removesuffix(".py").replace("/", "."))
    out, err, code = io.StringIO(), io.StringIO(), 0
    no_wait = patch.object(os, "fsync", lambda _: None)
    with restored_process(), no_wait, redirect_stdout(out), redirect_stderr(err):
        sys.argv = [script, *argv]
        os.chdir(ROOT)
        logging.getLogger().handlers = []  # not pytest's own, which a script would close
        try:
            run(partial(module.main, argv), getattr(module, "parser", None))
        except SystemExit as end:
            code = end.code
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def restored_process() -> Iterator[None]:
    """Put back, after the block, all that a script sets for the whole process."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ))
        for name in ("argv", "unraisablehook"):
            stack.enter_context(patch.object(sys, name, getattr(sys, name)))
        stack.callback(os.chdir, Path.cwd())
        for signum in SIGNALS:
            stack.callback(signal.signal, signum, signal.getsignal(signum))
        stack.enter_context(patch.object(STOP, "signum", None))
        stack.callback(_restore_torch, *_torch_state())
        stack.enter_context(_restored_log())
        yield


def _torch_state() -> tuple:
    return (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )


def _restore_torch(
    random: torch.Tensor, threads: int, deterministic: bool, warn_only: bool, benchmark: bool
) -> None:
    torch.set_rng_state(random)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.benchmark = benchmark


@contextmanager
def _restored_log() -> Iterator[None]:
    """Put back the handlers of the log, and close those that are new."""
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers = handlers
        root.setLevel(level)
        logging.raiseExceptions = raises

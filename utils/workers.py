"""Worker processes: they import from the project alone, and end with the process they work for."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path

from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SLOW_IMPORTS = ("cv2", "skimage.segmentation", "torch", "dataloader.datasets")
FEWEST_FILES = 64
FOR_MAIN = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # which saves its state first


def worker_context(alone: str = "--num_workers 0") -> BaseContext:
    """The context that workers are started in: forked from a server, as threads rule out others.

    Python starts this server, and the tracker of its resources, as ``python -c``, which imports
    from the working directory first: another checkout of the project there, or a file called
    ``signal.py``, would be executed. Both are therefore started in the project's own folder. Each
    worker takes over the working directory and ``sys.path`` of the process that it works for.

    The server has imported what is slow and imported here, and ignores Ctrl-C, as its workers do:
    that is for the main process to handle.

    Args:
        alone: the flag with which a script does without workers.

    Raises:
        UserError: too few files may be open.
    """
    import resource  # this and the fork server are not on Windows, where no workers can be had
    from multiprocessing import forkserver, resource_tracker

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEWEST_FILES:
        raise UserError(
            f"only {files} files may be open at a time, and workers need {FEWEST_FILES}; "
            f"use {alone}, or raise the limit (ulimit -n)"
        )
    forkserver.set_forkserver_preload([name for name in SLOW_IMPORTS if name in sys.modules])
    with _project_folder(), _ignored_interrupts():
        with _no_word_of_semaphores():
            resource_tracker.ensure_running()
        forkserver.ensure_running()
    return get_context("forkserver")


@contextmanager
def _project_folder() -> Iterator[None]:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _no_word_of_semaphores() -> Iterator[None]:
    """The tracker that is started within the block removes what killed processes leave silently.

    Its warning would stand below the line that says why a run has ended.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Processes that are started within the block ignore Ctrl-C from their first moment on.

    And the other signals that a terminal or a cluster sends to all processes of a run.
    """
    if threading.current_thread() is not threading.main_thread():  # has no say in signals
        yield
        return
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in FOR_MAIN}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def end_with_main_process() -> None:
    """In a worker: end when the main process has ended, which a killed one tells nobody."""
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    parent_process().join()
    os._exit(1)

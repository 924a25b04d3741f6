"""Going on where a run stopped: its settings, and the state of a training.

A state is written every so many iterations and holds all that the next iteration depends on:
networks, optimisers, random state, and how far the training has come. Learning rates and the order
and augmentation of the data follow from the number of the iteration.
"""

import logging
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint import read_plain, write_tensors
from utils.errors import UserError
from utils.files import lock_folder, read_json, write_json

log = logging.getLogger(__name__)

FREE_FLAGS = {
    "model_save_dir",
    "relocate",
    "resume",
    "device",
    "num_workers",
    "save_period",
    "save_feat_dir",
    "keep_features",
}
"""Flags that may differ between a run and its continuation, since they change no result."""


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        iteration: steps done.
        validated: whether the validation that is due after them, if any, is done.
        best: best validated mIoU, -1 before the first.
    """

    iteration: int = 0
    validated: bool = True
    best: float = -1.0


class RunSettings:
    """The flags of a script's run, kept in ``<script>_settings.json`` beside its results.

    Without ``--resume`` a run must find none, since results are never overwritten; with it, the
    flags must be those of the run that is continued.

    Args:
        args: the flags.
        script: its name.
        default: of a flag, by its name.
        results: files that the run is going to write.
    """

    def __init__(self, args: Namespace, script: str, default: Callable[[str], Any], *results: Path):
        self.default = default
        self.path = args.model_save_dir / f"{script}_settings.json"
        self.results = results
        flags = {k: str(v) for k, v in vars(args).items() if k not in FREE_FLAGS}
        self.value = {"flags": flags, "finished": False}

    def begin(self, resume: bool) -> bool:
        """Take the folder, and check the settings of a run before; whether it had been finished.

        Raises:
            UserError: names the flag that differs, or the folder that holds results already, or in
                which another run is at work.
        """
        self._claim = lock_folder(self.path.parent, "-p")
        if resume and self.path.is_file():
            return self._compare()
        for path in self.results:
            if path.exists():
                raise UserError(
                    f"-p {self.path.parent}: holds results already ({path.name}); go on with "
                    "--resume and the flags of that run, or choose another folder"
                )
        if resume:
            log.info("nothing to resume in %s; starting", self.path.parent)
        return False

    def write(self) -> None:
        """Keep the settings: data and networks are loaded, and the work begins.

        What killed processes of the run were about to write is removed.
        """
        for path in self.path.parent.rglob(".*.tmp"):
            path.unlink(missing_ok=True)
        write_json(self.path, self.value, indent=1)

    def _compare(self) -> bool:
        """Make sure that the flags are those of the run before; whether that had been finished."""
        before = read_json(self.path, "remove it to start anew")
        flags = before.get("flags") if isinstance(before, dict) else None
        if not isinstance(flags, dict):
            raise UserError(f"{self.path}: no settings of a run; remove it to start anew")
        for name, value in self.value["flags"].items():
            old = flags.get(name, str(self.default(name)))  # a flag that was not there then
            if old != value:
                raise UserError(
                    f"--resume: --{name} is {value}, but the run in {self.path.parent} had {old}"
                )
        return bool(before.get("finished"))

    def finish(self) -> None:
        """Note that the run has come to its end."""
        self.value["finished"] = True
        self.write()


class StateFile:
    """The state of one training on disk.

    Args:
        path: of the state.
        log_path: whose size is remembered, so that lines of iterations that are done again are
            not there twice.
        name: of the training ("round 03"); a state of another one counts as none.
    """

    def __init__(self, path: Path, log_path: Path, name: str):
        self.path = path
        self.log_path = log_path
        self.name = name

    def read(self) -> dict[str, Any] | None:
        """The state saved last, if there is one."""
        if not self.path.is_file():
            return None
        state = read_plain(self.path)
        return state if state["name"] == self.name else None

    def save(self, step: Any, progress: Progress) -> None:
        """Save a training step's networks and optimisers (see :mod:`utils.engine`)."""
        state = {
            "name": self.name,
            "progress": asdict(progress),
            "networks": {name: net.state_dict() for name, net in step.networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in step.optimizers],
            "scaler": step.runtime.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "log_bytes": log_size(self.log_path),
        }
        write_tensors(self.path, state)

    def restore(self, step: Any, state: dict[str, Any]) -> Progress:
        """Put a state that was read into a new step, and the log back to where it was."""
        for name, net in step.networks.items():
            net.load_state_dict(state["networks"][name])
        for optimizer, saved in zip(step.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step.runtime.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        rewind_log(self.log_path, state["log_bytes"])
        progress = Progress(**state["progress"])
        log.info("%s: resumed after iteration %d", self.name, progress.iteration)
        return progress

    def remove(self) -> None:
        """Remove the file; the training has come to its end."""
        self.path.unlink(missing_ok=True)


def iteration_of(state: dict[str, Any] | None) -> int:
    """Steps done in a state that was read; 0 without one."""
    return state["progress"]["iteration"] if state else 0


def log_size(path: Path) -> int:
    """Bytes of a log file, 0 if somebody removed it."""
    return path.stat().st_size if path.is_file() else 0


def rewind_log(path: Path, size: int) -> None:
    """Cut a log file that is longer than ``size`` bytes."""
    if log_size(path) > size:
        with path.open("r+b") as file:
            file.truncate(size)

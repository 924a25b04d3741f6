"""Going on where a run stopped: its settings, and the state of a training.

A state is written every so many iterations and holds all that the next iteration depends on:
networks, optimisers, random state, and how far the training has come. Learning rates and the order
and augmentation of the data follow from the number of the iteration.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint import load_weights, read_plain, require_keys, write_tensors
from utils.distributed import World
from utils.errors import UserError
from utils.files import read_json, remove_temporaries, write_json
from utils.resume_flags import (
    CHANGES_ROUNDING,
    FREE_FLAGS,
    GROWS,
    MOVES_WITH_DATA,
    MOVES_WITH_RUN,
    MovedSince,
)
from utils.steps import SupervisedStep
from utils.unused_flags import never_read
from utils.validation import Scores

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "opencv-python-headless")
STATE_KEYS = {
    **{"name": str, "iteration": int, "validated": bool, "best": dict, "networks": dict},
    **{"optimizers": list, "scaler": dict, "random": Tensor, "random_cuda": list},
}
REMEDY = "remove it to train from the last checkpoint again"


class RunSettings:
    """The flags of a script's run, kept in ``<script>_settings.json`` beside its results.

    Args:
        args: the flags.
        script: its name.
        default: value of a flag that is not given, by its name.
        ranks: number of processes, which share a batch: what counts is the size of the whole batch.

    Attributes:
        moves: of domains whose data were moved since the run was stopped. Known after
            :meth:`check`.
    """

    def __init__(self, args: Namespace, script: str, default: Callable[[str], Any], ranks: int = 1):
        self.default = default
        self.ranks = ranks
        self.before: dict[str, Any] = {}
        self.moves: list[MovedSince] = []
        self.path = args.model_save_dir / f"{script}_settings.json"
        free = FREE_FLAGS | never_read(script)
        self.flags = {k: str(v) for k, v in vars(args).items() if k not in free}
        if ranks > 1:
            self.flags["train_batch_size"] = str(args.train_batch_size * ranks)

    def check(self, resume: bool, results: Iterable[Path]) -> bool:
        """Whether a run is continued.

        Without ``--resume`` none of the files that the run is going to write may be there, since
        results are never overwritten; with it, the flags must be those of the run before.

        Raises:
            UserError: names the flag that differs, or the folder that holds results already.
        """
        if resume and self.path.is_file():
            self._compare()
            return True
        for path in results:
            if path.exists():
                raise UserError(
                    f"-p {self.path.parent}: holds results already "
                    f"({os.path.relpath(path, self.path.parent)}); go on with "
                    "--resume and the flags of that run, or choose another folder"
                )
        if resume:
            log.info("nothing to resume in %s; starting", self.path.parent)
        return False

    def with_moves(self, args: Namespace, world: World) -> Namespace:
        """The flags, with a ``--relocate`` for data that were moved since the run was stopped."""
        moves = [*args.relocate, *world.broadcast(self.moves)]
        return Namespace(**vars(args) | {"relocate": moves})

    def write(self, data: Mapping[str, Any] | None = None) -> None:
        """Keep the settings: data and networks are loaded, and the work begins.

        Args:
            data: what the run's data are (:mod:`dataloader.data_record`), for its continuations.
        """
        remove_temporaries(self.path.parent)
        machine = machine_facts() | {"processes": str(self.ranks)}
        value = {
            "folder": os.path.abspath(self.path.parent),
            "flags": self.flags,
            "roots": self._roots(),
            "machine": machine,
            "data": data or {},
        }
        write_json(self.path, value, indent=1)

    @property
    def data(self) -> Mapping[str, Any]:
        """What was written of the data of the run that is continued; empty by older versions."""
        data = self.before.get("data", {})
        return data if isinstance(data, dict) else {}

    def _compare(self) -> None:
        remedy = "move the results elsewhere and remove it to start anew"
        before = read_json(self.path, remedy)
        flags = before.get("flags") if isinstance(before, dict) else None
        if not isinstance(flags, dict):
            raise UserError(f"{self.path}: no settings of a run; {remedy}")
        self.before = before
        self.moves = self._find_moves(flags)
        for name, value in self.flags.items():
            old = flags.get(name, str(self.default(name)))  # a flag that was not there then
            if name == GROWS or _mean_the_same(old, value) or self._is_moved(name, old, value):
                continue
            if name == CHANGES_ROUNDING:
                self._warn_of_rounding(f"--{name}", value, ascii(old).strip("'"))
            else:
                hint = start = ""
                if "init_iteration" in self.flags:
                    start = ", at the latest round of this one if you like: see --init_iteration"
                if name == "train_batch_size":
                    machine = before.get("machine")
                    ranks = machine.get("processes", 1) if isinstance(machine, dict) else 1
                    value, old = _together(value, self.ranks), _together(old, ranks)
                if name.endswith("_data_dir"):  # an older version did not record what the data were
                    hint = " (a link from there to where the data lie now will do)"
                raise UserError(
                    f"--resume: --{name} is {value}, but the run in {self.path.parent} had {old}; "
                    f"go on with that{hint}, or begin another run in another -p{start}"
                )
        self._warn_of_another_machine()

    def _roots(self) -> dict[str, str]:
        """Absolute folder of the data of each domain, by its prefix."""
        end = "_data_dir"
        return {
            name.removesuffix(end): os.path.abspath(value)
            for name, value in self.flags.items()
            if name.endswith(end)
        }

    def _find_moves(self, flags: Mapping[str, Any]) -> list[MovedSince]:
        """The domains whose data lie elsewhere than they did.

        That they are the same data is checked when they are read (:mod:`dataloader.data_record`).
        """
        before, moves = self.before.get("roots", {}), []
        for prefix, new in self._roots().items():
            old = before.get(prefix) if isinstance(before, dict) else None
            old = old or flags.get(f"{prefix}_data_dir")  # of an older version
            if prefix in self.data and isinstance(old, str) and os.path.abspath(old) != new:
                moves.append(MovedSince(prefix, os.path.abspath(old), new))
                log.info("--resume: what --%s_data_dir had in %s is read from %s", *moves[-1])
        return moves

    def _is_moved(self, name: str, before: Any, now: str) -> bool:
        """Whether a flag names a domain's folder, or a file that was moved with it, or with -p."""
        if not isinstance(before, str):
            return False
        prefix, _, kind = name.partition("_")
        of_data = kind in MOVES_WITH_DATA and prefix in self.data
        if of_data and kind == "data_dir":
            return True
        folders = [(old, new) for moved, old, new in self.moves if of_data and moved == prefix]
        run = self.before.get("folder")  # an older version did not record it
        if isinstance(run, str) and (name in MOVES_WITH_RUN or kind == "datalist"):
            folders.append((run, str(self.path.parent)))
        return any(
            os.path.relpath(before, old) == os.path.relpath(now, new) for old, new in folders
        )

    def _warn_of_another_machine(self) -> None:
        """Sums depend on the number of threads and on versions: files may differ in last digits."""
        machine = self.before.get("machine")
        now = machine_facts() | {"processes": str(self.ranks)}
        for name, value in (machine if isinstance(machine, dict) else {}).items():
            if now.get(name, value) != value:
                self._warn_of_rounding(name, now[name], ascii(value).strip("'"))

    def _warn_of_rounding(self, name: str, now: str, before: str) -> None:
        log.warning(
            "--resume: %s is %s, but was %s when the run in %s began; results will not be "
            "the same to the last digit",
            *(name, now, before, self.path.parent),
        )


def _mean_the_same(before: Any, now: str) -> bool:
    """Whether two values of a flag differ in their spelling at most: of a path, or a percentage."""
    if isinstance(before, str) and "/" in before and "/" in now:
        return os.path.abspath(before) == os.path.abspath(now)
    if isinstance(before, str) and before.endswith("%") and now.endswith("%"):
        with suppress(ValueError):
            return float(before[:-1]) == float(now[:-1])
    return before == now


def _together(images: str, ranks: int | str) -> str:
    """Return the images in a batch and, if several processes share it, their number."""
    return images if str(ranks) == "1" else f"{images} ({ranks} processes together)"


def machine_facts() -> dict[str, str]:
    """What results depend on beside flags, data and hardware: threads and versions of packages."""
    facts = {"threads": str(torch.get_num_threads())}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # such as OpenCV by another package manager
            facts[name] = version(name)
    return facts


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        iteration: steps done.
        validated: whether the validation that is due after them, if any, is done.
        best: scores of the weights that were kept.
        validation_data: digest of the data that they were measured on; "" by older versions.
    """

    iteration: int = 0
    validated: bool = True
    best: Scores = field(default_factory=Scores)
    validation_data: str = ""


class StateFile:
    """The state of one training on disk.

    Args:
        path: of the state.
        name: of the training ("round 03"); a state of another one counts as none.
    """

    def __init__(self, path: Path, name: str):
        self.path = path
        self.name = name

    def save(self, step: SupervisedStep, progress: Progress) -> None:
        """Save a training step's networks and optimisers, and how far it has come; on rank 0."""
        if not step.runtime.world.is_main:
            return
        state = {
            "name": self.name,
            "iteration": progress.iteration,
            "validated": progress.validated,
            "best": progress.best.plain(),
            "validation_data": progress.validation_data,
            "networks": {name: net.state_dict() for name, net in step.networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in step.optimizers],
            "scaler": step.runtime.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": random_cuda(step.runtime.device),
        }
        write_tensors(self.path, state)

    def restore(self, step: SupervisedStep) -> Progress:
        """Put the state saved last, if there is one, into a new step, whose data goes on there.

        Raises:
            UserError: the file is damaged, or no state of such a step.
        """
        state = step.runtime.world.on_main(self._read)
        if state is None:
            return Progress()
        for name, net in step.networks.items():
            load_weights(self.path, state["networks"].get(name, {}), net, REMEDY)
        try:
            for optimizer, saved in zip(step.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            step.runtime.scaler.load_state_dict(state["scaler"])
            torch.set_rng_state(state["random"])
            best = Scores(**state["best"])
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{self.path}: no state of this training ({error}); {REMEDY}"
            ) from error
        set_random_cuda(state["random_cuda"], step.runtime.device)
        for loader in step.loaders:
            loader.start_at(state["iteration"])
        log.info("%s: resumed after iteration %d", self.name, state["iteration"])
        data = state.get("validation_data", "")
        return Progress(state["iteration"], state["validated"], best, data)

    def _read(self) -> dict[str, Any] | None:
        """Read the state; None if there is none of this training."""
        if not self.path.is_file():
            return None
        state = read_plain(self.path)
        require_keys(self.path, state, STATE_KEYS, REMEDY)
        return state if state["name"] == self.name else None

    def remove(self) -> None:
        """Remove the file; the training has come to its end."""
        self.path.unlink(missing_ok=True)


def random_cuda(device: torch.device) -> list[Tensor]:
    """The random state of a GPU, in a list; empty for other devices."""
    return [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []


def set_random_cuda(states: list[Tensor], device: torch.device) -> None:
    """Set a GPU's random state.

    Args:
        states: by :func:`random_cuda`, of whichever GPU the run was on.
        device: nothing is set if it is no GPU, or the run had none.
    """
    if states and device.type == "cuda":
        torch.cuda.set_rng_state(states[0], device)

"""The training loop."""

import logging
import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint import save_checkpoint
from utils.errors import UserError
from utils.optim import schedule
from utils.progress import progress as progress_bar
from utils.recorder import Recorder, Step
from utils.resume import Progress, StateFile
from utils.steps import SupervisedStep, train_mode
from utils.stopping import Stopped
from utils.validation import Scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """Length of a training and its periods, in iterations.

    Attributes:
        total_itrs: iterations of the whole training.
        val_period: iterations between validations; one always follows the last iteration.
        first_validation: validations begin after this many iterations.
        ramp_itrs: iterations over which learning rates rise from zero.
        freeze_bn: freeze BatchNorm, see :func:`utils.steps.train_mode`.
        save_period: iterations between saved states.
        log_period: iterations between lines of the log and of the metrics.
    """

    total_itrs: int
    val_period: int
    first_validation: float = 0
    ramp_itrs: int = 0
    freeze_bn: bool = True
    save_period: int = 1000
    log_period: int = 100

    @classmethod
    def from_args(
        cls, args: Namespace, total_itrs: int, first_validation: float = 0, ramp_itrs: int = 0
    ) -> "TrainingPlan":
        """The plan of a training of so many iterations, the rest as the flags say."""
        return cls(
            total_itrs,
            args.val_period,
            first_validation,
            ramp_itrs,
            freeze_bn=args.freeze_bn,
            save_period=args.save_period,
        )

    def validates_after(self, done: int) -> bool:
        """Return True if a validation follows iteration ``done``, counted from 1."""
        due = done % self.val_period == 0 and done > self.first_validation
        return due or done == self.total_itrs


class Training:
    """A training that continues from a saved state and keeps the weights that validate best.

    Args:
        step: performs one optimisation step and returns its losses.
        plan: length and periods of the training.
        validate: validates the network and returns its scores.
        checkpoint: file for the best weights.
        state_file: file for the training state, from which a stopped run continues.
        recorder: records losses, learning rates and validations.
        round_index: number of the round in the records; None in a warm-up.
        network: description of the network for the checkpoint, see :mod:`models.facts`.
        validation_data: digest of what is validated on; scores of a saved state that were measured
            on other data do not count.
    """

    def __init__(
        self,
        step: SupervisedStep,
        plan: TrainingPlan,
        validate: Callable[[], Scores],
        checkpoint: Path,
        state_file: StateFile,
        recorder: Recorder,
        round_index: int | None = None,
        network: Mapping[str, Any] | None = None,
        validation_data: str = "",
    ):
        self.step = step
        self.plan = plan
        self.validate = validate
        self.checkpoint = checkpoint
        self.state_file = state_file
        self.recorder = recorder
        self.round_index = round_index
        self.network = network
        self.validation_data = validation_data
        self.world = step.runtime.world
        self.progress = Progress()

    @property
    def name(self) -> str:
        """What the training is, for the progress bar."""
        return "warm-up" if self.round_index is None else f"round {self.round_index:02d}"

    def run(self) -> Scores:
        """Train to the end and return the scores of the weights in the checkpoint.

        Raises:
            UserError: a loss or a weight is NaN or infinite.
            Stopped: a signal asked to stop, at this step on all ranks; the state is saved.
        """
        step, plan = self.step, self.plan
        self.progress = progress = self._restore()
        self.state_file.save(step, progress)
        train_mode(step.model, plan.freeze_bn)
        step.connect()
        self.meter = Meter(
            step, plan.total_itrs, self.recorder, self.round_index, progress.iteration
        )
        set_rates = schedule(plan.total_itrs, plan.ramp_itrs)
        done = progress.iteration
        self.recorder.continue_from(Step(self.round_index, done))
        bar = progress_bar(initial=done, total=plan.total_itrs, desc=self.name, leave=False)
        try:
            while True:
                if not progress.validated:
                    self._validate()
                if progress.iteration == plan.total_itrs:
                    self.state_file.save(step, progress)
                    return progress.best
                train_mode(step.model, plan.freeze_bn)
                for optimizer in step.optimizers:
                    set_rates(optimizer, progress.iteration)
                self.meter.add(step())
                progress.iteration += 1
                if progress.iteration == done + 1:
                    self._say_that_it_trains()
                bar.update()
                progress.validated = not plan.validates_after(progress.iteration)
                if not progress.validated or progress.iteration % plan.log_period == 0:
                    bar.set_postfix(self.meter.report())
                if progress.iteration % plan.save_period == 0:
                    self._save()
        except Stopped:
            self._save()
            self.world.barrier()  # nobody ends, which would end all, before rank 0 has saved
            raise

    def _restore(self) -> Progress:
        """Continue from the saved state; its best scores count if they are of the checkpoint.

        If not, weights that were validated just before it was saved are validated again.
        """
        progress = self.state_file.restore(self.step)
        reason = ""
        if progress.validation_data not in ("", self.validation_data):
            reason = "validation data, or the classes that count, are others now"
        elif not self.world.on_main(self.checkpoint.is_file):
            reason = f"{self.checkpoint} is gone"
        if reason and progress.best.miou >= 0:
            log.warning(
                "%s: the best mIoU so far, %.2f, does not count any more: %s",
                *(self.name, 100 * progress.best.miou, reason),
            )
            progress.best = Scores()
            progress.validated = not self.plan.validates_after(progress.iteration)
        progress.validation_data = self.validation_data
        return progress

    def _say_that_it_trains(self) -> None:
        """Log the first iteration, for whom a period of the log is long to wait."""
        log.info(
            "iteration %d/%d took %.1f s; a line follows every %d, and with validations",
            *(self.progress.iteration, self.plan.total_itrs),
            *(time.monotonic() - self.meter.since, self.plan.log_period),
        )

    def _validate(self) -> None:
        """Validate the network, and save its weights if they are the best so far."""
        step, progress = self.step, self.progress
        check_weights(step, progress.iteration)
        with self.meter.paused():
            scores = self.validate()
            at = Step(self.round_index, progress.iteration)
            self.recorder.write("validation", at, **scores.measured())
            if scores.miou > progress.best.miou:
                progress.best = scores
                if self.world.is_main:
                    save_checkpoint(
                        self.checkpoint,
                        step.model,
                        step.optimizers[0],
                        step.discriminator,
                        self.network,
                    )
        progress.validated = True

    def _save(self) -> None:
        """Save the training state, after a check that all losses and weights are finite."""
        self.meter.check()
        check_weights(self.step, self.progress.iteration)
        with self.meter.paused():
            self.state_file.save(self.step, self.progress)


def check_weights(step: SupervisedStep, iteration: int) -> None:
    """Raise a :class:`UserError` if a network holds a weight that is NaN or infinite."""
    for name, network in step.networks.items():
        values = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
        finite = torch.stack([value.isfinite().all() for value in values.values()])
        for key, good in zip(values, finite.tolist(), strict=True):  # read from the device at once
            if not good:
                raise UserError(
                    f"after iteration {iteration}, a weight of the {name} is NaN or infinite "
                    f"({key}); lower the learning rate (weights saved so far are finite)"
                )


class Meter:
    """Losses and speed since the last report; initially, since iteration ``start``.

    All ranks must call :meth:`check` and :meth:`report` at the same iterations.
    """

    def __init__(
        self,
        step: SupervisedStep,
        total_itrs: int,
        recorder: Recorder,
        round_index: int | None = None,
        start: int = 0,
    ):
        self.step = step
        self.total_itrs = total_itrs
        self.recorder = recorder
        self.round_index = round_index
        self.start, self.since, self.waited = start, time.monotonic(), step.waited
        self.losses: list[dict[str, Tensor]] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one iteration, without waiting for the device."""
        self.losses.append(losses)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time that the block takes from the training time."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began

    def means(self) -> dict[str, float]:
        """Return the mean of each loss, over iterations and ranks."""
        if not self.losses:
            return {}
        names, world = list(self.losses[0]), self.step.runtime.world
        sums = torch.stack([sum(losses[name] for losses in self.losses) for name in names])
        count = len(self.losses) * world.size
        values = world.sum(sums).tolist()
        return {name: value / count for name, value in zip(names, values, strict=True)}

    def check(self) -> dict[str, float]:
        """Return the mean of each loss.

        Raises:
            UserError: names the first iteration whose loss is not finite; or all gradients of
                late overflowed.
        """
        means = self.means()
        if not all(map(math.isfinite, means.values())):
            found = filter(None, self.step.runtime.world.gather(self._first_not_finite()))
            raise UserError(min(found)[1])
        self.step.runtime.check_scale()
        return means

    def _first_not_finite(self) -> tuple[int, str] | None:
        """Return the first iteration whose loss is not finite on this rank, and an error line."""
        for iteration, losses in enumerate(self.losses, self.start):
            for name, loss in losses.items():
                if not math.isfinite(float(loss)):
                    return iteration, (
                        f"the loss ({name}) became {float(loss)} in iteration {iteration + 1}"
                        f"{image_names(self.step, iteration)}; lower the learning rate "
                        "(weights saved so far are finite)"
                    )
        return None

    def report(self) -> dict[str, float]:
        """Check the losses, log and record their means, and reset the meter.

        Returns:
            The means, and the learning rate of the backbone.
        """
        count, means = len(self.losses), self.check()
        done = self.start + count
        seconds = time.monotonic() - self.since
        waiting = 100 * (self.step.waited - self.waited) / max(seconds, 1e-9)
        log.info(
            "iteration %d/%d  %s  %.2f s/it, %.0f %% of it waiting for data",
            *(done, self.total_itrs),
            "  ".join(f"{name} {mean:.4f}" for name, mean in means.items()),
            *(seconds / count, waiting),
        )
        rates = [group["lr"] for o in self.step.optimizers for group in o.param_groups]
        self.recorder.write(
            "train",
            Step(self.round_index, done),
            **means,
            lr=rates,
            seconds_per_iteration=round(seconds / count, 4),
            waiting_percent=round(waiting, 1),
        )
        self.start, self.since, self.waited = done, time.monotonic(), self.step.waited
        self.losses = []
        return means | {"lr": rates[0]}


def image_names(step: SupervisedStep, iteration: int) -> str:
    """Return the image paths of an iteration for an error line; empty if loaders lack names."""
    names = [n for s in step.loaders if hasattr(s, "names") for n in s.names(iteration)]
    return f" on {', '.join(names)}" if names else ""

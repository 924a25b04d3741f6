"""The training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from utils.checkpoint import save_checkpoint
from utils.errors import UserError
from utils.optim import schedule
from utils.recorder import Recorder, Step
from utils.resume import Progress, StateFile
from utils.steps import SupervisedStep, train_mode
from utils.stopping import STOP, Stopped
from utils.validation import Scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """How long a training is, and what happens when; all in iterations.

    Attributes:
        total_itrs: of the whole training.
        val_period: between validations; one always follows the last iteration.
        first_validation: none before so many.
        ramp_itrs: over which learning rates rise from zero.
        freeze_bn: see :func:`utils.steps.train_mode`.
        save_period: between saved states.
        log_period: between lines of the log and of the metrics.
    """

    total_itrs: int
    val_period: int
    first_validation: float = 0
    ramp_itrs: int = 0
    freeze_bn: bool = True
    save_period: int = 1000
    log_period: int = 100

    def validates_after(self, done: int) -> bool:
        """Whether a validation follows iteration ``done``, counted from 1."""
        due = done % self.val_period == 0 and done > self.first_validation
        return due or done == self.total_itrs


class Training:
    """One training: it goes on from a saved state, and keeps the weights that validate best.

    Args:
        step: does one optimisation step and returns its losses.
        plan: how long it is, and what happens when.
        validate: measures the network.
        checkpoint: where the best weights are written.
        state_file: where the state is saved, and a continuation finds it.
        recorder: of losses, rates and validations.
        round_index: that they are recorded under; None in a warm-up.
        network: what the checkpoint tells of the network, see :mod:`models.facts`.
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
    ):
        self.step = step
        self.plan = plan
        self.validate = validate
        self.checkpoint = checkpoint
        self.state_file = state_file
        self.recorder = recorder
        self.round_index = round_index
        self.network = network
        self.progress = Progress()

    def run(self) -> Scores:
        """Train to the end; returns the scores of the weights in the checkpoint.

        Raises:
            UserError: a loss or a weight is no longer a number.
            Stopped: a signal asked to stop; the state is saved.
        """
        step, plan = self.step, self.plan
        self.progress = progress = self.state_file.restore(step)
        self.state_file.save(step, progress)
        self.meter = Meter(
            step, plan.total_itrs, self.recorder, self.round_index, progress.iteration
        )
        set_rates = schedule(plan.total_itrs, plan.ramp_itrs)
        done = progress.iteration
        bar = tqdm(initial=done, total=plan.total_itrs, unit="it", disable=None, leave=False)
        try:
            while True:
                if not progress.validated:
                    self._validate()
                if progress.iteration == plan.total_itrs:
                    self.state_file.save(step, progress)
                    return progress.best
                STOP.check()
                train_mode(step.model, plan.freeze_bn)
                for optimizer in step.optimizers:
                    set_rates(optimizer, progress.iteration)
                self.meter.add(step())
                progress.iteration += 1
                bar.update()
                progress.validated = not plan.validates_after(progress.iteration)
                if not progress.validated or progress.iteration % plan.log_period == 0:
                    self.meter.report()
                if progress.iteration % plan.save_period == 0:
                    self._save()
        except Stopped:
            self._save()
            raise

    def _validate(self) -> None:
        """Measure the network, and keep its weights if they are the best so far."""
        step, progress = self.step, self.progress
        check_weights(step, progress.iteration)
        with self.meter.paused():
            scores = self.validate()
            at = Step(self.round_index, progress.iteration)
            self.recorder.write("validation", at, **scores.percent())
            if scores.miou > progress.best.miou:
                progress.best = scores
                save_checkpoint(
                    self.checkpoint,
                    step.model,
                    step.optimizers[0],
                    step.discriminator,
                    self.network,
                )
        progress.validated = True

    def _save(self) -> None:
        """Save the state, if all losses and weights are numbers."""
        self.meter.check()
        check_weights(self.step, self.progress.iteration)
        with self.meter.paused():
            self.state_file.save(self.step, self.progress)


def check_weights(step: SupervisedStep, iteration: int) -> None:
    """Raise a :class:`UserError` if a network holds a weight that is no number."""
    for name, network in step.networks.items():
        for key, value in network.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise UserError(
                    f"iteration {iteration} left {name} weights that are no numbers ({key}); "
                    "lower the learning rate (weights saved so far are from before)"
                )


class Meter:
    """Losses and speed since the last report, which is before iteration ``start`` at first."""

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
        """Count one iteration; nothing waits for the device here."""
        self.losses.append(losses)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block's time out of the training's."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began

    def means(self) -> dict[str, float]:
        """The mean of each loss."""
        count = len(self.losses)
        names = self.losses[0] if count else ()
        return {name: float(sum(losses[name] for losses in self.losses)) / count for name in names}

    def check(self) -> None:
        """Raise a :class:`UserError` that names the first iteration whose loss is no number."""
        if all(map(math.isfinite, self.means().values())):
            return
        for iteration, losses in enumerate(self.losses, self.start):
            for name, loss in losses.items():
                if not math.isfinite(float(loss)):
                    raise UserError(
                        f"the loss ({name}) became {float(loss)} in iteration {iteration + 1}"
                        f"{image_names(self.step, iteration)}; lower the learning rate "
                        "(weights saved so far are all numbers)"
                    )

    def report(self) -> None:
        """Check the losses, log and record their means, and start anew."""
        self.check()
        count, means = len(self.losses), self.means()
        done = self.start + count
        seconds = time.monotonic() - self.since
        waiting = 100 * (self.step.waited - self.waited) / max(seconds, 1e-9)
        log.info(
            "iteration %d/%d  %s  %.2f s/it, %.0f %% of it waiting for data",
            *(done, self.total_itrs),
            "  ".join(f"{name} {mean:.4f}" for name, mean in means.items()),
            *(seconds / count, waiting),
        )
        self.recorder.write(
            "train",
            Step(self.round_index, done),
            **means,
            lr=[group["lr"] for o in self.step.optimizers for group in o.param_groups],
            seconds_per_iteration=round(seconds / count, 4),
            waiting_percent=round(waiting, 1),
        )
        self.start, self.since, self.waited = done, time.monotonic(), self.step.waited
        self.losses = []


def image_names(step: SupervisedStep, iteration: int) -> str:
    """The images of an iteration's batches, for an error line; empty if the batches are bare."""
    names = [n for s in step.loaders if hasattr(s, "names") for n in s.names(iteration)]
    return f" on {', '.join(names)}" if names else ""

"""The training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from utils.errors import UserError
from utils.resume import Progress
from utils.steps import SupervisedStep, train_mode
from utils.stopping import STOP, Stopped

log = logging.getLogger(__name__)


def train(
    step: SupervisedStep,
    total_itrs: int,
    schedule: Callable[[Optimizer, int], None],
    freeze_bn: bool,
    val_due: Callable[[int], bool],
    validate: Callable[[], float],
    on_best: Callable[[], None],
    save: Callable[[Progress], None] = lambda _: None,
    save_period: int = 1000,
    progress: Progress | None = None,
    log_period: int = 100,
) -> float:
    """Train up to ``total_itrs`` steps and keep the best validated weights; returns the best mIoU.

    Args:
        step: does one optimisation step and returns its losses.
        schedule: sets an optimizer's learning rates before an iteration.
        freeze_bn: see :func:`train_mode`.
        val_due: whether to validate after so many iterations; always done after the last.
        validate: returns mIoU (0..1).
        on_best: called when that mIoU is the best so far.
        save: called with the progress at the start, every ``save_period`` iterations, and when
            a signal asks to stop.
        progress: where to go on from; the start if not given.
        log_period: iterations between lines of the log.

    Raises:
        UserError: a loss is no longer a number.
    """
    progress = progress or Progress()
    save(progress)
    meter = Meter(step, total_itrs, progress.iteration)

    def save_sound() -> None:
        meter.check()
        check_weights(step, progress.iteration)
        with meter.paused():
            save(progress)

    bar = tqdm(initial=progress.iteration, total=total_itrs, unit="it", disable=None, leave=False)
    try:
        while True:
            if not progress.validated:
                check_weights(step, progress.iteration)
                with meter.paused():
                    score = validate()
                    if score > progress.best:
                        progress.best = score
                        on_best()
                progress.validated = True
            if progress.iteration == total_itrs:
                save(progress)
                return progress.best
            STOP.check()
            train_mode(step.model, freeze_bn)
            for optimizer in step.optimizers:
                schedule(optimizer, progress.iteration)
            meter.add(step())
            progress.iteration += 1
            bar.update()
            due = progress.iteration == total_itrs or val_due(progress.iteration)
            progress.validated = not due
            if due or progress.iteration % log_period == 0:
                meter.report()
            if progress.iteration % save_period == 0:
                save_sound()
    except Stopped:
        save_sound()
        raise


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

    def __init__(self, step: SupervisedStep, total_itrs: int, start: int = 0):
        self.step = step
        self.total_itrs = total_itrs
        self.start, self.since, self.waited = start, time.monotonic(), step.waited
        self.losses: list[dict[str, Tensor]] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count one iteration; nothing waits for the device here."""
        self.losses.append(losses)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do something that is no training, and is not to count as its time."""
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
        """Check the losses, log their means, and start anew."""
        self.check()
        count = len(self.losses)
        done = self.start + count
        losses = "  ".join(f"{name} {mean:.4f}" for name, mean in self.means().items())
        seconds = time.monotonic() - self.since
        waiting = 100 * (self.step.waited - self.waited) / max(seconds, 1e-9)
        log.info(
            "iteration %d/%d  %s  %.2f s/it, %.0f %% of it waiting for data",
            *(done, self.total_itrs, losses, seconds / count, waiting),
        )
        self.start, self.since, self.waited = done, time.monotonic(), self.step.waited
        self.losses = []


def image_names(step: SupervisedStep, iteration: int) -> str:
    """The images of an iteration's batches, for an error line; empty if the batches are bare."""
    names = [n for s in step.sources if hasattr(s, "names") for n in s.names(iteration)]
    return f" on {', '.join(names)}" if names else ""

"""Optimisers and learning-rate schedules of D2ADA."""

import logging
from argparse import Namespace
from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Adam, Optimizer

log = logging.getLogger(__name__)

HEAD_FACTOR = 10
FLOOR = 1e-6
"""Learning rates are never lower, but for the ramp, as in the release."""


def warn_of_low_rate(args: Namespace, flag: str) -> None:
    """Warn of a flag with a learning rate that is raised to :data:`FLOOR`."""
    if (rate := getattr(args, flag)) < FLOOR:
        log.warning(
            "--%s %g: is below the lowest learning rate of the schedule; that of the backbone "
            "counts as %g",
            *(flag, rate, FLOOR),
        )


def poly_lr(
    base_lr: float, iteration: int, total_itrs: int, power: float = 0.9, floor: float = FLOOR
) -> float:
    """Return the learning rate of polynomial decay for ``iteration`` = 0, 1, ..."""
    return max(base_lr * (1 - iteration / total_itrs) ** power, floor)


def segmentation_optimizer(model: nn.Module, lr: float, weight_decay: float) -> SGD:
    """Return SGD with momentum 0.9; the backbone learns at ``lr``, the head at 10 times ``lr``."""
    groups = [
        {"params": list(model.backbone.parameters()), "lr": lr},
        {"params": list(model.classifier.parameters()), "lr": HEAD_FACTOR * lr},
    ]
    return SGD(groups, lr=lr, momentum=0.9, weight_decay=weight_decay)


def discriminator_optimizer(discriminator: nn.Module, lr: float) -> Adam:
    """Return Adam with betas (0.9, 0.99), as in AdaptSegNet (Tsai et al. 2018)."""
    return Adam(discriminator.parameters(), lr=lr, betas=(0.9, 0.99))


def highest_rate(total_itrs: int, ramp_itrs: int) -> float:
    """Return the highest learning rate of a schedule, as a share of the one that is given."""
    iterations = range(min(ramp_itrs, total_itrs))
    return max((_rate(1.0, i, total_itrs, ramp_itrs) for i in iterations), default=1.0)


def _rate(base: float, iteration: int, total_itrs: int, ramp_itrs: int) -> float:
    ramp = min(1.0, (iteration + 1) / ramp_itrs) if ramp_itrs else 1.0
    return ramp * poly_lr(base, iteration, total_itrs)


def schedule(total_itrs: int, ramp_itrs: int = 0) -> Callable[[Optimizer, int], None]:
    """Return a function (optimizer, iteration) that sets learning rates before that iteration.

    They follow polynomial decay over ``total_itrs``, times a linear ramp over the first
    ``ramp_itrs``.
    """

    def apply(optimizer: Optimizer, iteration: int) -> None:
        for group in optimizer.param_groups:
            base = group.setdefault("base_lr", group["lr"])
            group["lr"] = _rate(base, iteration, total_itrs, ramp_itrs)

    return apply

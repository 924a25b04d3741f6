"""Fitting many mixtures: on all cores of this process and, of several ranks, on all of them.

Rank 0 has the features and wants the mixtures. It sends the other ranks their share of the rows,
which need no file of it, and each fits its share on its own device. A fit is the same on whatever
rank: it runs in one thread, and its random draws follow from its seed.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from active_selection import clustering
from active_selection.mixture import Mixture, fit_mixture, one_at_a_time
from utils.distributed import World
from utils.logs import collected
from utils.threads import map_in_threads

log = logging.getLogger(__name__)


class Parameters(NamedTuple):
    """What a rank sends of a mixture, on the CPU."""

    weights: Tensor
    means: Tensor
    covariances: Tensor


@dataclass(frozen=True)
class Fit:
    """A mixture to be fitted.

    Attributes:
        features: (N, d) features of all regions of a domain, which may lie in a file.
        rows: (n,) those that it is fitted to, n >= 2.
        components: number of components.
        seed: seed of the k-means initialisation.
        covariance: one of :data:`active_selection.mixture.COVARIANCES`.
    """

    features: np.ndarray
    rows: np.ndarray
    components: int
    seed: int
    covariance: str = "full"

    @property
    def cost(self) -> int:
        """What the fit costs, in relation to others."""
        return len(self.rows) * self.components

    def alone(self) -> "Fit":
        """The same fit with its own rows of the features alone."""
        rows = np.arange(len(self.rows))
        return replace(self, features=self.features[self.rows], rows=rows)

    def run(self, device: torch.device | str) -> Mixture:
        """Fit the mixture on a device, which must support float64."""
        rows = self.features[self.rows]
        return fit_mixture(rows, self.components, self.seed, device, self.covariance)


def fit_all(fits: Sequence[Fit], device: torch.device | str, world: World) -> list[Mixture]:
    """Return the mixtures, in order; on rank 0, while the other ranks :func:`help_to_fit`."""
    own, *others = divide([fit.cost for fit in fits], world.size)
    for rank, share in enumerate(others, 1):
        world.send(len(share), rank)
        for i in share:
            world.send(fits[i].alone(), rank)
    mixtures = dict(zip(own, _fit_here([fits[i] for i in own], device), strict=True))
    _, *theirs = world.gather_on_main(None)
    for share, (lines, found) in zip(others, theirs, strict=True):
        for line in lines:
            log.info(line)
        mixtures |= dict(zip(share, _mixtures_of(found, device), strict=True))
    return [mixtures[i] for i in range(len(fits))]


def help_to_fit(device: torch.device | str, world: World) -> None:
    """Fit this rank's share for the rank 0 that is in :func:`fit_all`."""
    fits = [world.receive(0) for _ in range(world.receive(0))]
    with collected("active_selection") as lines:
        mixtures = _fit_here(fits, device)
    found = [Parameters(m.weights.cpu(), m.means.cpu(), m.covariances.cpu()) for m in mixtures]
    world.gather_on_main((lines, found))


def divide(costs: Sequence[int], parts: int) -> list[list[int]]:
    """Divide tasks into parts of about equal cost: the dearest first, each to the cheapest part."""
    shares: list[list[int]] = [[] for _ in range(parts)]
    totals = [0] * parts
    for task in sorted(range(len(costs)), key=lambda task: costs[task], reverse=True):
        part = totals.index(min(totals))
        shares[part].append(task)
        totals[part] += costs[task]
    return shares


def _mixtures_of(found: Sequence[Parameters], device: torch.device | str) -> list[Mixture]:
    """Make mixtures of their parameters, each in one thread as in a fit: rounding depends on it."""
    on_device = [[tensor.to(device) for tensor in parameters] for parameters in found]

    def make(tensors: list[torch.Tensor]) -> Mixture:
        with one_at_a_time(torch.device(device)):
            return Mixture(*tensors)

    return map_in_threads(make, on_device, lambda _: 1)


def _fit_here(fits: Sequence[Fit], device: torch.device | str) -> list[Mixture]:
    clustering.load()
    return map_in_threads(lambda fit: fit.run(device), fits, lambda fit: fit.cost)

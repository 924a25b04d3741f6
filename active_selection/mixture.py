"""Full-covariance Gaussian mixtures in double precision, by expectation maximisation.

The start, the steps and the end are those of scikit-learn's ``GaussianMixture`` (k-means start, one
start), and so are the results, to rounding. What differs is the work: in 256 dimensions nearly
every row belongs to one component alone, so

- distances to all components are first worked out in single precision, which tells those that have
  a responsibility in a row; only theirs are worked out in double precision;
- a component's covariance is summed over the rows that it has a responsibility in.

Rows keep their own precision and are turned into doubles a block at a time, on the device that the
fit runs on; beside them there is one double a row and component. (The k-means start has a copy of
them in double precision.)
"""

import logging
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from active_selection.blocks import BLOCK_ROWS, row_blocks
from active_selection.clustering import k_means

log = logging.getLogger(__name__)

PANEL = 64
TOLERANCE = 1e-3
MAX_ITERATIONS = 200
NO_SHARE = 40.0
"""Nats below a row's best component; a responsibility beyond (under 1e-17) is lost in a sum."""
SINGLE_ERROR = 1e-3
"""Relative error allowed to a squared distance in single precision, far above what is seen."""


class IllConditioned(ArithmeticError):
    """A covariance is not positive definite; it wants a larger regulariser."""


class Mixture:
    """K components in d dimensions, in float64 on one device.

    Args:
        weights: (K,), adding up to 1.
        means: (K, d).
        covariances: (K, d, d).

    Raises:
        IllConditioned: a covariance has no Cholesky factor.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        dims = means.shape[1]
        factors, failed = torch.linalg.cholesky_ex(covariances)
        eye = torch.eye(dims, dtype=means.dtype, device=means.device).expand_as(factors)
        precisions_cholesky = torch.linalg.solve_triangular(factors, eye, upper=False)
        if failed.any() or not precisions_cholesky.isfinite().all():
            raise IllConditioned
        self.weights, self.means, self.covariances = weights, means, covariances
        self._precisions_cholesky = {
            t: precisions_cholesky.to(t) for t in (torch.float32, torch.float64)
        }
        self._constants = (
            weights.log()
            - factors.diagonal(dim1=1, dim2=2).log().sum(1)
            - 0.5 * dims * math.log(2 * math.pi)
        )

    def log_density(self, rows: np.ndarray) -> np.ndarray:
        """log p(z) of rows (n, d), (n,) float64."""
        blocks = _double_blocks(_on_device(rows, self.means.device))
        return (
            torch.cat([self.weighted_log_prob(block).logsumexp(1) for block in blocks])
            .cpu()
            .numpy()
        )

    def weighted_log_prob(self, rows: Tensor) -> Tensor:
        """(n, K) log of weight times density of rows (n, d) float64.

        -inf where a component has no responsibility in a row.
        """
        components = range(len(self.weights))
        if len(components) == 1:
            return self._constants - 0.5 * self._distance(rows, 0)[:, None]
        single = rows.float()
        rough = torch.stack([self._distance(single, k) for k in components], 1).double()
        without = self._without_share(rough)
        joint = torch.full_like(rough, -torch.inf)
        for k in components:
            members = torch.nonzero(~without[:, k])[:, 0]
            joint[members, k] = self._constants[k] - 0.5 * self._distance(rows[members], k)
        return joint

    def _without_share(self, rough: Tensor) -> Tensor:
        """(n, K) bool: components with no responsibility for a row, by rough distances (n, K).

        A distance lies within (1 -+ SINGLE_ERROR) times the rough one, and a log density with it
        between ``lowest`` and ``highest``. A component whose highest is far below another's lowest
        has none. One whose rough distance is no number stays in.
        """
        lowest = self._constants - 0.5 * (1 + SINGLE_ERROR) * rough
        highest = self._constants - 0.5 * (1 - SINGLE_ERROR) * rough
        return highest < lowest.amax(1, keepdim=True) - NO_SHARE

    def _distance(self, rows: Tensor, k: int) -> Tensor:
        """(n,) squared Mahalanobis distance of rows (n, d) to a mean, in the rows' precision."""
        precision_cholesky = self._precisions_cholesky[rows.dtype][k]
        deviation = rows - self.means[k].to(rows.dtype)
        result = torch.zeros_like(rows[:, 0])
        for start in range(0, rows.shape[1], PANEL):  # what is above the diagonal is zero
            end = min(start + PANEL, rows.shape[1])
            result += (
                _product(deviation[:, :end], precision_cholesky[start:end, :end].T).square_().sum(1)
            )
        return result


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product; on a CPU by NumPy, whose BLAS is the faster one on many machines."""
    return torch.from_numpy(a.numpy() @ b.numpy()) if a.device.type == "cpu" else a @ b


def _on_device(rows: np.ndarray, device: torch.device | str) -> Tensor:
    """Rows as a tensor, in their own precision; on a CPU not copied."""
    return torch.from_numpy(np.ascontiguousarray(rows)).to(device)


def _double_blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[block].double() for block in row_blocks(len(rows)))


def k_means_labels(rows: np.ndarray, components: int, seed: int) -> np.ndarray:
    """(n,) which of ``components`` clusters each row is in, in double precision."""
    if components == 1:
        return np.zeros(len(rows), np.int64)
    return k_means(np.array(rows, np.float64), components, seed)[0]


def expectation_maximisation(
    rows: np.ndarray,
    labels: np.ndarray,
    components: int,
    regulariser: float,
    device: torch.device | str = "cpu",
) -> Mixture:
    """Fit a mixture, from rows divided by labels, until the mean log density gains under 1e-3.

    Args:
        rows: (n, d) finite features.
        labels: (n,) below ``components``.
        components: of the mixture.
        regulariser: added to the variances.
        device: that the arithmetic runs on; it must know float64.

    Raises:
        IllConditioned: see :class:`Mixture`.
    """
    rows = _on_device(rows, device)
    labels = torch.from_numpy(labels).long().to(device)
    responsibilities = torch.nn.functional.one_hot(labels, components).double()
    mixture = m_step(rows, responsibilities, regulariser)
    since = time.monotonic()
    log_densities = [-math.inf]
    for _ in range(MAX_ITERATIONS):
        densities = []
        for block, responsibility in zip(
            _double_blocks(rows), responsibilities.split(BLOCK_ROWS), strict=True
        ):
            joint = mixture.weighted_log_prob(block)
            densities.append(joint.logsumexp(1, keepdim=True))
            responsibility[:] = joint.sub_(densities[-1]).exp_()
        mixture = m_step(rows, responsibilities, regulariser)
        log_densities.append(float(torch.cat(densities).mean()))
        if abs(log_densities[-1] - log_densities[-2]) < TOLERANCE:
            break
    iterations, seconds = len(log_densities) - 1, time.monotonic() - since
    size = f"{len(rows)} regions, {components} components"
    log.info("mixture of %s: %d iterations, %.1f s", size, iterations, seconds)
    return mixture


def m_step(rows: Tensor, responsibilities: Tensor, regulariser: float) -> Mixture:
    """The mixture of maximum likelihood, given responsibilities (n, K) for rows (n, d)."""
    dims, components = rows.shape[1], responsibilities.shape[1]
    counts = responsibilities.sum(0) + 10 * torch.finfo(responsibilities.dtype).eps
    means = responsibilities.new_zeros(components, dims)
    covariances = responsibilities.new_zeros(components, dims, dims)
    for block, responsibility in zip(
        _double_blocks(rows), responsibilities.split(BLOCK_ROWS), strict=True
    ):
        means += _product(responsibility.T, block)
    means /= counts[:, None]
    for k in range(components):
        members = torch.nonzero(responsibilities[:, k])[:, 0]
        for some in members.split(BLOCK_ROWS):
            deviation = rows[some].double() - means[k]
            deviation *= responsibilities[some, k, None].sqrt()
            covariances[k] += _product(deviation.T, deviation)
    covariances /= counts[:, None, None]
    covariances.diagonal(dim1=1, dim2=2).add_(regulariser)
    return Mixture(counts / counts.sum(), means, covariances)

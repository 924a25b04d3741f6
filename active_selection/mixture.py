"""Gaussian mixtures in double precision, fitted by expectation maximisation.

Covariances are full, as published, or estimated from fewer numbers where regions are few
(:data:`COVARIANCES`). Initialisation (one k-means), steps and stopping rule are those of
scikit-learn's ``GaussianMixture``, and so are the results, to rounding. What differs is the amount
of work: in 256 dimensions nearly every row belongs to one component alone, so

- the E-step first computes the distances to all components in single precision, which tells the
  components that have a responsibility for a row; only these are computed in double precision;
- the M-step sums a component's covariance over the rows that it has a responsibility for.

On an accelerator, where it costs more to launch an operation and to ask which rows belong to a
component than to compute them all, both steps compute all components at once, in double precision.

Rows keep their own precision and are converted to double precision a block at a time, on the device
of the fit; memory beyond them is one double per row and component. (Only the k-means initialisation
makes a double-precision copy of the rows.)
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from active_selection.blocks import BLOCK_ROWS, on_accelerator, row_blocks
from active_selection.clustering import k_means
from utils.errors import UserError

log = logging.getLogger(__name__)

COVARIANCES = ("full", "oas", "diagonal")
"""How covariances are estimated: of maximum likelihood; shrunk towards a sphere by the Oracle
Approximating Shrinkage of Chen, Wiesel, Eldar & Hero (2010), more so the fewer rows a component
has; or of variances alone."""
TOLERANCE = 1e-3
MAX_ITERATIONS = 200
FIRST_REGULARISER, LAST_REGULARISER = 1e-6, 1e6
NEGLIGIBLE = 40.0
"""Nats below a row's most likely component; responsibilities below (under 1e-17) are set to 0."""
SINGLE_ERROR = 1e-3
"""Bound on the relative error of squared distances in single precision, far above those seen."""
BATCH_ROWS = 1 << 17
"""Rows times components of a block on an accelerator: 256 MB in double precision, 256 columns."""
_ACCELERATOR = threading.Lock()


class IllConditioned(ArithmeticError):
    """A covariance is not positive definite; it needs a larger regulariser."""


class Mixture:
    """K components in d dimensions, in float64 on one device.

    Args:
        weights: (K,), summing to 1.
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
        if (failed.any() | ~precisions_cholesky.isfinite().all()).item():
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

    def log_density(self, features: np.ndarray) -> np.ndarray:
        """log p(z) of features (n, d), (n,) float64."""
        device = self.means.device
        with one_at_a_time(device):
            rows = _as_tensor(features, device)
            log_densities = [
                self.weighted_log_prob(rows[block].double()).logsumexp(1)
                for block in blocks_of(rows, len(self.weights))
            ]
            return torch.cat(log_densities).cpu().numpy()

    def weighted_log_prob(self, rows: Tensor) -> Tensor:
        """log(weight_k N(z; mean_k, covariance_k)) of rows (n, d) float64, (n, K) float64.

        On a CPU, -inf for components whose responsibility for a row is negligible. These are known
        from distances in single precision, which bound a log probability by ``lower`` and
        ``upper``: a component is negligible if its upper bound is far below another component's
        lower bound.
        """
        components = range(len(self.weights))
        if on_accelerator(rows.device):
            deviations = rows - self.means[:, None]
            whitened = deviations @ self._precisions_cholesky[torch.float64].mT
            return self._constants - 0.5 * whitened.square_().sum(2).T
        if len(components) == 1:
            return self._constants - 0.5 * self._squared_distance(rows, 0)[:, None]
        single = rows.float()
        approximate = torch.stack([self._squared_distance(single, k) for k in components], 1)
        approximate = approximate.double()
        lower = self._constants - 0.5 * (1 + SINGLE_ERROR) * approximate
        upper = self._constants - 0.5 * (1 - SINGLE_ERROR) * approximate
        negligible = upper < lower.amax(1, keepdim=True) - NEGLIGIBLE
        result = torch.full_like(upper, -torch.inf)
        for k in components:
            members = torch.nonzero(~negligible[:, k])[:, 0]
            distance = self._squared_distance(rows[members], k)
            result[members, k] = self._constants[k] - 0.5 * distance
        return result

    def _squared_distance(self, rows: Tensor, k: int) -> Tensor:
        """Squared Mahalanobis distance of rows (n, d) to mean k, (n,) in the rows' precision."""
        deviation = rows - self.means[k].to(rows.dtype)
        return (deviation @ self._precisions_cholesky[rows.dtype][k].T).square_().sum(1)


def fit_mixture(
    features: np.ndarray,
    components: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    covariance: str = "full",
) -> Mixture:
    """Fit a mixture by expectation maximisation from a k-means initialisation.

    The covariances' regulariser starts at 1e-6 and rises tenfold while one is ill-conditioned.

    Args:
        features: (n, d), n >= 2, finite.
        components: number of components; at most n are used.
        seed: seed of the k-means initialisation.
        device: device of the computation; it must support float64.
        covariance: one of :data:`COVARIANCES`.

    Raises:
        UserError: a covariance cannot be inverted with any regulariser.
    """
    components, device = min(components, len(features)), torch.device(device)
    labels = np.zeros(len(features), np.int64)
    if components > 1:
        labels, _ = k_means(np.array(features, np.float64), components, seed)
    with one_at_a_time(device):
        rows = _as_tensor(features, device)
        labels = torch.from_numpy(labels).long().to(device)
        regulariser = FIRST_REGULARISER
        while True:
            try:
                return expectation_maximisation(rows, labels, components, regulariser, covariance)
            except IllConditioned as error:
                if regulariser >= LAST_REGULARISER:
                    raise UserError(
                        f"features of {len(rows)} regions, up to {rows.abs().max().item():.3g}: no "
                        f"covariance can be inverted, even with {LAST_REGULARISER:g} added; the "
                        "network has diverged: train it at a lower rate"
                    ) from error
                regulariser *= 10
                log.info(
                    "mixture is ill-conditioned; covariance regulariser raised to %g", regulariser
                )


def expectation_maximisation(
    rows: Tensor, labels: Tensor, components: int, regulariser: float, covariance: str = "full"
) -> Mixture:
    """Alternate E-steps and M-steps until the mean log density changes by less than 1e-3.

    Args:
        rows: (n, d) finite features.
        labels: (n,) int64, the component that each row belongs to at first.
        components: number of components.
        regulariser: added to the variances.
        covariance: one of :data:`COVARIANCES`.

    Raises:
        IllConditioned: see :class:`Mixture`.
    """
    since, log_densities = time.monotonic(), [-math.inf]
    responsibilities = torch.nn.functional.one_hot(labels, components).double()
    mixture = m_step(rows, responsibilities, regulariser, covariance)
    for _ in range(MAX_ITERATIONS):
        log_densities.append(e_step(rows, mixture, responsibilities))
        mixture = m_step(rows, responsibilities, regulariser, covariance)
        if abs(log_densities[-1] - log_densities[-2]) < TOLERANCE:
            break
    iterations, seconds = len(log_densities) - 1, time.monotonic() - since
    size = f"{len(rows)} regions, {components} components"
    log.info("mixture of %s: %d iterations, %.1f s", size, iterations, seconds)
    return mixture


def e_step(rows: Tensor, mixture: Mixture, responsibilities: Tensor) -> float:
    """Overwrite ``responsibilities`` (n, K) for rows (n, d); return their mean log density."""
    log_densities = []
    for block in blocks_of(rows, responsibilities.shape[1]):
        log_prob = mixture.weighted_log_prob(rows[block].double())
        log_densities.append(log_prob.logsumexp(1, keepdim=True))
        responsibilities[block] = log_prob.sub_(log_densities[-1]).exp_()
    return float(torch.cat(log_densities).mean())


def m_step(
    rows: Tensor, responsibilities: Tensor, regulariser: float, covariance: str = "full"
) -> Mixture:
    """The mixture of maximum likelihood, given responsibilities (n, K) for rows (n, d).

    ``covariance``, of :data:`COVARIANCES`, may replace its covariances by other estimates.
    """
    dims, components = rows.shape[1], responsibilities.shape[1]
    counts = responsibilities.sum(0) + 10 * torch.finfo(responsibilities.dtype).eps
    means = responsibilities.new_zeros(components, dims)
    covariances = responsibilities.new_zeros(components, dims, dims)
    for block in blocks_of(rows, components):
        means += responsibilities[block].T @ rows[block].double()
    means /= counts[:, None]
    add = _add_all_scatter if on_accelerator(rows.device) else _add_members_scatter
    add(covariances, rows, responsibilities, means)
    covariances /= counts[:, None, None]
    if covariance == "oas":
        shrink(covariances, counts)
    elif covariance == "diagonal":
        covariances = covariances.diagonal(dim1=1, dim2=2).diag_embed()
    covariances.diagonal(dim1=1, dim2=2).add_(regulariser)
    return Mixture(counts / counts.sum(), means, covariances)


def shrink(covariances: Tensor, counts: Tensor) -> None:
    """Shrink covariances S (K, d, d) of ``counts`` (K,) rows towards (tr S / d) I, in place.

    By Chen et al. (2010), eq. 23, for large d as scikit-learn computes it: with n rows, the share
    of the sphere is (tr S^2 + tr^2 S) / ((n + 1) (tr S^2 - tr^2 S / d)), at most 1.
    """
    dims = covariances.shape[1]
    trace = covariances.diagonal(dim1=1, dim2=2).sum(1)
    squared = covariances.square().sum((1, 2))  # tr S^2 of a symmetric S
    sphere = squared + trace.square()
    sphere /= (counts + 1) * (squared - trace.square() / dims)
    sphere = sphere.nan_to_num(nan=1.0).clamp(0, 1)
    covariances *= (1 - sphere)[:, None, None]
    covariances.diagonal(dim1=1, dim2=2).add_((sphere * trace / dims)[:, None])


def _add_members_scatter(
    sums: Tensor, rows: Tensor, responsibilities: Tensor, means: Tensor
) -> None:
    """Add r (z - mean)(z - mean)^T of the rows z with r > 0 to sums (K, d, d)."""
    for k in range(len(means)):
        members = torch.nonzero(responsibilities[:, k])[:, 0]
        for block in members.split(BLOCK_ROWS):
            deviation = rows[block].double() - means[k]
            deviation *= responsibilities[block, k, None].sqrt()
            sums[k] += deviation.T @ deviation


def _add_all_scatter(sums: Tensor, rows: Tensor, responsibilities: Tensor, means: Tensor) -> None:
    """Add r (z - mean)(z - mean)^T of all rows z to sums (K, d, d), all components at once."""
    for block in blocks_of(rows, len(means)):
        deviations = rows[block].double() - means[:, None]
        deviations *= responsibilities[block].T.sqrt()[:, :, None]
        sums.baddbmm_(deviations.mT, deviations)


def blocks_of(rows: Tensor, components: int) -> Iterator[slice]:
    """Blocks of rows whose temporaries fit a core's cache, or an accelerator's memory."""
    large = on_accelerator(rows.device)
    return row_blocks(len(rows), max(1, BATCH_ROWS // components) if large else BLOCK_ROWS)


def one_at_a_time(device: torch.device) -> AbstractContextManager:
    """Keep other threads off an accelerator while a fit uses it: together they would be no faster.

    They would need more memory, though. On a CPU, each thread has a core of its own.
    """
    return _ACCELERATOR if on_accelerator(device) else nullcontext()


def _as_tensor(features: np.ndarray, device: torch.device) -> Tensor:
    """Features as a tensor in their own precision; not copied on a CPU."""
    return torch.from_numpy(np.ascontiguousarray(features)).to(device)

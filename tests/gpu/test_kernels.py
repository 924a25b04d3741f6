"""A device's arithmetic against the CPU's: networks, region means, mixtures, strategies."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import pytest
import torch

from active_selection.badge import rank_by_badge
from active_selection.coreset import rank_by_coreset
from active_selection.mixture import fit_mixture
from active_selection.pooling import pool_features, pool_predictions
from models import get_model
from models.folding import folded_copy
from utils.runtime import Runtime

NETWORKS = ("deeplabv2_mobilenet", "deeplabv3_mobilenet", "deeplabv3plus_mobilenet")


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions in float32 proper: by default, NVIDIA's round their inputs to 10 bits (TF32)."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def network(name: str, device: torch.device) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same network on the CPU and on the device, with random weights."""
    torch.manual_seed(0)
    model = get_model(name, 19, pretrained_backbone=False).eval()
    return model, deepcopy(model).to(device)


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_cpus_logits(name, device):
    """In full precision to 1e-3 of the largest logit."""
    model, on_device = network(name, device)
    images = torch.randn(2, 3, 64, 128)
    expected = model(images)
    with full_precision():
        logits = on_device(images.to(device)).cpu()
    assert (logits - expected).abs().max() < 1e-3 * expected.abs().max()


@torch.inference_mode()
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_fast_arithmetic_gives_nearly_the_cpus_features(amp, device):
    """Folded and channels-last: to 2 % (TF32, fp16) or 10 % (bf16) of the largest, on average."""
    model, _ = network("deeplabv3plus_mobilenet", device)
    images = torch.randn(2, 3, 64, 128)
    expected, _ = model.forward_features(images)
    runtime = Runtime(device, amp, channels_last=True)
    with runtime.autocast():
        features, _ = runtime.prepare(folded_copy(model)).forward_features(images.to(device))
    error = (features.float().cpu() - expected).abs().mean() / expected.abs().max()
    assert error < (0.1 if amp == "bf16" else 0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_region_means_are_the_cpus(dtype, device):
    """To 1e-4; shares of predicted classes to a thousandth, since ties may fall either way."""
    torch.manual_seed(0)
    features, logits = torch.randn(256, 32, 64).to(dtype), 3 * torch.randn(19, 32, 64).to(dtype)
    superpixels = (torch.arange(128)[:, None] // 32 * 8 + torch.arange(256) // 32).long()
    on_device = [values.to(device) for values in (features, logits, superpixels)]
    expected = pool_features(features, superpixels, 33), *pool_predictions(logits, superpixels, 33)
    pooled = (
        pool_features(on_device[0], on_device[2], 33),
        *pool_predictions(*on_device[1:], 33),
    )
    for values, wanted, tolerance in zip(pooled, expected, [1e-4, 1e-4, 1e-4, 1e-3], strict=True):
        torch.testing.assert_close(values.cpu(), wanted, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("components", [1, 5])
def test_mixtures_in_double_precision_are_the_cpus(components, device):
    """Log densities to 1e-8: the same iterations, in another order of summation."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(1500, 64)) + rng.integers(0, 5, (1500, 1))).astype(np.float32)
    expected = fit_mixture(features, components).log_density(features)
    mixture = fit_mixture(features, components, device=device)
    assert mixture.covariances.dtype == torch.float64
    assert mixture.covariances.device.type == device.type
    np.testing.assert_allclose(mixture.log_density(features), expected, rtol=1e-8)


def candidates() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "feature": rng.normal(size=(3000, 256)).astype(np.float32),
        "area": np.full(3000, 100),
        "pool": np.arange(3000) % 7 > 0,
        "budget": 2000,
    }


def test_badge_draws_the_cpus_regions(device):
    """The first 20 of them, from the same random numbers."""
    prob = np.random.default_rng(1).dirichlet(np.ones(19), 3000).astype(np.float32)
    expected = rank_by_badge(**candidates(), prob=prob)
    ranking = rank_by_badge(**candidates(), prob=prob, device=device)
    assert ranking.rows.tolist() == expected.rows.tolist()


def test_coreset_takes_the_cpus_regions(device):
    """The first 20 of them, with the same distances to 1e-4."""
    source = np.random.default_rng(2).normal(size=(9000, 256)).astype(np.float32)
    expected = rank_by_coreset(**candidates(), source=source)
    ranking = rank_by_coreset(**candidates(), source=source, device=device)
    assert ranking.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(ranking.scores, expected.scores, rtol=1e-4)

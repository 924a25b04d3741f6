"""Training on a device against the CPU, resumed, and twice alike."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from models import get_model
from models.discriminator import Discriminator
from tests.gpu.test_kernels import full_precision
from utils.optim import discriminator_optimizer, segmentation_optimizer
from utils.resume import Progress, StateFile
from utils.runtime import Runtime
from utils.steps import AdversarialStep, SupervisedStep, train_mode


class Batches:
    """Batch number n is the same on all devices; a loader as far as a step needs one."""

    start = 0

    def __iter__(self) -> Iterator:
        for number in itertools.count(self.start):
            rng = torch.Generator().manual_seed(number)
            images = torch.randn(2, 3, 64, 128, generator=rng)
            yield images, torch.randint(0, 4, (2, 64, 128), generator=rng, dtype=torch.uint8)

    def start_at(self, iteration: int) -> None:
        self.start = iteration


def make_step(kind: str, device: torch.device, seed: int = 0, **options) -> SupervisedStep:
    """A step of either kind with networks that begin with the same weights on every device."""
    torch.manual_seed(seed)
    model = get_model("deeplabv3plus_mobilenet", 4, pretrained_backbone=False)
    discriminator = Discriminator(4)
    model.classifier.train()  # so that dropout, which differs between devices, can be switched off
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    runtime = Runtime(device, **options)
    model, discriminator = runtime.prepare(model), runtime.prepare(discriminator)
    optimizer = segmentation_optimizer(model, 1e-3, 5e-4)
    supervised = (model, optimizer, Batches(), "cross_entropy", runtime)
    train_mode(model, freeze_bn=True)
    if kind == "supervised":
        return SupervisedStep(*supervised)
    adam = discriminator_optimizer(discriminator, 1e-4)
    return AdversarialStep(*supervised, discriminator, adam, Batches())


def weights(step: SupervisedStep) -> torch.Tensor:
    """All trained weights as one vector on the CPU."""
    parameters = [p for network in step.networks.values() for p in network.parameters()]
    return torch.cat([p.detach().float().cpu().ravel() for p in parameters])


def losses_of(step: SupervisedStep, count: int = 2) -> list[float]:
    return [float(loss) for _ in range(count) for loss in step().values()]


@pytest.mark.parametrize("kind", ["supervised", "adversarial"])
def test_a_training_step_is_the_cpus(kind, device):
    """Losses of two steps to 1e-3, weights to 1e-4 of the change they have gone through."""
    start = weights(make_step(kind, torch.device("cpu")))
    on_cpu, on_device = make_step(kind, torch.device("cpu")), make_step(kind, device)
    expected = losses_of(on_cpu)
    with full_precision():
        assert losses_of(on_device) == pytest.approx(expected, rel=1e-3)
    change = (weights(on_cpu) - start).norm()
    assert (weights(on_device) - weights(on_cpu)).norm() < 1e-2 * change


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "--compile"])
def test_fast_arithmetic_trains(amp, compiled, device):
    """Losses of two steps to 5 % of the CPU's in float32."""
    expected = losses_of(make_step("supervised", torch.device("cpu")))
    step = make_step("supervised", device, amp=amp, channels_last=True, compiled=compiled)
    assert losses_of(step) == pytest.approx(expected, rel=0.05)


def test_a_resumed_training_goes_on_as_if_unbroken(device, tmp_path):
    """Weights after two, a stop and two more steps are those after four."""
    with deterministic():
        unbroken, stopped = (make_step("adversarial", device) for _ in range(2))
        losses_of(unbroken, 4)
        losses_of(stopped, 2)
        StateFile(tmp_path / "state.tar", "check").save(stopped, Progress(2))
        other = make_step("adversarial", device, seed=1)
        assert StateFile(tmp_path / "state.tar", "check").restore(other).iteration == 2
        other.batches = list(map(iter, other.loaders))
        train_mode(other.model, freeze_bn=True)
        losses_of(other, 2)
    assert torch.equal(weights(other), weights(unbroken))


def test_deterministic_training_is_twice_alike(device):
    with deterministic():
        first, second = (make_step("adversarial", device) for _ in range(2))
        assert losses_of(first, 3) == losses_of(second, 3)
    assert torch.equal(weights(first), weights(second))


@contextmanager
def deterministic() -> Iterator[None]:
    """What --deterministic sets (see utils/runtime.py)."""
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.use_deterministic_algorithms(was)

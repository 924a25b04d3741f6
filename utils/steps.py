"""The two kinds of training step: supervised, and adversarial between two domains."""

import time
from collections.abc import Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.losses import LOSSES
from utils.runtime import Runtime

ADVERSARIAL_WEIGHT = 0.0005
SOURCE, TARGET = 0.0, 1.0

Batch = tuple[Tensor, Tensor]


def train_mode(model: nn.Module, freeze_bn: bool) -> None:
    """Set training mode; ``freeze_bn`` keeps BatchNorm's statistics and affine parameters."""
    model.train()
    if freeze_bn:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
                module.requires_grad_(False)


class SupervisedStep:
    """One step on labelled images.

    Args:
        model: the network, in training mode.
        optimizer: optimiser of its parameters.
        batches: endless batches (images (N, 3, H, W), labels (N, H, W) of any integer type).
        loss: name of the loss, a key of :data:`LOSSES`.
        runtime: device and precision.
        discriminator: saved in checkpoints beside the network; not trained here.
        focal_gamma: exponent of the focal loss.

    Attributes:
        networks: the networks that are trained, by name.
        optimizers: one for each network.
        loaders: data loaders of the batches, which a continued run starts at its iteration.
        waited: seconds spent waiting for batches so far.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batches: Iterable[Batch],
        loss: str,
        runtime: Runtime,
        discriminator: nn.Module | None = None,
        focal_gamma: float = 2.0,
    ):
        self.model = model
        self.discriminator = discriminator
        self.networks = {"model": model}
        self.optimizers = [optimizer]
        self.loaders = [batches]
        self.batches = iter(batches)
        self.loss = LOSSES[loss]
        if loss == "focal_loss":
            self.loss = partial(self.loss, gamma=focal_gamma)
        self.runtime = runtime
        self.waited = 0.0

    def load(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch on the device; the time spent waiting adds to ``waited``."""
        since = time.monotonic()
        batch = next(batches)
        self.waited += time.monotonic() - since
        images, labels = (values.to(self.runtime.device, non_blocking=True) for values in batch)
        return images, labels.long()

    def __call__(self) -> dict[str, Tensor]:
        images, labels = self.load(self.batches)
        with self.runtime.autocast():
            logits = self.model(images)
        loss = self.loss(logits, labels)
        self.runtime.backward(loss)
        self.runtime.update(*self.optimizers)
        return {"loss": loss.detach()}


class AdversarialStep(SupervisedStep):
    """One step of output-space adaptation (AdaptSegNet, Tsai et al. 2018, single level).

    The network learns the source labels, and learns target predictions that the discriminator
    takes for source predictions; the discriminator learns to distinguish the two.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batches: Iterable[Batch],
        loss: str,
        runtime: Runtime,
        discriminator: nn.Module,
        discriminator_optimizer: Optimizer,
        target_batches: Iterable[Batch],
        focal_gamma: float = 2.0,
    ):
        super().__init__(model, optimizer, batches, loss, runtime, discriminator, focal_gamma)
        self.networks = {"model": model, "discriminator": discriminator}
        self.optimizers = [optimizer, discriminator_optimizer]
        self.loaders = [batches, target_batches]
        self.target_batches = iter(target_batches)

    def __call__(self) -> dict[str, Tensor]:
        source, labels = self.load(self.batches)
        target, _ = self.load(self.target_batches)

        self.discriminator.requires_grad_(False)
        with self.runtime.autocast():
            source_logits = self.model(source)
        loss = self.loss(source_logits, labels)
        self.runtime.backward(loss)
        with self.runtime.autocast():
            target_logits = self.model(target)
        adversarial = self.domain_loss(target_logits, SOURCE)
        self.runtime.backward(ADVERSARIAL_WEIGHT * adversarial)

        self.discriminator.requires_grad_(True)
        source_loss = self.domain_loss(source_logits.detach(), SOURCE)
        target_loss = self.domain_loss(target_logits.detach(), TARGET)
        loss_d = (source_loss + target_loss) / 2
        self.runtime.backward(loss_d)

        self.runtime.update(*self.optimizers)
        return {"loss": loss.detach(), "adv": adversarial.detach(), "D": loss_d.detach()}

    def domain_loss(self, logits: Tensor, domain: float) -> Tensor:
        """Return the discriminator's binary cross-entropy for logits (N, C, H, W) and a domain."""
        with self.runtime.autocast():
            domain_logits = self.discriminator(F.softmax(logits.float(), dim=1)).float()
        return F.binary_cross_entropy_with_logits(
            domain_logits, torch.full_like(domain_logits, domain)
        )

"""The two kinds of training step: supervised, and adversarial between two domains."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from utils.losses import LOSSES
from utils.metrics import IGNORE
from utils.parallel import parallel, without_averaging
from utils.runtime import Runtime
from utils.stopping import Stopped

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
        runtime: device, precision and ranks.
        discriminator: saved in checkpoints beside the network; not trained here.
        focal_gamma: exponent of the focal loss.
        grad_accum: batches whose gradients a step adds up, as if they were one batch.

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
        grad_accum: int = 1,
    ):
        self.model = model
        self.discriminator = discriminator
        self.networks = {"model": model}
        self.parallel = self.networks
        self.optimizers = [optimizer]
        self.loaders = [batches]
        self.batches = [iter(batches)]
        self.loss = LOSSES[loss]
        if loss == "focal_loss":
            self.loss = partial(self.loss, gamma=focal_gamma)
        self.runtime = runtime
        self.grad_accum = grad_accum
        self.waited = 0.0
        self.images: float | None = None
        """By how many images this rank divides the sums of a step's losses; None: its batch's."""

    def connect(self) -> None:
        """Let ranks average gradients, and draw the same dropout, from now on.

        Parameters that do not learn are frozen already.
        """
        world, device = self.runtime.world, self.runtime.device
        world.share_random_state(device)
        self.parallel = {name: parallel(net, world, device) for name, net in self.networks.items()}

    def load(self) -> Iterator[tuple[Batch, ...]]:
        """Wait for the batches of a step; yield them on the device, one of each loader at a time.

        Raises:
            Stopped: a signal asked to stop, at this step on all ranks.
        """
        since = time.monotonic()
        try:
            loaded = [[next(it) for it in self.batches] for _ in range(self.grad_accum)]
        except Stopped:  # of a loader on one rank; the others are told by _count_images
            loaded = []
        self.waited += time.monotonic() - since
        self.images = self._count_images([first[1] for first, *_ in loaded])
        for batches in loaded:
            yield tuple(map(self.to_device, batches))

    def _count_images(self, labels: Sequence[Tensor]) -> float | None:
        """Count the images with labels of a step, and stop where a rank was asked to.

        Different ranks and batches may have different numbers of them. The loss averages over all
        that the step sees, and ranks average their gradients, so that each divides by its share.
        """
        ranks = self.runtime.world.size
        alone = ranks * self.grad_accum == 1
        labels = [] if alone else labels
        counted = sum(int((part != IGNORE).flatten(1).any(1).sum()) for part in labels)
        counted = self.runtime.world.check_stop(counted)
        return None if alone else max(counted, 1) / ranks

    def to_device(self, batch: Batch) -> Batch:
        """Return images and labels on the device."""
        images, labels = (values.to(self.runtime.device, non_blocking=True) for values in batch)
        return images, labels.long()

    def averaged(self, name: str, number: int) -> AbstractContextManager:
        """Return the context of a network's pass on batch ``number``; the last one averages."""
        last = number == self.grad_accum - 1
        return nullcontext() if last else without_averaging(self.parallel[name])

    def supervise(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Add the gradients of the segmentation loss; return the loss and the logits."""
        with self.runtime.autocast():
            logits = self.parallel["model"](images)
        loss = self.loss(logits, labels, self.images)
        self.runtime.backward(loss)
        return loss.detach(), logits.detach()

    def __call__(self) -> dict[str, Tensor]:
        losses = []
        for number, ((images, labels),) in enumerate(self.load()):
            with self.averaged("model", number):
                losses.append(self.supervise(images, labels)[0])
        self.runtime.update(*self.optimizers)
        return {"loss": sum(losses)}


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
        grad_accum: int = 1,
    ):
        super().__init__(
            model, optimizer, batches, loss, runtime, discriminator, focal_gamma, grad_accum
        )
        self.networks = {"model": model, "discriminator": discriminator}
        self.parallel = self.networks
        self.optimizers = [optimizer, discriminator_optimizer]
        self.loaders = [batches, target_batches]
        self.batches = [iter(batches), iter(target_batches)]
        # The same weights, which get no gradients: DistributedDataParallel requires of parameters
        # that they learn in every pass, or never.
        weights = {name: value.detach() for name, value in discriminator.named_parameters()}
        self.fixed_discriminator = partial(functional_call, discriminator, weights)

    def __call__(self) -> dict[str, Tensor]:
        losses = []
        for number, ((source, labels), (target, _)) in enumerate(self.load()):
            with without_averaging(self.parallel["model"]):  # the target's pass averages both
                loss, source_logits = self.supervise(source, labels)
            with self.averaged("model", number):
                adversarial, target_logits = self.deceive(target)
            with self.averaged("discriminator", number):
                loss_d = self.discriminate(source_logits, target_logits)
            losses.append(torch.stack([loss, adversarial, loss_d]))
        self.runtime.update(*self.optimizers)
        return dict(zip(("loss", "adv", "D"), sum(losses), strict=True))

    def deceive(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Add the network's gradients of the adversarial loss; return that loss and the logits."""
        with self.runtime.autocast():
            logits = self.parallel["model"](target)
        loss = self.domain_loss(self.fixed_discriminator, logits, SOURCE) / self.grad_accum
        self.runtime.backward(ADVERSARIAL_WEIGHT * loss)
        return loss.detach(), logits.detach()

    def discriminate(self, source_logits: Tensor, target_logits: Tensor) -> Tensor:
        """Add the discriminator's gradients; return its loss."""
        discriminator = self.parallel["discriminator"]
        source_loss = self.domain_loss(discriminator, source_logits, SOURCE)
        target_loss = self.domain_loss(discriminator, target_logits, TARGET)
        loss = (source_loss + target_loss) / 2 / self.grad_accum
        self.runtime.backward(loss)
        return loss.detach()

    def domain_loss(
        self, discriminator: Callable[[Tensor], Tensor], logits: Tensor, domain: float
    ) -> Tensor:
        """Return a discriminator's binary cross-entropy for logits (N, C, H, W) and a domain."""
        with self.runtime.autocast():
            domain_logits = discriminator(F.softmax(logits.float(), dim=1)).float()
        return F.binary_cross_entropy_with_logits(
            domain_logits, torch.full_like(domain_logits, domain)
        )

"""Validation of a network on labelled images."""

import logging
from collections.abc import Collection, Iterable

import torch
from torch import nn
from tqdm import tqdm

from utils.errors import UserError
from utils.metrics import ConfusionMatrix, percent
from utils.runtime import Runtime
from utils.stopping import STOP

log = logging.getLogger(__name__)


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: Iterable, num_classes: int, runtime: Runtime
) -> ConfusionMatrix:
    """Confusion matrix of a network over batches (_, images, labels (N, H, W) uint8, _)."""
    model.eval()
    confusion = ConfusionMatrix(num_classes)
    for _, images, labels, _ in tqdm(loader, desc="validate", disable=None, leave=False):
        STOP.check()
        with runtime.autocast():
            logits = model(images.to(runtime.device, non_blocking=True))
        confusion.add(labels.numpy(), logits.argmax(1).to(torch.uint8).cpu().numpy())
    return confusion


def validation_line(
    confusion: ConfusionMatrix, missing: Collection[int] = (), star: Collection[int] = ()
) -> str:
    """mIoU[,mIoU*] and the IoU of each class, in percent, comma-separated.

    ``missing`` classes count in no mean; mIoU* is given when ``star`` names classes, and leaves
    these out too.
    """
    means = [confusion.mean_iou(missing)]
    if star:
        means.append(confusion.mean_iou({*missing, *star}))
    return ",".join(percent(value) for value in [*means, *confusion.iou()])


class Validator:
    """Validates one network on one loader, logs the line, and returns mIoU (0..1)."""

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable,
        num_classes: int,
        runtime: Runtime,
        missing: Collection[int] = (),
        star: Collection[int] = (),
    ):
        self.model = model
        self.loader = loader
        self.num_classes = num_classes
        self.runtime = runtime
        self.missing = missing
        self.star = star

    def __call__(self) -> float:
        confusion = evaluate(self.model, self.loader, self.num_classes, self.runtime)
        log.info("validation %s", validation_line(confusion, self.missing, self.star))
        if not confusion.counts.any():
            raise UserError("no pixel of the validation labels counts; see --val_dataset, --val_*")
        return confusion.mean_iou(self.missing)

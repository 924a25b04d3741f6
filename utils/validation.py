"""Validation of a network on labelled images."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from utils.errors import UserError
from utils.metrics import ConfusionMatrix, percent
from utils.runtime import Runtime
from utils.stopping import STOP

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """The result of a validation.

    Attributes:
        miou: mean IoU, 0..1; -1 before the first validation.
        iou: class name -> IoU, 0..1, NaN for a class that is in neither labels nor predictions.
    """

    miou: float = -1.0
    iou: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the scores as plain values, for a saved state."""
        return asdict(self)

    def percent(self) -> dict[str, Any]:
        """Return ``mIoU`` and ``IoU`` by class name, in percent, for records and metrics.

        The value of a class that does not occur is None.
        """
        shares = {name: None if iou != iou else 100 * iou for name, iou in self.iou.items()}
        return {"mIoU": 100 * self.miou, "IoU": shares}


def validate(
    model: nn.Module,
    loader: Iterable,
    class_names: Sequence[str],
    runtime: Runtime,
    missing: Collection[int] = (),
    star: Collection[int] = (),
    absent: Collection[int] = (),
) -> Scores:
    """Validate a network on labelled images, log the result and return it.

    Args:
        model: the network, with one class per name.
        loader: batches (_, images (N, 3, H, W), labels (N, H, W) uint8, _).
        class_names: one name per class.
        runtime: device and precision.
        missing, star, absent: train ids of classes, see :func:`validation_line`.

    Raises:
        UserError: every pixel of the labels is ignored.
    """
    confusion = confusion_of(model, loader, len(class_names), runtime)
    log.info("validation %s", validation_line(confusion, missing, star, absent))
    if not confusion.counts.any():
        raise UserError(
            "every pixel of the validation labels is ignored; see --val_dataset and --val_data_dir"
        )
    iou = dict(zip(class_names, confusion.iou().tolist(), strict=True))
    return Scores(confusion.mean_iou({*missing, *absent}), iou)


@torch.inference_mode()
def confusion_of(
    model: nn.Module, loader: Iterable, num_classes: int, runtime: Runtime
) -> ConfusionMatrix:
    """Return the confusion matrix of a network over the batches of :func:`validate`."""
    model.eval()
    confusion = ConfusionMatrix(num_classes)
    for _, images, labels, _ in tqdm(loader, desc="validate", disable=None, leave=False):
        STOP.check()
        with runtime.autocast():
            logits = model(images.to(runtime.device, non_blocking=True))
        confusion.add(labels.numpy(), logits.argmax(1).to(torch.uint8).cpu().numpy())
    return confusion


def validation_line(
    confusion: ConfusionMatrix,
    missing: Collection[int] = (),
    star: Collection[int] = (),
    absent: Collection[int] = (),
) -> str:
    """Return mIoU[,mIoU*] and the IoU of each class, in percent, comma-separated.

    Args:
        confusion: confusion matrix of the validation.
        missing: classes excluded from the line and from all means.
        star: further classes excluded from mIoU*, which is given only if there are any.
        absent: classes that the validation data cannot contain; excluded from all means.
    """
    uncounted = {*missing, *absent}
    means = [confusion.mean_iou(uncounted)]
    if star:
        means.append(confusion.mean_iou({*uncounted, *star}))
    shares = [iou for c, iou in enumerate(confusion.iou()) if c not in missing]
    return ",".join(percent(value) for value in [*means, *shares])

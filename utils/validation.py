"""Validation of a network on labelled images."""

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from utils.errors import UserError
from utils.metrics import ConfusionMatrix, percent
from utils.prediction import NO_NUMBER, no_numbers, predicted_classes
from utils.progress import progress
from utils.runtime import Runtime
from utils.stopping import STOP, Stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """The result of a validation.

    Attributes:
        miou: mean IoU, 0..1; -1 where nothing was validated yet.
        iou: class name -> IoU, 0..1; NaN for a class that is in neither labels nor predictions, or
            that the validation data cannot have.
        confusion: (C, C + 1) counts of a :class:`ConfusionMatrix`, classes in the order of ``iou``;
            None where it is not known.
    """

    miou: float = -1.0
    iou: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] | None = field(default=None, compare=False, repr=False)

    def plain(self) -> dict[str, Any]:
        """Return the scores as plain values, for a saved state, without the confusion matrix."""
        return {"miou": self.miou, "iou": self.iou}

    def percent(self) -> dict[str, Any]:
        """Return ``mIoU`` and ``IoU`` by class name, in percent, for records and metrics.

        The value of a class that does not occur is None.
        """
        shares = {name: None if iou != iou else 100 * iou for name, iou in self.iou.items()}
        return {"mIoU": 100 * self.miou, "IoU": shares}

    def measured(self) -> dict[str, Any]:
        """Return what the metrics hold of a validation: :meth:`percent` and ``confusion``."""
        return {**self.percent(), "confusion": self.confusion}


def validate(
    model: nn.Module,
    loader: Iterable,
    class_names: Sequence[str],
    runtime: Runtime,
    missing: Collection[int] = (),
    star: Collection[int] = (),
    absent: Collection[int] = (),
    paths: Sequence[str] = (),
) -> Scores:
    """Validate a network on labelled images, log the result and return it.

    Args:
        model: the network, with one class per name.
        loader: this rank's batches (_, images (N, 3, H, W), labels (N, H, W) uint8, _).
        class_names: one name per class.
        runtime: device, precision and ranks.
        missing, star, absent: train ids of classes, see :func:`validation_line`.
        paths: of the images, by the indices in batches, for error lines.

    Raises:
        UserError: every pixel of the labels is ignored, or predictions are NaN or infinite.
    """
    confusion = confusion_of(model, loader, len(class_names), runtime, paths)
    counted = [c for c in range(len(class_names)) if c not in {*missing, *absent}]
    if not confusion.counts[counted].any():
        raise UserError(
            "no pixel of the validation labels has a class that counts; see --val_dataset, "
            "--val_data_dir and --val_datalist"
        )
    log.info("validation %s", validation_line(confusion, missing, star, absent))
    iou = dict(zip(class_names, confusion.iou(absent).tolist(), strict=True))
    return Scores(confusion.mean_iou({*missing, *absent}), iou, confusion.counts.tolist())


@torch.inference_mode()
def confusion_of(
    model: nn.Module,
    loader: Iterable,
    num_classes: int,
    runtime: Runtime,
    paths: Sequence[str] = (),
) -> ConfusionMatrix:
    """Return the confusion matrix of a network over the batches of all ranks.

    Raises:
        UserError: predictions are NaN or infinite, which would all count as class 0.
        Stopped: a signal asked to stop, on all ranks.
    """
    model.eval()
    confusion = ConfusionMatrix(num_classes)
    with suppress(Stopped):  # on this rank; below, all ranks agree
        for indices, images, labels, _ in progress(
            loader, desc="validate", unit="batch", leave=False
        ):
            STOP.check()
            with runtime.autocast():
                logits = model(images.to(runtime.device, non_blocking=True))
            predicted = predicted_classes(logits).cpu().numpy()
            for index, classes in zip(indices, predicted, strict=True):
                if classes[0, 0] == NO_NUMBER:
                    raise no_numbers(paths[index] if paths else f"image {index}")
            confusion.add(labels.numpy(), predicted)
    runtime.world.check_stop()
    confusion.counts = runtime.world.sum_array(confusion.counts)
    return confusion


def validation_line(
    confusion: ConfusionMatrix,
    missing: Collection[int] = (),
    star: Collection[int] = (),
    absent: Collection[int] = (),
) -> str:
    """Return mIoU[,mIoU*] and the IoU of each class, in percent, comma-separated.

    Args:
        confusion: of the validation.
        missing: classes that are left out of the line.
        star: classes that mIoU*, which is given if there are any, leaves out as well.
        absent: classes that the validation data cannot have: NaN, and like ``missing`` in no mean.
    """
    uncounted = {*missing, *absent}
    means = [confusion.mean_iou(uncounted)]
    if star:
        means.append(confusion.mean_iou({*uncounted, *star}))
    shares = [iou for c, iou in enumerate(confusion.iou(absent)) if c not in missing]
    return ",".join(percent(value) for value in [*means, *shares])

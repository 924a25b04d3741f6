"""Values of predictions that cannot be train ids, told by the labels they are compared with."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataloader.dataset_info import IGNORE, DatasetInfo
from utils.errors import UserError, shown
from utils.metrics import percent

log = logging.getLogger(__name__)

EXAMPLES = 3  # classes that a message names
ENOUGH = 4  # classes that a network must know, or all there are, to tell how labels are numbered


def check_values(
    values: np.ndarray, info: DatasetInfo, source: Path, as_described: bool = True
) -> None:
    """Refuse, or warn about, predictions whose values cannot be train ids.

    Args:
        values: (C, 256), labelled pixels by class and predicted value.
        info: the dataset.
        source: folder of the predictions.
        as_described: whether the labels seem to be what the dataset says; predictions look like
            label ids if it is the labels that are train ids.

    Raises:
        UserError: no pixel is labelled, most values are not a class, no prediction is one, or they
            are numbered in another way, and some are not a class.
    """
    classes, pixels = len(values), values.sum()
    if not pixels:
        raise UserError(
            f"{info.name}: every pixel of the labels is ignored, so there is nothing to evaluate; "
            "check --dataset, and label_to_train in its info.json"
        )
    unknown = values[:, classes:].sum(0)
    strange = unknown[:-1].sum()  # 255 may be meant
    first = classes + int(np.argmax(unknown))
    share = f"{percent(unknown.sum() / pixels)} % of the predicted values are no class"
    share += f", most often {first}"
    cause = other_numbers(values, info)
    if unknown.sum() == pixels or 2 * strange > pixels or (strange and cause):
        cause = cause or "they must hold train ids, as inference.py writes them"
        raise UserError(f"{source}: {share}; {cause}")
    if unknown.any():
        log.warning("%s: %s; they count as wrong", source, share)
    if cause and as_described:
        log.warning("%s: %s", source, cause)


def other_numbers(values: np.ndarray, info: DatasetInfo) -> str:
    """How predictions seem to be numbered if not by train ids; "" if nothing says so.

    With other numbers half of all pixels, and twice as many as now, must be right.

    Args:
        values: (C, 256), labelled pixels by class and predicted value.
        info: the dataset.
    """
    classes, pixels = len(values), values.sum()
    right = values[:, :classes].trace()
    as_ids = sum(_right_as_ids(values, info).values())
    train_ids, partners = _partners(values, np.count_nonzero(values.sum(1)) / 2)
    renumbered = values[train_ids, partners].sum()

    if not _clearly_better(max(as_ids, renumbered), values):
        return ""
    if as_ids > 0.9 * renumbered:
        how, mend = "label ids", "predict without --label_ids"
    else:
        shifts = partners - train_ids
        first = np.flatnonzero(shifts)[0]
        how = f"{partners[first]} for {info.class_names[train_ids[first]]}"
        if (shifts == shifts[0]).all():
            how = f"each {abs(shifts[0])} too {'high' if shifts[0] > 0 else 'low'}"
        mend = f"number them from 0, as the classes of {info.name}"
    better = percent(max(as_ids, renumbered) / pixels)
    return (
        f"as train ids {percent(right / pixels)} % of the pixels are right, and {better} % would "
        f"be if they were numbered in another way ({how}): {mend}"
    )


def warn_if_labels_renumbered(values: np.ndarray, info: DatasetInfo) -> bool:
    """Warn if a network is right for the most part once classes of the labels are exchanged.

    Args:
        values: (C, C + 1) or more, labelled pixels by class and predicted class.
        info: the dataset of the labels.

    Returns:
        whether there was a warning.
    """
    classes = len(info.class_names)
    values = values[:classes, :classes]
    train_ids, partners = _partners(values, min(ENOUGH, len(info.present_classes)))
    renumbered = int(values[train_ids, partners].sum())
    if not _clearly_better(renumbered, values):
        return False
    pairs = [(t, p) for t, p in zip(train_ids, partners, strict=True) if t != p]
    names = info.class_names
    log.warning(
        "validation: %s %% of the pixels are right, and %s %% would be if classes of the labels "
        "were exchanged (%s); are these labels numbered in another way than those that the network "
        "was trained on? See label_to_train in %s",
        *(percent(pixels / values.sum()) for pixels in (values.trace(), renumbered)),
        ", ".join(f"{names[t]} is predicted as {names[p]}" for t, p in pairs[:EXAMPLES]),
        info.path,
    )
    return True


def holds_label_ids(values: np.ndarray, info: DatasetInfo) -> bool:
    """Whether one prediction is right as label ids, in several classes, and not as train ids.

    Args:
        values: (C, 256), labelled pixels by class and predicted value, of one image.
        info: the dataset.
    """
    right = _right_as_ids(values, info)
    mostly = [2 * pixels > values[c].sum() and i != c for (i, c), pixels in right.items()]
    # of a single class, it might be a network that takes it for another one
    return sum(mostly) > 1 and _clearly_better(sum(right.values()), values)


def _right_as_ids(values: np.ndarray, info: DatasetInfo) -> dict[tuple[int, int], int]:
    """(label id, class) -> the class's pixels that are predicted as this value."""
    ids = ((i, c) for i, c in info.label_to_train.items() if i < 256 and c < len(values))
    return {(i, c): int(values[c, i]) for i, c in ids}


def _clearly_better(pixels: int, values: np.ndarray) -> bool:
    """Whether more than half of all pixels, and twice as many as by train ids, are right so."""
    return pixels > max(2 * values[:, : len(values)].trace(), values.sum() // 2)


def warn_of_label_ids(odd: Sequence[Path], count: int) -> None:
    """Warn if some of ``count`` predictions hold label ids; :func:`check_values` tells of all."""
    if 0 < len(odd) < count:
        log.warning(
            "%s: holds label ids, as which most of its pixels are right, and not train ids (%d of "
            "%d predictions are such): give them as the others are",
            *(shown(odd[0]), len(odd), count),
        )


def _partners(values: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Classes and predicted values of which each is the other's most frequent partner.

    None if they are few: a poor network, too, can take one class for another. 255 is no value of a
    class.

    Args:
        values: (C, 256) or (C, C), labelled pixels by class and predicted value.
        least: number of classes, beside two at least.

    Returns:
        (n,) classes and (n,) values.
    """
    values = np.where(np.arange(values.shape[1]) == IGNORE, 0, values)
    classes = np.flatnonzero(values.sum(1))
    partners = values[classes].argmax(1)
    mutual = values[:, partners].argmax(0) == classes
    if mutual.sum() < max(2, least):
        mutual[:] = False
    return classes[mutual], partners[mutual]

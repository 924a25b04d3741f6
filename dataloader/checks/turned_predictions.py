"""Predictions that lie over their labels turned or mirrored, as other programs may write them."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dataloader.checks.files import spread
from dataloader.checks.turned_labels import AS_IT_IS, LOOKED_AT, THREADS, placements
from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.images import fit_label, read_label, read_train_ids
from dataloader.item import Item
from utils.errors import shown
from utils.files import map_files
from utils.metrics import percent

log = logging.getLogger(__name__)

FEWER = 1.3  # times as many pixels are wrong as when it is turned
GAIN = 0.05  # more of the pixels are right then
RIGHT = 0.5  # of the pixels are right then


def warn_if_predictions_turned(pairs: Sequence[Item], info: DatasetInfo) -> bool:
    """Warn if most of some predictions are right only when they are turned or mirrored, all alike.

    Args:
        pairs: labels with predictions in place of their images, which can be read.
        info: their dataset.

    Returns:
        whether there was a warning.
    """
    looked_at = spread(pairs, LOOKED_AT)
    each = map_files(lambda pair: _right(pair, info), looked_at, threads=THREADS)
    better = [_better(right) for right in each]
    (flip, count), *_ = Counter(better).most_common(1)
    if flip == AS_IT_IS or 2 * count <= len(looked_at):
        return False
    first = better.index(flip)
    log.warning(
        "%s: fits its label better when it is %s: %s %% of the pixels are right then, now %s %% "
        "(%d of %d predictions looked at are such); save predictions as the images are",
        *(shown(looked_at[first].image), flip, percent(each[first][flip])),
        *(percent(each[first][AS_IT_IS]), count, len(looked_at)),
    )
    return True


def _right(pair: Item, info: DatasetInfo) -> dict[str, float]:
    """Share of the labelled pixels that are right, for each way in which a prediction may lie."""
    prediction = read_train_ids(pair.image)
    label = fit_label(read_label(pair.label, info), prediction.shape)
    placed = placements(prediction, prediction.shape)
    return {name: right_share(values, label) for name, values in placed.items()}


def right_share(prediction: np.ndarray, label: np.ndarray) -> float:
    """Share of a label's pixels that have a class and are right in a prediction, both (H, W)."""
    labelled = label != IGNORE
    right = np.count_nonzero((prediction == label) & labelled)
    return right / max(np.count_nonzero(labelled), 1)


def _better(right: dict[str, float]) -> str:
    """The way in which a prediction is clearly better than as it is; else that."""
    best = max(right, key=right.__getitem__)
    return best if is_clearly_better(right[best], right[AS_IT_IS]) else AS_IT_IS


def is_clearly_better(right: float, now: float) -> bool:
    """Whether this share of right pixels tells that a prediction belongs elsewhere than it is."""
    return 1 - now > FEWER * (1 - right) and right > max(RIGHT, now + GAIN)

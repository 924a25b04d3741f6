"""Labels with other ids than most labels of their dataset: train ids among label ids, or reversed.

All values may be known then; but the classes that they stand for are not as frequent as elsewhere,
and some values would be of a class by the other ids alone.
"""

from typing import NamedTuple

import numpy as np

from dataloader.dataset_info import IGNORE, DatasetInfo, load_dataset

ALIKE = 0.65  # share of pixels that two labels have in the same classes; of Cityscapes 0.6 to 0.9
BETTER = 2.5  # times as many as with the ids that were expected
FEWEST = 3  # classes of a label that tell something
STRAY = 0.001  # of pixels


class _Ids(NamedTuple):
    """What label ids mean: (65536,) uint8 train ids, and (65536,) bool, whether they are listed."""

    train_ids: np.ndarray
    known: np.ndarray


def find_other_ids(each: np.ndarray, info: DatasetInfo) -> tuple[str, list[int]]:
    """Which of some labels seem to hold other ids than the others, and what these are called.

    Args:
        each: (n, 65536), pixels of each label id, by label.
        info: their dataset.

    Returns:
        such as ("train ids", [3, 7]); ("", []) if none seems to, or all.
    """
    own = _described(info)
    expected = _by_class(each, own)
    for name, other in _others(info).items():
        if np.array_equal(own.train_ids, other.train_ids):
            continue
        foreign = each[:, (own.train_ids == IGNORE) & (other.train_ids != IGNORE)].sum(1)
        possible = ~each[:, ~other.known].any(1) & (foreign > STRAY * each.sum(1))
        read_so = _by_class(each, other)
        found = []
        for label in np.flatnonzero(possible):
            rest = ~possible if np.count_nonzero(~possible) > 1 else np.arange(len(each)) != label
            unknown = np.where(own.known, 0, each[label])
            if _fits_better(expected[label], read_so[label], expected[rest]) or (
                unknown[1:].sum() > STRAY * each[label].sum()
                and _is_absent(unknown, label, each, expected, other)
            ):
                found.append(int(label))
        fewest = 2 if _is_shifted(own, other) else 1
        if fewest <= len(found) < len(each):
            return name, found
    return "", []


def _described(info: DatasetInfo) -> _Ids:
    """The label ids of a dataset; 255, which often means ignored, is known."""
    ids = np.arange(1 << 16)
    train_ids = info.train_id_table
    return _Ids(train_ids, (train_ids != IGNORE) | np.isin(ids, [*info.known_ids, IGNORE]))


def _others(info: DatasetInfo) -> dict[str, _Ids]:
    """Name -> ids that labels may hold; those of Cityscapes where classes are the same."""
    ids = np.arange(1 << 16)
    train_ids = np.where(ids < len(info.class_names), ids, IGNORE).astype(np.uint8)
    others = {"train ids": _Ids(train_ids, (train_ids != IGNORE) | (ids == IGNORE))}
    cityscapes = load_dataset("cityscapes")
    if info.class_names == cityscapes.class_names:
        others["label ids of Cityscapes"] = _described(cityscapes)
    return others


def _is_shifted(own: _Ids, other: _Ids) -> bool:
    """Whether ids differ by one number throughout; then one unusual scene may fit both."""
    both = (own.train_ids != IGNORE) & (other.train_ids != IGNORE)
    shifts = np.unique(own.train_ids[both].astype(int) - other.train_ids[both])
    return len(shifts) == 1 and shifts[0] != 0


def _by_class(each: np.ndarray, ids: _Ids) -> np.ndarray:
    """(n, 255) pixels of each class, by label."""
    values = np.flatnonzero(each.any(0))
    return each[:, values] @ (ids.train_ids[values][:, None] == np.arange(IGNORE))


def _fits_better(expected: np.ndarray, read_so: np.ndarray, rest: np.ndarray) -> bool:
    """Whether a label has the classes of the rest only if it holds other ids than expected.

    Args:
        expected: (255,) its pixels of each class.
        read_so: (255,) the same if it holds other ids.
        rest: (n, 255) the same of other labels.
    """
    if len(rest) < 2 or not rest.any() or np.count_nonzero(read_so) < FEWEST:
        return False
    usual = rest.sum(0) / rest.sum()
    now, then = (
        np.minimum(pixels / max(pixels.sum(), 1), usual).sum() for pixels in (expected, read_so)
    )
    return then > ALIKE and then > BETTER * now


def _is_absent(
    unknown: np.ndarray, label: int, each: np.ndarray, expected: np.ndarray, other: _Ids
) -> bool:
    """Whether each unknown value of a label is of a class by other ids, which it otherwise lacks.

    A value that is found beside this class in any label means something else.

    Args:
        unknown: (65536,) pixels of unknown values.
        label, each, expected, other: as in :func:`find_other_ids`.
    """
    values = np.flatnonzero(unknown)
    values = values[values > 0]  # 0 often means ignored
    if (other.train_ids[values] == IGNORE).any():
        return False
    present = expected[:, other.train_ids[values]] > 0
    beside = (each[:, values] > 0) & present
    return bool(present.any(0).all() and not present[label].any() and not beside.any())

"""Labels that cannot be right: a look at some labels of a dataset, before training or evaluation.

A wrong encoding reads as "everything ignored", trains on nothing and measures nothing, without any
error. One label may well be without a class (all of it void), so only several together tell.
"""

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from dataloader.checks.files import spread
from dataloader.checks.mixed_values import has_mixed_values
from dataloader.checks.other_ids import find_other_ids
from dataloader.checks.palettes import check_label_palettes
from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.images import count_values, read_label_ids
from dataloader.item import Item
from dataloader.provenance import is_made_here
from utils.errors import NoLabels, UserError
from utils.files import map_files

logger = logging.getLogger(__name__)

IDS = 1 << 16
CHANNELS = ("red", "green", "blue")
EXAMPLES = 5  # values named in a message
INSTANCES = (1000, 256)  # label id times this, plus an instance's number: Cityscapes; KITTI, COCO
SHIFTED_SHARE = 0.1  # of pixels with unknown values, of labels that are numbered from another start


class LabelValues(NamedTuple):
    """What the values of some labels mean, in pixels.

    Attributes:
        counted: of a class.
        ignored: of an id that the dataset knows and ignores, or 255 if it is no class.
        unknown: of a value that is in no table, and is not 255, which often means ignored.
        frequent_unknown: such values, the most frequent first.
        classes: train ids that occur.
    """

    counted: int
    ignored: int
    unknown: int
    frequent_unknown: list[int]
    classes: list[int]


def value_counts(path: str, info: DatasetInfo, channel: int = 0) -> np.ndarray:
    """(65536,) int64: pixels of each label id in a label; see :func:`images.read_label_ids`."""
    return count_values(read_label_ids(path, info, channel), IDS)


def label_value_counts(counts: np.ndarray, info: DatasetInfo) -> LabelValues:
    """What a dataset makes of label ids, of which there are ``counts`` (65536,) pixels each."""
    train_ids = info.train_id_table
    has_class = train_ids != IGNORE
    known = has_class | _among({*info.known_ids, IGNORE})
    unknown = np.where(known, 0, counts)
    frequent = np.argsort(-unknown, kind="stable")[: np.count_nonzero(unknown)]
    return LabelValues(
        counted=int(counts[has_class].sum()),
        ignored=int(counts[known & ~has_class].sum()),
        unknown=int(unknown.sum()),
        frequent_unknown=frequent[:EXAMPLES].tolist(),
        classes=np.unique(train_ids[has_class & (counts > 0)]).tolist(),
    )


def check_labels(items: Sequence[Item], info: DatasetInfo, flag: str, count: int = 32) -> bool:
    """Look at ``count`` labels of a dataset, evenly spread: can they be what the dataset says?

    Args:
        items: all of the dataset's images.
        info: the dataset.
        flag: the one that chose it, such as "--src_dataset".
        count: labels to read.

    Returns:
        whether their values seem to be as the dataset says.

    A warning is logged where more pixels have unknown values than a class, where only one class
    occurs, where all values seem to be one too high or too low, where the labels look like train
    ids, hold instance numbers or were interpolated, where a class has no label id and a value no
    class, where a few labels have other values, channels or ids than the rest, and where most have
    no class.

    Raises:
        NoLabels: every pixel is ignored.
        UserError: not one pixel has a class, a palette's colours are of other classes than its
            numbers, or a label is a superpixel or edge map; the message names a file and the likely
            cause.
    """
    paths = [item.label for item in spread(items, count)]
    if not paths:
        return True
    if made_here := list(filter(is_made_here, paths)):
        raise UserError(
            f"{made_here[0]}: is a superpixel or edge map, not a label; mend the columns of the "
            f"datalist, or label in {info.path}"
        )
    indices = info.label_reader == "index"
    right_palettes = check_label_palettes(paths, info) if indices else True
    each = _count_each(paths, info)
    counts = each.sum(0)
    values = label_value_counts(counts, info)
    shifted = _shifted(counts, info)
    cause = _likely_cause(paths, counts, values, info, shifted)
    if values.counted == 0:
        raise (UserError if values.unknown else NoLabels)(
            f"{paths[0]}: no pixel has a class of {info.name}, in this label and {len(paths) - 1} "
            f"others ({_named(counts)}); {cause or 'they are of another encoding'}; check {flag}"
        )
    one_class = len(values.classes) == 1 and len(set(info.label_to_train.values())) > 1
    if values.unknown > values.counted or (values.unknown and one_class) or shifted:
        logger.warning(
            "%s and %d other labels: %.1f %% of the pixels have values that %s does not know (%s), "
            "and are ignored; %s; check %s",
            paths[0],
            len(paths) - 1,
            100 * values.unknown / counts.sum(),
            info.name,
            ", ".join(map(str, values.frequent_unknown)),
            cause or "they may be of another encoding",
            flag,
        )
    elif other := _other_ids(paths, each, info):
        logger.warning("%s; check %s", other, flag)
    elif cause:
        logger.warning(
            "%s and %d other labels: %s; check %s", paths[0], len(paths) - 1, cause, flag
        )
    elif odd := _ids_in_blue(paths, each, info) or _odd_ones(paths, each, info):
        logger.warning("%s; check %s", odd, flag)
    else:
        if few := _few_classes(paths, each, values.classes, info):
            logger.warning("%s; check %s", few, flag)
        return right_palettes
    return False


def _likely_cause(
    paths: list[str], counts: np.ndarray, values: LabelValues, info: DatasetInfo, shifted: str
) -> str:
    """Why these labels seem to be wrong, where :func:`_shifted` says ``shifted``; "" if unknown."""
    if info.label_reader in ("red16", "red8") and values.counted <= values.unknown + values.ignored:
        for channel in (2, 1):
            counted = label_value_counts(_count_each(paths, info, channel).sum(0), info).counted
            if counted > counts.sum() / 2:
                swapped = "; red and blue are swapped" if channel == 2 else ""
                return (
                    f"the class ids are in the {CHANNELS[channel]} channel, not the red{swapped}: "
                    "save the labels again in the order red, green, blue"
                )
    if _look_like_train_ids(counts, values, info):
        return (
            f"these look like train ids (0 to {len(info.class_names) - 1} and 255), where label "
            "ids are expected: take the files with label ids, or describe these as a dataset of "
            "their own"
        )
    if shifted:
        return shifted
    if instances := _instances(counts, info):
        return instances
    known = {*info.known_ids, 0, IGNORE, IDS - 1}
    if info.label_reader != "rgb" and has_mixed_values(
        paths, lambda path: read_label_ids(path, info), known
    ):
        return (
            "at many borders lies a value between those of both sides, or of no class, as in "
            "photos, or where labels were resized or turned with interpolation, or once saved as "
            "JPEG; nobody drew these pixels: make the labels anew from the originals, by nearest "
            "neighbour (fine steps of one quantity, such as heights, are no fault)"
        )
    if value := _without_class(counts, info):
        return value
    if values.counted == values.unknown == 0:
        return "all of it is ignored"
    return ""


def _look_like_train_ids(counts: np.ndarray, values: LabelValues, info: DatasetInfo) -> bool:
    """Whether labels hold train ids, though the dataset's label ids are others.

    Then nothing lies outside of 0..classes - 1 and 255, and read as label ids some classes would be
    absent or values unknown, and many pixels of no class: half, if most train ids occur, or one in
    20, if 255 occurs and is no label id. An ignored value of most pixels is left aside: labels may
    be scribbles.
    """
    classes = len(info.class_names)
    seen = counts.nonzero()[0]
    train_ids = seen[seen != IGNORE]
    odd = counts[IGNORE] > 0 and IGNORE not in info.known_ids
    if (train_ids >= classes).any() or len(train_ids) < (2 if odd else max(2, classes / 2)):
        return False
    if np.array_equal(info.train_id_table[train_ids], train_ids):
        return False
    if not values.unknown and values.classes == info.present_classes:
        return False
    total = int(counts.sum() - counts[IGNORE])
    void = int(counts[[i for i in info.ignored_ids if i < classes]].max(initial=0))
    total -= void if 2 * void > total else 0
    return values.counted < (0.95 if odd else 0.5) * total


def _shifted(counts: np.ndarray, info: DatasetInfo) -> str:
    """How labels seem to be numbered if not from the number that the dataset's label ids start at.

    Then many pixels have unknown values, and one lower or higher all are known, and more classes
    occur. 255, which often means ignored, is left aside.
    """
    counts = np.where(np.arange(IDS) == IGNORE, 0, counts)
    values = label_value_counts(counts, info)
    if values.unknown > SHIFTED_SHARE * counts.sum():
        for shift, name in ((-1, "high"), (1, "low")):
            moved = label_value_counts(np.roll(counts, shift), info)
            if moved.unknown == 0 and len(moved.classes) > len(values.classes):
                return (
                    f"each seems to be one too {name} for label_to_train in info.json (a value to "
                    "ignore belongs there, too, as 255)"
                )
    return ""


def _instances(counts: np.ndarray, info: DatasetInfo) -> str:
    """How labels seem to hold instance numbers beside label ids; "" if nothing says so.

    Then values beyond all label ids are, but for the number, those of classes.
    """
    values = np.flatnonzero(counts)
    values = values[(values > max(IGNORE, *info.known_ids)) & (values < IDS - 1)]  # -1 of 16 bits
    for factor in sorted(INSTANCES, key=lambda factor: (values % factor).sum()):  # small numbers
        have_class = np.isin(values // factor, list(info.label_to_train))
        if 2 * counts[values[have_class]].sum() > counts[values].sum():
            example = values[have_class][0]
            return (
                f"values such as {example} seem to be {factor} x label id {example // factor} + an "
                "instance's number, and are ignored: take the files with label ids alone"
            )
    return ""


def _without_class(counts: np.ndarray, info: DatasetInfo) -> str:
    """Which value no class has, where a class has no value; "" if nothing is left over.

    0 and 255, which often mean ignored, are left aside.
    """
    classes = {*info.label_to_train.values(), *info.missing_classes}
    unused = [name for train_id, name in enumerate(info.class_names) if train_id not in classes]
    listed = _among({*info.label_to_train, *info.ignored_ids, 0, IGNORE})
    values = np.where(listed, 0, counts)
    if not unused or not values.any():
        return ""
    return (
        f"value {values.argmax()} is no label id of label_to_train in info.json, and none is class "
        f"{unused[0]}: add what it means, a class or 255"
    )


def _ids_in_blue(paths: list[str], each: np.ndarray, info: DatasetInfo) -> str:
    """Which labels, not all, have classes in their blue channel alone; "" if none does."""
    if info.label_reader not in ("red16", "red8"):
        return ""
    has_class = _among(info.label_to_train)
    empty = [path for path, counts in zip(paths, each, strict=True) if not counts[has_class].any()]
    if not empty:
        return ""
    blue = _count_each(empty, info, channel=2)
    shares = blue[:, has_class].sum(1) / blue.sum(1)
    found = [path for path, share in zip(empty, shares, strict=True) if share > 1 / 2]
    if not found:
        return ""
    return (
        f"{found[0]}: the class ids are in the blue channel, not the red as in other labels; "
        f"{len(found)} of {len(paths)} labels looked at are such and are ignored throughout: save "
        "them again in the order red, green, blue"
    )


def _odd_ones(paths: list[str], each: np.ndarray, info: DatasetInfo) -> str:
    """Which labels mostly have unknown values that the others do not have; "" if none does.

    0 and 255, which often mean ignored, are left aside.
    """
    strange = np.where(_among({*info.known_ids, 0, IGNORE}), 0, each)
    counted = each[:, _among(info.label_to_train)].sum(1)
    usual = strange[strange.sum(1) <= counted].any(0)
    strange[:, usual] = 0
    odd = np.flatnonzero(strange.sum(1) > counted)
    if not 0 < len(odd) < len(paths):
        return ""
    values = np.flatnonzero(strange[odd[0]])[:EXAMPLES]
    return (
        f"{paths[odd[0]]}: most of its pixels have values that {info.name} does not know and other "
        f"labels do not have ({', '.join(map(str, values))}), and are ignored; {len(odd)} of "
        f"{len(paths)} labels looked at are such: save them as the others"
    )


def _other_ids(paths: list[str], each: np.ndarray, info: DatasetInfo) -> str:
    """Which labels, not all, seem to hold train ids, or label ids where train ids are expected."""
    name, odd = ("", []) if info.label_reader == "rgb" else find_other_ids(each, info)
    if not odd:
        return ""
    return (
        f"{paths[odd[0]]}: seems to hold {name}, unlike other labels; read as {info.name}, its "
        f"classes are others than theirs ({len(odd)} of {len(paths)} labels looked at are such): "
        "save it as the others"
    )


def _few_classes(paths: list[str], each: np.ndarray, classes: list[int], info: DatasetInfo) -> str:
    """That labels have one of ``classes`` alone, or most of them none; "" otherwise."""
    with_class = each[:, _among(info.label_to_train)].any(1)
    void = np.flatnonzero(~with_class)
    if 2 * len(void) > len(paths):
        return (
            f"{paths[void[0]]}: every pixel is ignored, and so it is in {len(void)} of "
            f"{len(paths)} labels looked at; leave out images that nobody has labelled"
        )
    beside = ""
    if IGNORE not in info.known_ids and each[:, IGNORE].sum() > SHIFTED_SHARE * each.sum():
        beside = f", beside a value that {info.name} does not know (255)"
    if (len(paths) > 1 or beside) and len(classes) == 1 < len(info.present_classes):
        return (
            f"{paths[0]} and {len(paths) - 1} other labels: {info.class_names[classes[0]]} is the "
            f"only class that occurs{beside}"
        )
    return ""


def _among(ids: Collection[int]) -> np.ndarray:
    """(65536,) bool: the label ids that are among some."""
    return np.isin(np.arange(IDS), list(ids))


def _count_each(paths: list[str], info: DatasetInfo, channel: int = 0) -> np.ndarray:
    """(n, 65536) int64: pixels of each label id, by label."""
    return np.stack(map_files(lambda path: value_counts(path, info, channel), paths))


def _named(counts: np.ndarray) -> str:
    """The most frequent values."""
    frequent = np.argsort(-counts, kind="stable")[: min(EXAMPLES, np.count_nonzero(counts))]
    return f"most frequent values {', '.join(map(str, frequent.tolist()))}"

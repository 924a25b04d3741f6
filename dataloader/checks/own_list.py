"""A data root's own list, compared with what its dataset's ``info.json`` says.

A list that was made before that file was changed, or by another dataset with the same root, is read
without any error: of other images, labels or superpixel maps than the user has just named.
"""

import logging
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from dataloader.dataset_info import DatasetInfo, excluded_numbers
from dataloader.item import Item, image_key
from dataloader.path_templates import Names, fill, parse
from dataloader.scan import grown, own_files, same_name
from utils.errors import shown

log = logging.getLogger(__name__)


def check_own_list(
    path: Path, items: Sequence[Item], info: DatasetInfo, root: str | Path, split: str, label: bool
) -> None:
    """Warn if a root's own list names other files than the dataset's templates, or lacks images.

    Args:
        path: the list.
        items: what it holds, with absolute paths.
        info, root, split: as :func:`dataloader.scan.scan` takes them.
        label: whether labels matter.
    """
    below = os.path.join(os.path.abspath(root), "")
    items = [Item(*(path.removeprefix(below) for path in item)) for item in items]
    names = [parse(info.image, info.splits.get(split, ""), i.image, any_suffix=True) for i in items]
    warn_of_idle_exclusions(info, root, {name.stem for name in names if name})
    excluded = {i for i, n in zip(items, names, strict=True) if n and n.stem in info.excluded_stems}
    if excluded:
        log.warning(
            "%s lists %d images that %s excludes, the first %s; remove it to list anew",
            *(path, len(excluded), info.path, shown(min(excluded).image)),
        )
        items = [item for item in items if item not in excluded]
    if there := grown(info, root, split, items):
        log.warning(
            "%s lists %d of %d images that are there; remove it to list all",
            *(path, len(items), there),
        )
    if split not in info.splits:
        return
    differ: dict[str, list[str]] = {}
    for item in items:
        if column := _differing(item, info, info.splits[split], Path(root), label):
            differ.setdefault(column, []).append(getattr(item, column))
    for column, names in differ.items():
        if 2 * len(names) <= len(items):
            continue  # a user's own additions
        template = fill(getattr(info, column), info.splits[split], Names("*", "*"))
        log.warning(
            "%s: its %s %s is not like %s, as %s says (%d of %d images); remove the list if an "
            "earlier version of that file made it; if another dataset did, each needs a list of "
            "its own (make_datalist.py --out, then --datalist and the like)",
            *(path, column, shown(names[0]), template, info.path, len(names), len(items)),
        )


def warn_of_idle_exclusions(info: DatasetInfo, root: str | Path, stems: Collection[str]) -> None:
    """Warn of an entry of ``exclude`` that is no image's stem, but the number in one's name.

    Other entries without an image may be for another split, or another root.
    """
    found = [(re.search(r"([0-9]+)[^0-9]*$", stem), stem) for stem in sorted(stems)]
    numbered = [(int(number[1]), stem) for number, stem in found if number]
    for entry in info.exclude:
        numbers = excluded_numbers(entry)
        near = [stem for number, stem in numbered if number in numbers]
        if near and info.excluded_stems.isdisjoint(near):
            log.warning(
                '%s: exclude has "%s", which leaves out no image in %s; one is named %s: give all '
                "that {stem} stands for, with its zeros, or move the image away",
                *(info.path, entry, root, shown(near[0])),
            )
            return


def unlisted_label(items: Sequence[Item], info: DatasetInfo, root: str | Path, split: str) -> str:
    """The first label, relative to the root, that is there though its image's list names none."""
    text = info.splits.get(split, "")
    for item in items:
        own = None if item.label else own_files(info, text, image_key(item, root))
        if own and Path(root, own.label).is_file():
            return own.label
    return ""


def _differing(item: Item, info: DatasetInfo, text: str, root: Path, label: bool) -> str:
    """The first column of an item, with relative paths, that the templates do not give.

    Images outside the root are passed, and so are labels where that of the template is not there.
    """
    if os.path.isabs(item.image):  # noqa: PTH117 - of many names
        return ""
    own = own_files(info, text, item.image)
    if not own:
        return "image"
    other_label = label and item.label and not same_name(item.label, own.label)
    if other_label and (root / own.label).is_file():
        return "label"
    if item.superpixel and not same_name(item.superpixel, own.superpixel):
        return "superpixel"
    return ""

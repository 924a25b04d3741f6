"""Whose label is it: lists in which an image has the label of another one.

A list whose columns were sorted differently, or shifted by a row, is read without any error, and
the network learns noise from it. The names tell, where they are those of the dataset's templates,
and they tell of columns in another order. Domains that share images or labels are told of here,
too.
"""

import filecmp
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from dataloader.checks.files import spread
from dataloader.dataset_info import DatasetInfo
from dataloader.item import Item
from dataloader.path_templates import fill, parse
from dataloader.scan import own_files
from utils.errors import UserError, WrongColumns, shown
from utils.files import map_files

log = logging.getLogger(__name__)

LINES = 32  # of a list, whose columns are looked at
PIECE = 4096  # bytes of a file that may be a copy
COMPARED = 4  # files that seem to be copies, which stand for all if they are


class _File(NamedTuple):
    """What tells a file from all others, the same for all links to it.

    Size and time are for file systems, as of some networks, whose inode numbers are not unique.
    """

    device: int | str  # the path, if it is absent or has no inode number
    inode: int
    size: int
    time: int


def check_pairing(items: Sequence[Item], info: DatasetInfo, root: str | Path) -> None:
    """Look for images that have the label of another image; images of free names pass.

    Warnings tell of labels that by their names are another's, as the names of a user's own list may
    follow another rule, and of a label of several images, as foggy copies of one picture have it.

    Args:
        items: the images of a list, with absolute paths.
        info: the dataset, whose templates say which label belongs to an image.
        root: the data root, that the templates begin at.

    Raises:
        UserError: several images share a label though each of them has its own, or an image is its
            own label.
    """
    items = [item for item in items if item.label]
    for item in items:
        if item.label == item.image:
            raise UserError(
                f"{shown(item.image)}: is its own label in its list; mend the second column"
            )
    own = {item.image: _own_label(item.image, info, os.path.abspath(root)) for item in items}
    owners = {_body(label): image for image, label in own.items() if label}
    listed = {_body(item.label) for item in items}
    wrong, users, shared = [], {}, []
    for item in items:
        label, body = own[item.image], _body(item.label)
        if label and _body(label) != body and (_body(label) in listed or Path(label).is_file()):
            owner = owners.get(body) or _owner(item, info, os.path.abspath(root))
            wrong += [(item, owner)] if owner else []
        first = users.setdefault(item.label, item)
        if first is not item:
            shared.append((first, item))
    taken = {item.image for pair in shared for item in pair}
    if wrong:
        surely = [pair for pair in wrong if pair[0].image in taken and pair[1] in own]
        item, owner = (surely or wrong)[0]
        what = (
            f"{shown(item.image)}: its list gives it the label {shown(item.label)}, which by its "
            f"name is that of {shown(owner)}, though {shown(own[item.image])} is there"
        )
        if surely:
            raise UserError(f"{what}; several images share this label: mend the list")
        log.warning(
            "%s (%d of %d images are such); sort the columns alike, unless the names are meant so",
            *(what, len(wrong), len(items)),
        )
    elif shared:
        first, second = shared[0]
        log.warning(
            "%s and %s have one label, %s (%d of %d images share one); this is right only for "
            "copies of the same picture",
            *(shown(first.image), shown(second.image), shown(first.label), len(taken), len(items)),
        )


def check_columns(
    path: str | Path, items: Sequence[Item], info: DatasetInfo, root: str | Path
) -> None:
    """Look for columns in another order; names that are not of the dataset's templates pass.

    Args:
        path: the list.
        items, info, root: as :func:`check_pairing` takes them.

    Raises:
        WrongColumns: by the names in all lines looked at, columns have changed places.
    """
    below = os.path.join(os.path.abspath(root), "")
    orders = {
        tuple(_column_of(name.removeprefix(below), info) for name in item)
        for item in spread(items, LINES)
    }
    order = orders.pop()
    roles = list(filter(None, order))
    moved = sum(role not in ("", own) for role, own in zip(order, Item._fields, strict=True))
    if not orders and moved > 1 and len(set(roles)) == len(roles):
        raise WrongColumns(
            f"{path}: by the names that {info.path} gives, its columns are "
            f"{', '.join(role or '?' for role in order)}; expected {', '.join(Item._fields)}: put "
            "them in this order"
        )


def check_apart(domains: Mapping[str, Sequence[Item]]) -> None:
    """Warn of images of two domains, whose mIoU says nothing about new ones, and of their labels.

    Links to an image are that image, and so are copies of its file.

    Args:
        domains: images by the prefix of their flags: src, trg or val.
    """
    files = {
        prefix: dict(zip(images, map_files(_file, images), strict=True))
        for prefix, images in ((p, [i.image for i in items]) for p, items in domains.items())
    }
    alike = _alike(files.values())
    for one, other in combinations(domains, 2):
        _warn_of_shared(one, files[one], other, files[other], alike)
        _warn_of_one_label(one, domains[one], other, domains[other])


def _warn_of_shared(
    one: str,
    known: Mapping[str, _File],
    other: str,
    files: Mapping[str, _File],
    alike: Mapping[str, bytes],
) -> None:
    """Warn of images of one domain that are another's, or copies of them."""
    of_one = set(known.values())
    copies = _copies(known, files, alike)
    shared = [image for image, file in files.items() if file in of_one or image in copies]
    if not shared:
        return
    first = shared[0]
    what = "" if files[first] in of_one else f", a copy of {shown(copies[first])}"
    log.warning(
        "%d of %d images of --%s_data_dir are among those of --%s_data_dir, first %s%s: %s",
        *(len(shared), len(files), other, one, shown(first), what),
        "mIoU is measured on images that are trained on; name others for validation"
        if other == "val"
        else "there is nothing to adapt to, and their labels are known; name the camera's",
    )


def _warn_of_one_label(one: str, known: Sequence[Item], other: str, items: Sequence[Item]) -> None:
    """Warn of a label that images of two domains have."""
    owners = {item.label: item.image for item in known if item.label}
    twice = [item for item in items if owners.get(item.label, item.image) != item.image]
    if twice:
        log.warning(
            "%s of --%s_data_dir and %s of --%s_data_dir have one label, %s (%d images share "
            "one); this is right only for copies of the same picture: else see whether label in "
            "info.json lacks {split}",
            *(shown(twice[0].image), other, shown(owners[twice[0].label]), one),
            *(shown(twice[0].label), len(twice)),
        )


def _column_of(path: str, info: DatasetInfo) -> str:
    """The column whose template gives a path, the longest if several do; "" if none does."""
    fitting = [
        column
        for column in Item._fields
        for text in dict.fromkeys(info.splits.values())
        if parse(getattr(info, column), text, path, any_suffix=True)
    ]
    return max(fitting, key=lambda column: len(Path(getattr(info, column)).stem), default="")


def _own_label(image: str, info: DatasetInfo, root: str) -> str:
    """The label that the templates give for an image; empty if it is not named by them."""
    below = os.path.join(root, "")
    if image.startswith(below):
        for text in dict.fromkeys(info.splits.values()):
            if own := own_files(info, text, image.removeprefix(below)):
                return below + own.label
    return ""


def _owner(item: Item, info: DatasetInfo, root: str) -> str:
    """The image, perhaps of another split, that an item's label is of by its name; "" if none is.

    It is there, and has the suffix of the item's own image.
    """
    below = os.path.join(root, "")
    for text in dict.fromkeys(info.splits.values()):
        path = item.label.removeprefix(below)
        if names := parse(info.label, text, path, any_suffix=True):
            image = Path(root, fill(info.image, text, names)).with_suffix(Path(item.image).suffix)
            if str(image) != item.image and image.is_file():
                return str(image)
    return ""


def _file(path: str) -> _File:
    with suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - of many names
        device = found.st_dev if found.st_ino else path
        return _File(device, found.st_ino, found.st_size, found.st_mtime_ns)
    return _File(path, 0, 0, 0)


def _alike(domains: Iterable[Mapping[str, _File]]) -> dict[str, bytes]:
    """:func:`_pieces` of each image whose size images of another domain have, too."""
    sizes = Counter(
        size for files in domains for size in {file.size for file in files.values()} if size
    )
    images = [image for files in domains for image, file in files.items() if sizes[file.size] > 1]
    return dict(zip(images, map_files(_pieces, images), strict=True))


def _pieces(path: str) -> bytes:
    """A digest of a file's size, start, middle and end."""
    digest = hashlib.blake2b(digest_size=16)
    with suppress(OSError), Path(path).open("rb") as file:  # is told of where it is read
        size = file.seek(0, os.SEEK_END)
        digest.update(b"%d " % size)
        for start in (0, (size - PIECE) // 2, size - PIECE):
            file.seek(max(0, start))
            digest.update(file.read(PIECE))
    return digest.digest()


def _copies(
    known: Mapping[str, _File], files: Mapping[str, _File], alike: Mapping[str, bytes]
) -> dict[str, str]:
    """Which of some images are copies of known ones: copy -> original."""
    originals = {alike[image]: image for image in known if image in alike}
    pairs = [(image, originals.get(alike.get(image))) for image in files]
    pairs = [pair for pair in pairs if pair[1]]
    if not all(_same_bytes(*pair) for pair in spread(pairs, COMPARED)):
        pairs = [pair for pair in pairs if _same_bytes(*pair)]
    return dict(pairs)


def _same_bytes(path: str, other: str) -> bool:
    with suppress(OSError):
        return filecmp.cmp(path, other, shallow=False)
    return False


def _body(path: str) -> str:
    return os.path.splitext(path)[0]  # noqa: PTH122 - of many names

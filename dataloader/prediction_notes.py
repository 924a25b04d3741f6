"""What lies beside predictions and in them to tell what they are, and checks by it.

``inference.json`` in their folder has the names of the classes, and tells of the last run that
wrote there. The PNG comment of each prediction tells which network made it.
"""

import filecmp
import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataloader.checks.files import spread
from dataloader.checks.mixed_values import has_mixed_values
from dataloader.checks.palettes import check_prediction_palettes
from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.image_files import open_image
from dataloader.images import read_train_ids
from dataloader.item import Item
from dataloader.provenance import note_of
from utils.errors import UserError, shown
from utils.files import map_files, read_json, write_json
from utils.metrics import padded_names

log = logging.getLogger(__name__)

NOTES = "inference.json"
TOLD = 32  # images that the notes name
TAIL = 1 << 18  # bytes at the end of a checkpoint, where the check sums of its tensors are
NETWORK = re.compile(r"^inference\.py, network=(\w+)$")


def write_notes(
    folder: Path,
    info: DatasetInfo,
    images: Mapping[Path, str],
    checkpoint: Mapping[str, str],
    label_ids: bool,
    finished: bool,
) -> None:
    """Write what the predictions in a folder are, beside them.

    Args:
        folder: of the predictions.
        info: whose classes are predicted.
        images: prediction -> its image; some, spread over all, are named.
        checkpoint: of the network that predicts, see :func:`state_of`.
        label_ids: whether predictions hold label ids, which are not the train ids.
        finished: False before the first is written, True after the last.
    """
    notes = {
        "dataset": info.name,
        "class_names": info.class_names,
        "values": "label ids" if label_ids else "train ids",
        "finished": finished,
        "checkpoint": dict(checkpoint),
        "images": {
            os.path.relpath(path, folder): image
            for path, image in spread(list(images.items()), TOLD)
        },
    }
    write_json(folder / NOTES, notes)


def check_predictions(
    folder: Path, paths: Sequence[Path], items: Sequence[Item], info: DatasetInfo
) -> None:
    """Make sure that predictions are of a dataset's classes and images, as far as files tell.

    Args:
        folder: of the predictions; those of other programs have no notes.
        paths: the predictions.
        items: their images.
        info: the dataset.

    Raises:
        UserError: names the first class that differs, or a file with another palette; or label ids
            were predicted.
    """
    file, notes = folder / NOTES, _read_notes(folder)
    names = notes.get("class_names")
    if isinstance(names, list):
        for number, (theirs, ours) in enumerate(zip(names, info.class_names, strict=False)):
            if theirs != ours:
                raise UserError(
                    f"{shown(file)}: class {number} of these predictions is {theirs}, that of "
                    f"{info.name} is {ours}; name the dataset whose classes were predicted"
                )
        own = padded_names(info.class_names, len(names))  # of outputs beyond the classes
        if len(own) > len(names) or own != names:
            log.warning(
                "%s: these predictions are of %d classes, %s has %d; those that one lacks count as "
                "wrong, or not at all; name the dataset whose classes were predicted",
                *(shown(file), len(names), info.name, len(info.class_names)),
            )
    if notes.get("values") == "label ids":
        raise UserError(
            f"{shown(file)}: these predictions are label ids; run inference.py without "
            "--label_ids, with another --save_dir"
        )
    if notes.get("finished") is False:
        log.warning(
            "%s: inference.py has not come to its end there, and some predictions may be those of "
            "a run before; run it again",
            folder,
        )
    _warn_of_newer_checkpoint(folder, notes.get("checkpoint"))
    if isinstance(notes.get("images"), dict):
        taken = {path: item.image for path, item in zip(paths, items, strict=True)}
        if other := _first_other(folder, notes["images"], taken):
            log.warning(
                "%s: was predicted from %s, which is not %s; check --pred_dir and the images",
                *map(shown, other),
            )
    _warn_of_networks(paths)
    check_prediction_palettes(list(map(str, paths)), info)
    train_ids = {*range(info.num_classes), IGNORE}
    if has_mixed_values(paths, read_train_ids, train_ids):
        log.warning(
            "%s: at many borders of the predictions lies a value between those of both sides, as "
            "where they were resized with interpolation; these pixels are of other classes: resize "
            "by nearest neighbour (fine steps of one quantity, such as heights, are no fault)",
            folder,
        )


def note_of_network(digest: str) -> str:
    """The PNG comment of a prediction by the network of this digest."""
    return f"inference.py, network={digest}"


def _network_of(path: Path) -> str:
    """The digest of the network that made a prediction; "" if its comment tells of none."""
    with open_image(path) as stored:
        found = NETWORK.search(note_of(stored))
    return found[1] if found else ""


def _warn_of_networks(paths: Sequence[Path]) -> None:
    """Warn if predictions, which can be read, were made by several networks.

    Those that other programs wrote, or people mended, do not tell.
    """
    made = dict(zip(paths, map_files(_network_of, paths), strict=True))
    first: dict[str, Path] = {}
    for path, network in made.items():
        if network:
            first.setdefault(network, path)
    if len(first) > 1:
        one, other, *_ = first.values()
        count = sum(network == made[other] for network in made.values())
        log.warning(
            "%s and %s were predicted by different checkpoints (as the second, %d of %d); run "
            "inference.py for all images again, or remove those of one",
            *(shown(one), shown(other), count, len(paths)),
        )


def state_of(checkpoint: str) -> dict[str, str]:
    """What tells a checkpoint from a later one in its place."""
    return {"path": os.path.abspath(checkpoint), "state": _tail(checkpoint)}


def _tail(checkpoint: str) -> str:
    """A digest of the end of a checkpoint's file; "" if it cannot be read."""
    with suppress(OSError), Path(checkpoint).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return hashlib.blake2b(file.read(), digest_size=8).hexdigest()
    return ""


def _warn_of_newer_checkpoint(folder: Path, told: Any) -> None:
    """Warn if the file of the network that predicted, as the notes tell it, has changed since."""
    path, state = (told.get(k) for k in ("path", "state")) if isinstance(told, dict) else ("", "")
    if not (isinstance(path, str) and state and Path(path).is_file()):
        return  # on another machine, or moved
    if _tail(path) not in ("", state):
        log.warning(
            "%s: predicted by %s, which has changed since; run inference.py again if it was "
            "trained anew",
            *(folder, shown(path)),
        )


def warn_of_replaced(folder: Path, images: Mapping[Path, str]) -> None:
    """Warn of predictions of other images that a run is going to replace, by the notes beside them.

    Args:
        folder: of the predictions.
        images: prediction -> its image.
    """
    notes: dict[str, Any] = {}
    with suppress(UserError):  # damaged ones are replaced, too
        notes = _read_notes(folder)
    if isinstance(notes.get("images"), dict):
        before = {name: i for name, i in notes["images"].items() if (folder / name).is_file()}
        if other := _first_other(folder, before, images):
            log.warning(
                "%s: was predicted from %s, and is replaced by the prediction of %s; another "
                "--save_dir keeps both",
                *map(shown, other),
            )


def _read_notes(folder: Path) -> dict[str, Any]:
    """What :func:`write_notes` left beside predictions; {} if nothing."""
    file = folder / NOTES
    notes = read_json(file, "run inference.py again") if file.is_file() else None
    return notes if isinstance(notes, dict) else {}


def _first_other(
    folder: Path, before: Mapping[str, Any], now: Mapping[Path, str]
) -> tuple[Path, str, str] | None:
    """The first prediction that was made of another image than it is taken for, and both images.

    Args:
        folder: of the predictions.
        before: prediction below ``folder`` -> image, as the notes name them.
        now: prediction -> image that it is taken for.
    """
    for name, image in before.items():
        other = now.get(folder / name, image)
        if not isinstance(image, str) or image == other:
            continue
        with suppress(OSError):  # on another machine, or moved
            if not filecmp.cmp(image, other, shallow=False):
                return folder / name, image, other
    return None

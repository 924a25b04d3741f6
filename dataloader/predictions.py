"""Where the prediction of an image lies: one rule for all that write or read predictions.

A prediction is ``<file name>`` of its image with the suffix ``.png``. Images of a list lie side by
side in one folder, unless two of them have the same name: then the folders of the data root are
mirrored, as those of ``inference.py --image_dir`` always are. Where a JPEG and a PNG of one folder
differ in the suffix alone, the prediction of the JPEG is ``<file name>.jpg.png``. inference.json in
the folder has the names of the classes, and tells of the last run that wrote there. The PNG comment
of each prediction tells which network made it.
"""

import filecmp
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.file_checks import spread
from dataloader.image_files import open_image
from dataloader.images import read_train_ids
from dataloader.item import Item, shown
from dataloader.mixed_values import has_mixed_values
from dataloader.palette_check import check_prediction_palettes
from dataloader.provenance import note_of
from utils.errors import UserError
from utils.files import read_json, write_json
from utils.metrics import padded_names

log = logging.getLogger(__name__)

NOTES = "inference.json"
TOLD = 32  # images that the notes name
NETWORK = re.compile(r"^inference\.py, network=(\w+)$")


def color_path(target: Path) -> Path:
    """Where the coloured picture of a prediction goes."""
    return target.with_name(f"{target.stem}_color.png")


def overlay_path(target: Path) -> Path:
    """Where a prediction drawn over its image goes."""
    return target.with_name(f"{target.stem}_overlay.png")


def flat_targets(items: Sequence[Item], folder: Path) -> list[Path] | None:
    """Predictions side by side in ``folder``; None if two images would share one."""
    names = [f"{Path(item.image).stem}.png" for item in items]
    return [folder / name for name in names] if len(set(names)) == len(names) else None


def mirrored_targets(items: Sequence[Item], root: str | Path, folder: Path) -> list[Path]:
    """Predictions below ``folder`` in the folders that the images have below ``root``."""
    images = [Path(item.image) for item in items]
    taken = Counter((image.parent, image.stem) for image in images)
    targets = []
    for image in images:
        alone = taken[image.parent, image.stem] == 1 or image.suffix == ".png"
        name = f"{image.stem}.png" if alone else f"{image.name}.png"
        targets.append(folder / os.path.relpath(image.parent, root) / name)
    return targets


def list_targets(items: Sequence[Item], root: str | Path, folder: Path) -> list[Path]:
    """Where predictions of a list are written: side by side if their names allow it.

    Args:
        items: images of a list, with absolute paths.
        root: the data root.
        folder: of the predictions.
    """
    common = os.path.commonpath([os.path.abspath(root), *(Path(i.image).parent for i in items)])
    return flat_targets(items, folder) or mirrored_targets(items, common, folder)


def find_predictions(items: Sequence[Item], folder: Path) -> list[Path]:
    """Where ``inference.py`` wrote the predictions of these images, by a list or --image_dir.

    Raises:
        UserError: some are missing, or the folder holds them in two places.
    """
    complete: dict[tuple[Path, ...], None] = {}
    best, fewest = [], len(items) + 1
    for targets in _layouts(items, folder):
        missing = [target for target in targets if not target.is_file()]
        if not missing:
            complete[tuple(targets)] = None
        elif len(missing) < fewest:
            best, fewest = missing, len(missing)
    if not complete:
        raise UserError(
            f"{folder}: no prediction of {fewest} of {len(items)} images, the first "
            f"{shown(best[0])}; run inference.py with --save_dir {folder}"
        )
    if len(complete) > 1:
        first, second = (shown(targets[0]) for targets in list(complete)[:2])
        raise UserError(
            f"{folder}: predictions of two runs, {first} and {second}; remove those of one"
        )
    return list(next(iter(complete)))


def check_targets(
    items: Sequence[Item], written: Sequence[Sequence[Path]], label_ids: bool
) -> None:
    """Raise a :class:`UserError` if an output would overwrite an input or another output.

    Label ids beside coloured images of an earlier run are refused, too: the official Cityscapes
    script would find two predictions for one image.

    Args:
        items: images to predict.
        written: the files that are written for each image, its prediction first.
        label_ids: True if predictions are label ids.
    """
    kinds = ("an image", "a label", "a superpixel map")
    seen = {
        os.path.realpath(path): kind
        for item in items
        for path, kind in zip(item, kinds, strict=True)
        if path
    }
    for paths in written:
        pictures = [p for p in (color_path(paths[0]), overlay_path(paths[0])) if p.exists()]
        if label_ids and pictures:
            raise UserError(
                f"{shown(pictures[0])}: there are predictions of another run; "
                "choose another --save_dir for --label_ids"
            )
        for path in paths:
            real = os.path.realpath(path)
            if real in seen:
                raise UserError(
                    f"{shown(path)}: would overwrite {seen[real]}; see --save_dir, or rename"
                )
            seen[real] = "another prediction"


def write_notes(
    folder: Path,
    info: DatasetInfo,
    images: Mapping[Path, str],
    label_ids: bool,
    finished: bool,
) -> None:
    """Write what the predictions in a folder are, beside them.

    Args:
        folder: of the predictions.
        info: whose classes are predicted.
        images: prediction -> its image; some, spread over all, are named.
        label_ids: whether predictions hold label ids, which are not the train ids.
        finished: False before the first is written, True after the last.
    """
    notes = {
        "dataset": info.name,
        "class_names": info.class_names,
        "values": "label ids" if label_ids else "train ids",
        "finished": finished,
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
    with ThreadPoolExecutor(8) as pool:
        made = dict(zip(paths, pool.map(_network_of, paths), strict=True))
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


def warn_of_overlays(targets: Sequence[Path]) -> None:
    """Warn of pictures of an earlier run, which do not show the predictions beside them."""
    taken = set(targets)
    old = [path for path in map(overlay_path, targets) if path not in taken and path.exists()]
    if old:
        log.warning(
            "%s: is of an earlier run (%d pictures in all); remove them, or give --overlay",
            *(shown(old[0]), len(old)),
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


def _layouts(items: Sequence[Item], folder: Path) -> Iterator[list[Path]]:
    """Where the predictions may be: side by side, or mirrored below any folder above them all."""
    images = [Path(item.image) for item in items]
    common = Path(os.path.commonpath([image.parent for image in images]))
    flat = [folder / image.name for image in images]
    mirrored = ([folder / i.relative_to(top) for i in images] for top in [common, *common.parents])
    for places in [flat, *mirrored]:
        targets = [_at(place) for place in places]
        if len(set(targets)) == len(targets):
            yield targets


def _at(place: Path) -> Path:
    """The prediction of an image whose file name is that of ``place``."""
    whole = place.with_name(f"{place.name}.png")
    if place.suffix != ".png" and whole.is_file():
        return whole
    return place.with_name(f"{place.stem}.png")

"""Where the prediction of an image lies: one rule for all that write or read predictions.

A prediction is ``<file name>`` of its image with the suffix ``.png``. Images of a list lie side by
side in one folder, unless two of them have the same name: then the folders of the data root are
mirrored, as those of ``inference.py --image_dir`` always are. Where a JPEG and a PNG of one folder
differ in the suffix alone, the prediction of the JPEG is ``<file name>.jpg.png``.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dataloader.item import Item
from dataloader.walk import IMAGE_SUFFIXES
from utils.errors import UserError, shown

log = logging.getLogger(__name__)

OTHER_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".npz", ".mat", ".pt")
"""Of files that may be predictions of other programs."""


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
        hint = _other_files(folder) if fewest == len(items) else ""
        raise UserError(
            f"{folder}: no prediction of {fewest} of {len(items)} images, the first "
            f"{shown(best[0])}{hint}; run inference.py with --save_dir {folder}"
        )
    targets = list(next(iter(complete)))
    two = [found[0] for found in complete] if len(complete) > 1 else _of_two_runs(items, targets)
    if two:
        first, second = map(shown, two[:2])
        raise UserError(
            f"{folder}: predictions of two runs, {first} and {second}; remove those of one"
        )
    return targets


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


def warn_of_overlays(targets: Sequence[Path]) -> None:
    """Warn of pictures of an earlier run, which do not show the predictions beside them."""
    taken = set(targets)
    old = [path for path in map(overlay_path, targets) if path not in taken and path.exists()]
    if old:
        log.warning(
            "%s: is of an earlier run (%d pictures in all); remove them, or give --overlay",
            *(shown(old[0]), len(old)),
        )


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


def _of_two_runs(items: Sequence[Item], targets: Sequence[Path]) -> list[Path]:
    """Two predictions of one image: as a JPEG beside a PNG, and since that PNG is gone."""
    images = {Path(item.image) for item in items}
    for item, target in zip(items, targets, strict=True):
        image = Path(item.image)
        png, alone = image.with_suffix(".png"), target.with_name(f"{image.stem}.png")
        if target == alone or not alone.is_file() or png in images:
            continue
        if image.is_file() and not png.is_file():
            return [target, alone]
    return []


def _other_files(folder: Path) -> str:
    """Say what a folder without any prediction holds instead, such as files of other names."""
    if not folder.is_dir():
        return f"; {folder} is no folder"
    other = None
    with suppress(OSError):
        files = sorted(path for place in ("*", "*/*") for path in folder.glob(place))
        other = next((path for path in files if path.suffix.lower() in OTHER_SUFFIXES), None)
    if not other:
        return ""
    where = shown(other.relative_to(folder))
    return f"; there is {where}: predictions are PNG files, .png, with the names of images"


def _at(place: Path) -> Path:
    """The prediction of an image whose file name is that of ``place``."""
    whole = place.with_name(f"{place.name}.png")
    if place.suffix != ".png" and whole.is_file():
        return whole
    return place.with_name(f"{place.stem}.png")

"""The regions that a run selected: where, when, by what, why, and what they turned out to be."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from active_selection.phases import Reason, reasons_path
from annotation.package import MANIFEST, Package
from annotation.selected import read_entries, stored_images, superpixel_of
from dataloader.active_set import ActiveSet
from dataloader.class_counts import majority
from dataloader.item import Item, image_key
from dataloader.relocation import Locator
from experiments.reporting.target import RegionPixels, Target
from utils.errors import UserError, shown
from utils.files import map_files, read_json
from utils.safe_pickle import load_pickle

LABELLED, ASKED = "labelled", "asked"
Region = tuple[str, int]
"""(superpixel path on this machine, region id)."""


class Selection(NamedTuple):
    """How a region came to be selected; None where this is not known."""

    round: int | None = None
    strategy: str | None = None
    score: float | None = None
    reason: Reason = Reason()


class Asked(NamedTuple):
    """How a labelling package names a region: by its number in the picture of an image."""

    number: int
    image: str


@dataclass(frozen=True)
class ChosenRegion:
    """One selected region.

    Attributes:
        item: its image.
        image: path of the image, relative to the data root where it lies below.
        region: its id in the superpixel map.
        state: "labelled", or "asked" while people have not answered.
        selection: how it was selected.
        predicted: name of its predicted class then; None where this is not known.
        pixels: of the region; None if the superpixel map cannot be read.
        label: the class that most of its pixels have; None if it is not known, or all are void.
        by_class: (C + 1,) int64 pixels by class, void last; None where the label is not known.
        asked_as: its name in the labelling package of its round; None where there is none.
    """

    item: Item
    image: str
    region: int
    state: str
    selection: Selection
    predicted: str | None = None
    pixels: int | None = None
    label: str | None = None
    by_class: np.ndarray | None = None
    asked_as: Asked | None = None

    @property
    def void(self) -> int | None:
        """Pixels without a class; None where the label is not known."""
        return None if self.by_class is None else int(self.by_class[-1])


def number_of(datalist: Path) -> int | None:
    """Return the round of a ``datalist_XX.pkl``; None for other names."""
    found = re.fullmatch(r"datalist_(\d{2,})\.pkl", datalist.name)
    return int(found[1]) if found else None


def latest_datalist(folder: Path) -> Path | None:
    """Return the datalist of the last round of a run; None if it has none."""
    found = [path for path in folder.glob("datalist_*.pkl") if number_of(path) is not None]
    return max(found, key=number_of, default=None)


def chosen_regions(datalist: Path, target: Target) -> tuple[list[ChosenRegion], list[Item]]:
    """Return the regions that a datalist has as labelled or asked for, and all target images.

    Rounds, strategies and scores come from the ``*_selection_XX.pkl`` beside it, predicted classes
    from ``AL_record``, numbers for people from the labelling packages. Without selection files, the
    round is that of the first datalist in the folder that has the region, where the datalist of the
    round before is there to compare.

    Args:
        datalist: ``datalist_XX.pkl``, of this project or of the published release.
        target: the target's files; told what could not be read.

    Returns:
        The regions by round, in labelling order, those of unknown rounds last; and the images.

    Raises:
        UserError: a file is damaged, or a selection does not belong to the datalist.
    """
    active = ActiveSet.load(datalist, target.root, target.root, target.moves)
    selections = _selections(datalist, target, _first_rounds(datalist, active, target))
    states = {LABELLED: active.labelled, ASKED: active.asked}
    regions = [
        (path, region, state)
        for state, listed in states.items()
        for path, ids in listed.items()
        for region in ids
    ]
    order = {key: position for position, key in enumerate(selections)}
    regions.sort(key=lambda entry: order.get(entry[:2], math.inf))
    items = {item.superpixel: item for item in active.target}
    pixels, asked_as = _measured(items, active, target), _asked_as(datalist, target)
    chosen = []
    for path, region, state in regions:
        item, selection = items[path], selections.get((path, region), Selection())
        area, by_class = pixels.get((path, region), (None, None))
        chosen.append(
            ChosenRegion(
                item,
                _shown_path(item, target.root),
                region,
                state,
                selection,
                target.class_name(selection.reason.pseudo_class),
                area,
                target.class_name(None if by_class is None else majority(by_class)),
                by_class,
                asked_as.get((selection.round, path, region)),
            )
        )
    return chosen, active.target


def _shown_path(item: Item, root: str) -> str:
    key = image_key(item, root)
    return item.image if key.startswith("../") else key


def _measured(
    items: dict[str, Item], active: ActiveSet, target: Target
) -> dict[Region, RegionPixels]:
    """The pixels of all labelled and asked regions, as far as files can be read."""
    domain = target.domain(list(items.values()))
    oracle = target.oracle(domain)

    def measure(path: str) -> dict[int, RegionPixels]:
        item, mask = items[path], domain.mask(items[path])
        labelled = target.measure(item, mask, oracle, active.labelled.get(path, ()))
        asked = active.asked.get(path)
        return labelled | (target.measure(item, mask, None, asked) if asked else {})

    paths = [path for path in items if path in active.labelled or path in active.asked]
    counted = zip(paths, map_files(measure, paths), strict=True)
    return {(path, region): one for path, found in counted for region, one in found.items()}


def _asked_as(datalist: Path, target: Target) -> dict[tuple[int | None, str, int], Asked]:
    """(round, superpixel path, region id) -> how the package of the round names the region."""
    locate, found = Locator(target.root, target.moves, datalist), {}
    for path in (datalist.parent / "annotation").glob(f"round_*/{MANIFEST}"):
        name = re.fullmatch(r"round_(\d{2,})", path.parent.name)
        for image in Package.load(path.parent).images if name else ():
            superpixel = locate(image.superpixel)
            for region in image.regions:
                found[int(name[1]), superpixel, region.id] = Asked(region.number, image.name)
    return found


def _first_rounds(datalist: Path, active: ActiveSet, target: Target) -> dict[Region, Selection]:
    """The round of each labelled or asked region, told by the datalists up to this one."""
    number, found = number_of(datalist), {}
    if number is None:
        return found
    before: set[Region] | None = set()  # None: not known
    for n in range(number + 1):
        path = datalist.parent / f"datalist_{n:02d}.pkl"
        if n == number:
            listed = active
        elif path.is_file():
            listed = ActiveSet.load(path, target.root, target.root, target.moves)
        else:
            before = None
            continue
        now = [
            (superpixel, region)
            for regions in (listed.labelled, listed.asked)
            for superpixel, ids in regions.items()
            for region in ids
        ]
        if before is not None:
            found |= {key: Selection(n) for key in now if key not in before}
        before = set(now)
    return found


def _selections(
    datalist: Path, target: Target, found: dict[Region, Selection]
) -> dict[Region, Selection]:
    """``found``, with what the selection files up to the datalist's round say, by round."""
    number, folder = number_of(datalist), datalist.parent
    locate = Locator(target.root, target.moves, datalist)
    files = []
    for path in folder.glob("*_selection_*.pkl"):
        name = re.fullmatch(r"(.+)_selection_(\d{2,})\.pkl", path.name)
        if name and number is not None and int(name[2]) <= number:
            files.append((int(name[2]), name[1], path))
    known = stored_images(load_pickle(datalist))
    for n, strategy, path in sorted(files, key=lambda file: _in_order(*file[:2])):
        entries = read_entries(path)
        reasons = read_reasons(reasons_path(folder, strategy, n), len(entries))
        for (score, text, region), reason in zip(entries, reasons, strict=True):
            superpixel = superpixel_of(text, known)
            if superpixel is None:
                raise UserError(
                    f"{path}: {shown(text)} is not an image of {datalist.name}; restore the files "
                    "of one run"
                )
            found.pop((locate(superpixel), region), None)
            found[locate(superpixel), region] = Selection(n, strategy, _score(path, score), reason)
    return {key: found[key] for key in sorted(found, key=lambda key: found[key].round)}


def _in_order(number: int, strategy: str) -> tuple:
    """Round, and place among its phases: density comes before uncertainty."""
    return number, strategy != "density", strategy


def _score(path: Path, score: Any) -> float:
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {score!r:.40} is no score; restore the file") from error


def read_reasons(path: Path, count: int) -> list[Reason]:
    """Read why the regions of a selection file were selected; unknown if there is no such file.

    Raises:
        UserError: the file is damaged, or not of a selection of ``count`` regions.
    """
    if not path.is_file():
        return [Reason()] * count
    remedy = "restore or remove it"
    value = read_json(path, remedy)
    entries = value if isinstance(value, list) else [None]
    fits = all(
        isinstance(entry, list)
        and len(entry) == 3
        and all(n is None or (type(n) is int and 0 <= n < 2**40) for n in entry)
        and (entry[0] is None or entry[0] < 255)
        for entry in entries
    )
    if not fits or len(entries) != count:
        raise UserError(f"{path}: does not tell of the {count} regions of its selection; {remedy}")
    return [Reason(*entry) for entry in entries]

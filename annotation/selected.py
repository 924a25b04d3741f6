"""The regions that a round of a run selected, from the run's files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.package import PackageImage
from dataloader.active_set import ActiveSet, is_region_id, read_datalist_pickle
from dataloader.item import Item
from dataloader.relocation import Locator, Moves
from utils.errors import UserError, shown
from utils.files import read_json
from utils.safe_pickle import load_pickle


def latest_round(folder: Path) -> int:
    """The last round of a run that selected regions.

    Raises:
        UserError: there is none.
    """
    if not folder.is_dir():
        raise UserError(f"-p {folder}: no such folder; name the -p of train_ADA.py")
    lists = _rounds(folder, "datalist")
    rounds = [number for number in _rounds(folder, ".+_selection") if number in lists]
    if not rounds:
        raise UserError(f"-p {folder}: no round has selected regions in it; run train_ADA.py first")
    return max(rounds)


def _rounds(folder: Path, name: str) -> list[int]:
    """Numbers of the rounds of which a run has a file, by a regular expression for its name."""
    found = (re.fullmatch(rf"{name}_(\d{{2,}})\.pkl", path.name) for path in folder.iterdir())
    return [int(match[1]) for match in found if match]


def datalist_path(folder: Path, number: int) -> Path:
    """The active set after a round's selection."""
    return folder / f"datalist_{number:02d}.pkl"


def selected_regions(
    folder: Path, number: int, root: str | Path, moves: Moves = ()
) -> tuple[list[Item], dict[str, list[int]]]:
    """What a round selected, and people have not skipped or left unanswered.

    Args:
        folder: of the run.
        number: of the round.
        root: the target's data root.
        moves: as ``--relocate`` gives them.

    Returns:
        The target images, in the order of the datalist, and superpixel path -> region ids in the
        order of selection, with paths of this machine.

    Raises:
        UserError: the round's files are missing, or do not belong together.
    """
    path = datalist_path(folder, number)
    files = sorted(folder.glob(f"*_selection_{number:02d}.pkl"))
    if not path.is_file() or not files:
        raise UserError(
            f"-p {folder}: round {number} has no {path.name} with *_selection_{number:02d}.pkl "
            "beside it; name another --round"
        )
    active_set = ActiveSet.load(path, root, root, moves)
    locate = Locator(root, moves, path)
    asked: dict[str, list[int]] = {}
    known = stored_images(read_datalist_pickle(path))
    answered_by_people = were_answered(folder, number)
    for file in files:
        for entry in read_entries(file):
            superpixel = superpixel_of(entry[1], known)
            located = superpixel and locate(superpixel)
            ids = {*active_set.labelled.get(located, ()), *active_set.asked.get(located, ())}
            if located in active_set.pool and answered_by_people and entry[2] not in ids:
                continue
            if entry[2] not in ids or entry[2] in asked.get(located, ()):
                raise UserError(
                    f"{file}: region {entry[2]} of {shown(entry[1])} is not one that {path.name} "
                    "has as labelled or asked for, once; restore the files of one run"
                )
            asked.setdefault(located, []).append(entry[2])
    return active_set.target, asked


@dataclass(frozen=True)
class Labelled:
    """The regions that a datalist has as labelled.

    Args:
        path: of the datalist.
        images: superpixel path -> image path.
        regions: superpixel path -> labelled region ids.
    """

    path: Path
    images: Mapping[str, str]
    regions: Mapping[str, Sequence[int]]

    def of(self, image: PackageImage) -> set[int]:
        """Labelled regions of an image, which may have been moved since it was exported."""
        end = "/" + image.key.replace("../", "").lstrip("/")
        found = [path for path in (image.superpixel,) if path in self.images] or [
            path for path, name in self.images.items() if f"/{name}".endswith(end)
        ]
        return {region for path in found for region in self.regions.get(path, ())}


def labelled_regions(folder: Path) -> Labelled | None:
    """What a run's latest datalist has as labelled; None if people labelled no round of it."""
    numbers = _rounds(folder, "datalist")
    if not any(were_answered(folder, number) for number in numbers):
        return None
    path = datalist_path(folder, max(numbers))
    data = read_datalist_pickle(path)
    return Labelled(path, stored_images(data), data["trg_label_suppix"])


def were_answered(folder: Path, number: int) -> bool:
    """Whether the regions of a round were labelled by people, who may have skipped some of them."""
    record = folder / "AL_record" / f"round_{number:02d}.json"
    content = read_json(record, "restore it") if record.is_file() else None
    return isinstance(content, dict) and "answers" in content


def read_entries(file: Path) -> list[tuple[float, str, int]]:
    """The content of a selection file."""
    entries = load_pickle(file)
    if not isinstance(entries, (list, tuple)) or not all(
        isinstance(e, (list, tuple))
        and len(e) == 3
        and isinstance(e[1], str)
        and is_region_id(e[2])
        for e in entries
    ):
        raise UserError(f"{file}: is no list of selected regions; restore it")
    return [tuple(entry) for entry in entries]


def stored_images(data: Mapping[str, Any]) -> dict[str, str]:
    """Superpixel path -> image path of the target's images, as a datalist stores them."""
    return {
        entry[2]: entry[0] for key in ("trg_label_im_idx", "trg_pool_im_idx") for entry in data[key]
    }


def superpixel_of(text: str, known: Mapping[str, str]) -> str | None:
    """The superpixel path of "image,label,superpixel", each of which may hold commas."""
    start = text.find(",")
    while start >= 0:
        superpixel = text[start + 1 :]
        if superpixel in known and text.startswith(known[superpixel] + ","):
            return superpixel
        start = text.find(",", start + 1)
    return None

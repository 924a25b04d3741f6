"""The target's files as a report or a table of regions reads them: what can be read, and no more.

A datalist is often looked at on another machine than that of the run. What is not there leaves gaps
that are told of, instead of ending the report.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataloader.class_counts import count_classes
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.domain import Domain
from dataloader.ignore_mask import Masks, find_masks, read_regions
from dataloader.item import Item
from dataloader.oracle import Annotations, GroundTruth
from dataloader.regions import region_areas
from dataloader.relocation import Moves
from utils.common import add_relocation_argument
from utils.errors import UserError
from utils.files import map_files
from utils.metrics import padded_names
from utils.parser import Parser

DEFAULTS = {"trg_dataset": "cityscapes", "trg_data_dir": "./data/Cityscapes"}


def add_target_arguments(parser: Parser) -> None:
    """Add the flags that name the target's data; their default is what the run was given."""
    dataset_help = "dataset of the target: a name in dataloader/init_data, or the path of an "
    dataset_help += "info.json (default: that of the run)"
    parser.add_argument("--trg_dataset", help=dataset_help)
    root_help = "root folder of the target's data (default: that of the run)"
    parser.add_argument("--trg_data_dir", help=root_help)
    add_relocation_argument(parser)


@dataclass(frozen=True)
class TargetFlags:
    """Where the data of the target are, as the command line says; None: as the run's flags say."""

    dataset: str | None = None
    root: str | None = None
    moves: Moves = ()

    @classmethod
    def from_args(cls, args: Namespace) -> "TargetFlags":
        """Return the values of the flags of :func:`add_target_arguments`."""
        return cls(args.trg_dataset, args.trg_data_dir, args.relocate)


class RegionPixels(NamedTuple):
    """Pixels of one region.

    Attributes:
        area: all of them.
        by_class: (C + 1,) int64, by class, void last; None where the label is not known.
    """

    area: int
    by_class: np.ndarray | None = None


@dataclass
class Target:
    """The target of a run.

    Attributes:
        info: its dataset.
        root: root folder of its data.
        moves: as ``--relocate`` gives them.
        answers: folder of people's answers; None if labels come from the target's label files.
        problems: what could not be read, the first reason of each kind, with how often.
    """

    info: DatasetInfo
    root: str
    moves: Moves = ()
    answers: Path | None = None
    problems: dict[str, list] = field(default_factory=dict)

    @classmethod
    def of_run(cls, folder: Path, flags: dict[str, str], given: TargetFlags) -> "Target":
        """Return the target of a run.

        Args:
            folder: of the run.
            flags: its flags of ``train_ADA.py``; empty if they are not known.
            given: what the command line says.

        Raises:
            UserError: the dataset is not known.
        """
        names = {"trg_dataset": given.dataset, "trg_data_dir": given.root}
        dataset, root = (names[k] or flags.get(k) or DEFAULTS[k] for k in DEFAULTS)
        try:
            info = load_dataset(dataset)
        except UserError as error:
            source = (
                "--trg_dataset" if given.dataset else f"{folder}, --trg_dataset of its settings"
            )
            raise UserError(f"{source}: {error.line}") from error
        people = flags.get("oracle") == "people"
        return cls(info, root, given.moves, folder / "annotation" / "labels" if people else None)

    def class_name(self, train_id: int | None) -> str | None:
        """Return the name of a class (networks may have more than the dataset); None for None."""
        if train_id is None:
            return None
        return padded_names(self.info.class_names, train_id + 1)[train_id]

    def domain(self, items: Sequence[Item]) -> Domain:
        """Return images with their masks, as far as these can be read."""
        return Domain(self.info, self.root, list(items), masks=self._masks(items))

    def oracle(self, domain: Domain) -> GroundTruth | None:
        """Return where the labels of images come from; None if answers cannot be read."""
        if self.answers is None:
            return GroundTruth(domain)
        try:
            return Annotations(domain, self.answers)
        except UserError as error:
            self._tell("answers cannot be read", error)
            return None

    def _masks(self, items: Sequence[Item]) -> Masks:
        try:
            return find_masks(items, self.root, self.info)
        except UserError as error:
            self._tell("ignore masks cannot be read, so masked pixels are counted", error)
            return {}

    def measure(
        self, item: Item, mask: str | None, oracle: GroundTruth | None, regions: Sequence[int]
    ) -> dict[int, RegionPixels]:
        """Count the pixels of some regions of an image.

        Args:
            item: the image.
            mask: path of its mask, if it has one; masked pixels are not counted.
            oracle: from :meth:`oracle`; None counts no classes.
            regions: region ids.

        Returns:
            region id -> its pixels; empty if the superpixel map cannot be read.
        """
        try:
            found = read_regions(item.superpixel, mask)
        except UserError as error:
            self._tell("superpixel maps cannot be read, so their regions are not counted", error)
            return {}
        areas = region_areas(found)
        counted = {region: RegionPixels(areas.get(region, 0)) for region in regions}
        known = list(regions) if item.label else []
        if isinstance(oracle, Annotations):
            known = [region for region in regions if region in oracle.answers(item.superpixel)]
        if oracle is None or not known:
            return counted
        label = self._label(item, oracle, known)
        if label is None:
            return counted
        by_class = count_classes(found, label, self.info.num_classes)
        return counted | {r: counted[r]._replace(by_class=by_class[r].copy()) for r in known}

    def class_totals(self, items: Sequence[Item]) -> np.ndarray | None:
        """Count the unmasked pixels of all images by class, (C + 1,) int64, void last.

        None if labels come from people, or the label of an image is not there.
        """
        if self.answers is not None or not all(item.label for item in items):
            return None
        domain = self.domain(items)
        oracle = self.oracle(domain)

        def count(item: Item) -> np.ndarray | None:
            label = self._label(item, oracle, range(256))
            if label is None:
                return None
            regions = np.zeros_like(label)
            if mask := domain.mask(item):
                regions = read_regions(item.superpixel, mask)
            return count_classes(regions, label, self.info.num_classes).sum(0)

        counts = map_files(count, items)
        return None if any(one is None for one in counts) else np.sum(counts, axis=0)

    def _label(self, item: Item, oracle: GroundTruth, regions: Sequence[int]) -> np.ndarray | None:
        try:
            return oracle.labels(item, regions)
        except UserError as error:
            self._tell("labels cannot be read, so their regions have no known class", error)
            return None

    def _tell(self, what: str, error: UserError) -> None:
        first = self.problems.setdefault(what, [0, error.line])
        first[0] += 1

    def report_problems(self) -> list[str]:
        """Return one line for each kind of file that could not be read."""
        return [
            f"{count} {what}: {line} (see --trg_data_dir and --relocate)"
            for what, (count, line) in self.problems.items()
        ]

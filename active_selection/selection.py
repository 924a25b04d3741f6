"""One round's selection: fill the tables, rank, spend the budget, label what was chosen."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from active_selection.region_table import RegionTable, empty_table, fill_table
from active_selection.schedule import take
from active_selection.strategies import STRATEGIES, Evidence
from dataloader.active_set import ActiveSet
from dataloader.datalist import Item
from dataloader.datasets import DatasetInfo
from dataloader.regions import Regions
from dataloader.segmentation import EvaluationSet
from utils.device import Compute
from utils.files import write_npz
from utils.safe_pickle import save_pickle

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """What one phase of a round took: its strategy and budget, the pixels and regions chosen."""

    strategy: str
    budget: int
    pixels: int
    regions: int


@dataclass(frozen=True)
class TableBuilder:
    """Fills region tables with one network.

    Features lie in mapped files below ``folder`` and are removed after use unless ``keep``.
    """

    model: nn.Module
    num_classes: int
    size: tuple[int, int]
    batch_size: int
    num_workers: int
    compute: Compute
    folder: Path
    keep: bool = False

    @contextmanager
    def table(
        self, name: str, items: Sequence[Item], info: DatasetInfo, regions: Regions
    ) -> Iterator[RegionTable]:
        """The region table of a domain, valid inside the ``with`` block."""
        feature_file = self.folder / f"{name}_features.npy"
        table = empty_table(items, regions, self.num_classes, feature_file)
        data = EvaluationSet(items, info, self.size, superpixels=True)
        try:
            fill_table(
                table, self.model, data, self.batch_size, self.num_workers, self.compute, name
            )
            if self.keep:
                columns = {k: v for k, v in vars(table).items() if k not in ("items", "feature")}
                write_npz(self.folder / f"{name}_table.npz", **columns)
            yield table
        finally:
            if not self.keep:
                feature_file.unlink(missing_ok=True)


def in_pool(table: RegionTable, active_set: ActiveSet) -> np.ndarray:
    """(n,) bool: the rows that are (or, for whole images, have) unlabelled regions."""
    pools = [set(active_set.pool[item.superpixel]) for item in table.items]
    rows = zip(table.image.tolist(), table.region.tolist(), strict=True)
    unlabelled = (region in pools[i] if region >= 0 else bool(pools[i]) for i, region in rows)
    return np.fromiter(unlabelled, bool, len(table))


def spend(
    phases: Sequence[tuple[str, int]],
    evidence: Evidence,
    active_set: ActiveSet,
    folder: Path,
    round_index: int,
) -> list[Spent]:
    """Run phases (strategy, pixels) in order, each on what those before it have left.

    Chosen regions are labelled in ``active_set``, and written in labelling order to
    ``<strategy>_selection_<round>.pkl`` as (score, "image,label,superpixel", region id).
    """
    target, spent = evidence.target, []
    for name, budget in phases:
        evidence.pool = in_pool(target, active_set)
        ranking = STRATEGIES[name](evidence) if budget > 0 else None
        rows = take(ranking.rows, target.area, budget) if ranking else np.zeros(0, np.int64)
        scores = ranking.scores[: len(rows)] if ranking else rows
        chosen = []
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            item, region = target.items[target.image[row]], int(target.region[row])
            ids = [region] if region >= 0 else list(active_set.pool[item.superpixel])
            active_set.label((item.superpixel, i) for i in ids)
            chosen += [(score, ",".join(item), i) for i in ids]
        save_pickle(folder / f"{name}_selection_{round_index:02d}.pkl", chosen)
        spent.append(Spent(name, budget, int(target.area[rows].sum()), len(chosen)))
        log.info("selection %02d: %s", round_index, asdict(spent[-1]))
    return spent

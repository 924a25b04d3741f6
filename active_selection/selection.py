"""One round's selection: fill the tables, rank, spend the budget, label what was chosen."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import Subset
from tqdm import tqdm

from active_selection.region_table import RegionTable, column_types, fill_table, make_table
from active_selection.schedule import cut_at_budget
from active_selection.strategies import STRATEGIES, Candidates
from active_selection.table_files import TableFiles, digest
from dataloader.active_set import ActiveSet
from dataloader.datalist import Item
from dataloader.dataset_info import DatasetInfo
from dataloader.datasets import EvaluationSet
from dataloader.loaders import evaluation_loader
from dataloader.regions import Regions
from models.folding import folded_copy
from utils.errors import UserError
from utils.runtime import Runtime
from utils.safe_pickle import load_pickle, save_pickle
from utils.stopping import STOP, Stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhaseResult:
    """What one phase of a round took: its strategy and budget, the pixels and regions chosen."""

    strategy: str
    budget: int
    pixels: int
    regions: int


@dataclass(frozen=True)
class TableBuilder:
    """Fills region tables with one network, going on with a pass that was begun.

    The columns lie in mapped files below ``folder``, and are removed after use unless ``keep``.
    """

    model: nn.Module
    num_classes: int
    size: tuple[int, int]
    batch_size: int
    num_workers: int
    runtime: Runtime
    folder: Path
    keep: bool = False
    save_period: int = 1000
    discriminator: nn.Module | None = None

    @contextmanager
    def table(
        self, name: str, items: Sequence[Item], info: DatasetInfo, regions: Regions
    ) -> Iterator[RegionTable]:
        """The region table of a domain, valid inside the ``with`` block."""
        facts = (items, regions, self.size, self.num_classes, self.batch_size, self.runtime.dtype)
        networks = nn.ModuleList(filter(None, [self.model, self.discriminator]))
        types = column_types(self.num_classes, with_domain=self.discriminator is not None)
        files = TableFiles(self.folder, name, digest(networks, facts), types)
        done = files.open(sum(len(regions[item.superpixel]) for item in items))
        table = make_table(items, regions, files.columns)
        self._fill(files, table, EvaluationSet(items, info, self.size, superpixels=True), done)
        yield table
        if not self.keep:
            files.remove()

    def _fill(self, files: TableFiles, table: RegionTable, data: EvaluationSet, done: int) -> None:
        """Measure what is not done, saving now and then and when a signal asks to stop."""
        if done:
            log.info("%s: %d of %d images are measured already", files.name, done, len(data))
        if done == len(data):
            return
        rest = Subset(data, range(done, len(data)))
        loader = evaluation_loader(rest, self.batch_size, self.num_workers)
        bar = tqdm(loader, desc=files.name, disable=None, leave=False)
        model = self.model
        if not self.runtime.compiled:  # which is bound to the network itself
            model = self.runtime.prepare(folded_copy(model))
        try:
            measured = fill_table(table, model, bar, self.runtime, self.discriminator)
            for count, images in enumerate(measured, 1):
                done = images
                if count % self.save_period == 0:
                    files.save(done)
                STOP.check()
        except Stopped:
            files.save(done)
            raise
        files.save(done)


def in_pool(table: RegionTable, active_set: ActiveSet) -> np.ndarray:
    """(n,) bool: the rows that are (or, for whole images, have) unlabelled regions."""
    pools = [set(active_set.pool[item.superpixel]) for item in table.items]
    rows = zip(table.image.tolist(), table.region.tolist(), strict=True)
    unlabelled = (region in pools[i] if region >= 0 else bool(pools[i]) for i, region in rows)
    return np.fromiter(unlabelled, bool, len(table))


def selection_path(folder: Path, strategy: str, round_index: int) -> Path:
    """Where the regions that a strategy chose in a round are written."""
    return folder / f"{strategy}_selection_{round_index:02d}.pkl"


def spend(
    phases: Sequence[tuple[str, int]],
    evidence: Candidates | None,
    active_set: ActiveSet,
    areas: Regions,
    folder: Path,
    round_index: int,
) -> list[PhaseResult]:
    """Run phases (strategy, pixels) in order, each on what those before it have left.

    Chosen regions are labelled in ``active_set``, and written in labelling order to
    ``<strategy>_selection_<round>.pkl`` as (score, "image,label,superpixel", region id). A phase
    whose file is there already, from a run that was stopped, is taken from it; where all are there,
    no evidence is needed.
    """
    spent = []
    for name, budget in phases:
        path = selection_path(folder, name, round_index)
        if not path.is_file():
            save_pickle(path, choose(name, budget, evidence, active_set))
        regions = read_selection(path, active_set)
        active_set.label(regions)
        pixels = sum(areas[superpixel][region] for superpixel, region in regions)
        spent.append(PhaseResult(name, budget, pixels, len(regions)))
        log.info("selection %02d: %s", round_index, asdict(spent[-1]))
        STOP.check()
    return spent


def read_selection(path: Path, active_set: ActiveSet) -> list[tuple[str, int]]:
    """The regions (superpixel path, region id) of a selection file, in labelling order.

    Raises:
        UserError: they are not all in the pool, each once.
    """
    superpixel_of = {",".join(item): item.superpixel for item in active_set.target}
    pool = {(path, region) for path, ids in active_set.pool.items() for region in ids}
    try:
        chosen = [(superpixel_of[paths], region) for _, paths, region in load_pickle(path)]
        fits = pool.issuperset(chosen) and len(set(chosen)) == len(chosen)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"{path}: not a selection from this pool; remove it to select anew")
    return chosen


def choose(
    name: str, budget: int, evidence: Candidates, active_set: ActiveSet
) -> list[tuple[float, str, int]]:
    """Regions worth ``budget`` pixels by a strategy, in labelling order, as they are written."""
    if budget <= 0:
        return []
    target = evidence.target
    evidence.pool, evidence.budget = in_pool(target, active_set), budget
    ranking = STRATEGIES[name](evidence)
    rows = cut_at_budget(ranking.rows, target.area, budget)
    chosen = []
    for row, score in zip(rows.tolist(), ranking.scores.tolist(), strict=False):
        item, region = target.items[target.image[row]], int(target.region[row])
        ids = [region] if region >= 0 else active_set.pool[item.superpixel]
        chosen += [(score, ",".join(item), i) for i in ids]
    return chosen

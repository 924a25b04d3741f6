"""What the strategies of a round select from: tables of regions, and all that goes with them."""

import logging
from argparse import Namespace
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from active_selection.density import DensityOptions
from active_selection.phases import Phase, PhaseResult, phases_of, unlabelled_rows
from active_selection.region_table import RegionTable, areas_only
from active_selection.run_folder import RunFolder
from active_selection.schedule import budget_pixels
from active_selection.strategies import Candidates
from active_selection.table_pass import PassOptions, measure
from dataloader.active_set import ActiveSet
from dataloader.domain import Domain
from dataloader.edges import region_edges
from utils.recorder import Recorder, Step
from utils.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selector:
    """Plans selections, and measures what their strategies look at.

    Attributes:
        args: the flags of ``train_ADA.py``.
        folder: folder of the run.
        runtime: where networks run.
        model: the network, as it is when a round selects.
        discriminator: of the warm-up; None if no strategy needs it.
        source, target: the domains, with their regions where strategies need them.
        recorder: of the seconds that a pass takes.
    """

    args: Namespace
    folder: RunFolder
    runtime: Runtime
    model: nn.Module
    discriminator: nn.Module | None
    source: Domain
    target: Domain
    recorder: Recorder

    def plan(self, n: int, returned_pixels: int = 0) -> tuple[list[Phase], list[str]]:
        """Return the phases of a selection, and the strategies that are still to select.

        Args:
            n: number of the round.
            returned_pixels: of regions that people skipped, which the budget gets back.
        """
        size = self.args.active_selection_size
        first = n == self.args.init_iteration
        budget = budget_pixels(size, self.target.pixels, len(self.target.items), tell=first)
        budget += returned_pixels
        if returned_pixels:
            log.info(
                "selection %02d: its budget of %d px holds %d px of skipped regions",
                *(n, budget, returned_pixels),
            )
        plan = phases_of(self.args, n + 1, budget)
        rest = [
            strategy
            for strategy, pixels in plan
            if pixels and not self.folder.selection(strategy, n).is_file()
        ]
        return plan, rest

    def tables(self, n: int, needs: Collection[str]) -> tuple[RegionTable | None, RegionTable]:
        """Return the tables of source and target; measure only those that strategies need."""
        source = self._measure(n, "source", self.source) if "source" in needs else None
        if "network" in needs or self.args.keep_features:
            return source, self._measure(n, "target", self.target)
        return source, areas_only(self.target)

    def _measure(self, n: int, name: str, domain: Domain) -> RegionTable:
        options = PassOptions.from_args(self.args, self.runtime, self.folder.features)
        with self.recorder.timed(f"pass_{name}", Step(n)):
            return measure(f"round{n:02d}_{name}", domain, self.model, self.discriminator, options)

    def candidates(
        self,
        n: int,
        needs: Collection[str],
        source: RegionTable | None,
        target: RegionTable,
        active_set: ActiveSet,
    ) -> Candidates:
        """Return what strategies select from in round ``n``, of the tables measured for it."""
        args, edge = self.args, None
        if "edges" in needs:
            t = self.target
            edge = region_edges(t.items, t.root, t.regions, t.masks)
        mixtures = self.folder.features / f"round{n:02d}_mixtures.npz"
        density = DensityOptions.from_args(
            args, self.source.info, mixtures if args.keep_features else None
        )
        device, world = self.runtime.float64_device, self.runtime.world
        candidates = Candidates(target, source, args.seed, density, edge, device, world)
        in_scan = args.active_mode == "scan"
        return candidates.per_image(unlabelled_rows(target, active_set)) if in_scan else candidates


def warn_if_none_left(
    n: int, max_iterations: int, active_set: ActiveSet, results: Sequence[PhaseResult]
) -> None:
    """Warn if selection ``n``, which is not the last, takes all that was left."""
    takes = any(result.regions for result in results)
    if takes and n + 1 < max_iterations and not any(active_set.pool.values()):
        log.warning(
            "selection %02d: no region is left in the pool, and rounds after %d have nothing "
            "new to train on: end with --max_iterations %d, or select less in a round "
            "(--active_selection_size)",
            *(n, n + 1, n + 1),
        )

"""Strategies select once each, by region and by whole image, from one pass over each domain.

A script for :mod:`tests.ranks`: processes that select with :func:`train_ADA.main` would each load
the network and the data again.
"""

import os
import signal
from collections.abc import Sequence
from unittest.mock import patch

import train_ADA
from active_selection import fitting, rounds
from active_selection.rounds import Experiment
from active_selection.run_folder import RunFolder
from active_selection.strategies import STRATEGIES, method_names
from dataloader.active_set import ActiveSet
from utils.distributed import World
from utils.job import joined
from utils.logs import start_log
from utils.parser import Parser
from utils.stopping import STOP


def parser() -> Parser:
    """Return the parser of ``train_ADA.py`` with flags of the test."""
    result = train_ADA.parser()
    result.add_argument("--apart", type=int, help="rank that is on a machine of its own")
    result.add_argument("--all", action="store_true", help="all strategies, in both modes")
    result.add_argument("--dies", type=int, help="rank that is killed in the fits of mixtures")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if os.environ.get("RANK") == str(args.apart):
        os.environ["GROUP_RANK"] = "1"
    every = frozenset().union(*(strategy.needs for strategy in STRATEGIES.values()))
    with joined(args, parser) as world:
        args = world.complete_flags(train_ADA.complete, args, parser().given(argv))
        STOP.listen()
        start_log(silent=not world.is_main)
        with patch.object(rounds, "needs_of", lambda _: every):
            experiment = Experiment(args, RunFolder(args), 0, world)
        if world.rank == args.dies:
            fitting.fit_mixture = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        modes = ("region", "scan") if args.all else (args.active_mode,)
        for mode in modes:
            for method in method_names() if args.all else (args.active_method,):
                select(experiment, mode, method, world)


def select(experiment: Experiment, mode: str, method: str, world: World) -> None:
    """Select with one strategy, and write its files to a folder of its own."""
    args, source, target = experiment.args, experiment.source, experiment.target
    args.active_mode, args.active_method = mode, method
    experiment.folder.path = args.model_save_dir / f"{mode}_{method}"
    experiment.active_set = ActiveSet(source.items, target.items, target.regions)
    results = experiment.select(0)
    labelled = [sorted(ids) for ids in experiment.active_set.labelled.values()]
    assert all(other == (results, labelled) for other in world.gather((results, labelled)))

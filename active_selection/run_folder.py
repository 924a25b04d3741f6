"""The folder of an experiment's rounds: where its files lie, and where a continuation goes on.

What ``train_ADA.py --resume`` looks at, in this order:

1. ``train_ADA_settings.json``, written when data and networks are loaded and the work begins.
   Absent, nothing was begun, and the run starts. Present, its flags must be those given now.
2. ``AL_record/round_XX.json`` and ``datalist_XX.pkl``. A round's record is the last file that it
   writes. A round is *done* when its record is whole and, unless it is the last round, its datalist
   is there. The first round that is not done is *open*; without one, the run is finished.
3. ``checkpoint{XX-1}.tar`` and ``datalist_{XX-1}.pkl``, from which the open round XX starts; the
   first round starts from ``--init_checkpoint`` and ``--datalist_path``.
4. ``round_state.tar``, the state of a round's training (:mod:`utils.resume`), which carries the
   round's number; that of another round counts as none. A training that came to its end leaves its
   last state, so that only the selection is still to be done.
5. ``<strategy>_selection_XX.pkl``. A phase of the selection whose file is there is done, and is
   taken from it.
6. ``features/roundXX_<domain>_progress.json``, how many images of a pass are measured
   (:mod:`active_selection.table_files`).

Every file appears whole or not at all, so a kill at any moment leaves one of these situations. The
log and the metrics are never read; lines that a continuation repeats are there twice.
"""

import json
from argparse import Namespace
from itertools import count
from pathlib import Path
from typing import Any

from active_selection.phases import selection_path
from active_selection.strategies import STRATEGIES
from utils.files import remove_temporaries
from utils.resume import StateFile


class RunFolder:
    """Paths below -p, by round, and which rounds are done.

    Args:
        args: the flags of ``train_ADA.py``.

    Attributes:
        path: the folder.
        features: where region features lie during a selection.
        log: the log, for people.
        metrics: see :mod:`utils.recorder`.
    """

    def __init__(self, args: Namespace):
        self.args = args
        self.path: Path = args.model_save_dir
        self.features: Path = args.save_feat_dir or self.path / "features"
        self.log = self.path / "log_train.txt"
        self.metrics = self.path / "metrics.jsonl"

    def checkpoint(self, n: int) -> Path:
        """A round's network."""
        return self.path / f"checkpoint{n:02d}.tar"

    def datalist(self, n: int) -> Path:
        """The active set after a round's selection."""
        return self.path / f"datalist_{n:02d}.pkl"

    def selection(self, strategy: str, n: int) -> Path:
        """The regions that a strategy chose in a round."""
        return selection_path(self.path, strategy, n)

    def record(self, n: int) -> Path:
        """A round's outcome."""
        return self.path / "AL_record" / f"round_{n:02d}.json"

    def state(self, n: int) -> StateFile:
        """The state of a round's training."""
        return StateFile(self.path / "round_state.tar", f"round {n:02d}")

    def planned(self) -> list[Path]:
        """What the rounds are going to write; none of it may be there before.

        Except the checkpoint that the first round adopts, and the record of a last round, which
        selected nothing, where that round is now taken up again.
        """
        first, last = self.args.init_iteration, self.args.max_iterations
        paths = []
        for n in range(first, last + 1):
            paths += [self.checkpoint(n), self.datalist(n), self.record(n)]
            paths += [self.selection(name, n) for name in STRATEGIES]
        free = {Path(self.args.init_checkpoint).resolve()}
        if not self.datalist(first).is_file():
            free.add(self.record(first).resolve())
        return [path for path in paths if path.resolve() not in free]

    def first_open_round(self) -> int:
        """The first round that is not done; beyond --max_iterations where all are."""
        return next(n for n in count(self.args.init_iteration) if not self.is_done(n))

    def is_done(self, n: int) -> bool:
        """Whether a round has a whole record, and the datalist that a following round needs."""
        selected = n >= self.args.max_iterations or self.datalist(n).is_file()
        return selected and self.read_record(n) is not None

    def read_record(self, n: int) -> dict[str, Any] | None:
        """A round's record; None where it is absent or damaged."""
        try:
            record = json.loads(self.record(n).read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) and record.get("round") == n else None

    def start_of(self, n: int) -> tuple[Path, Path | None]:
        """The checkpoint and the datalist, if any, that a round starts from."""
        if n > self.args.init_iteration:
            return self.checkpoint(n - 1), self.datalist(n - 1)
        datalist = self.args.datalist_path
        return Path(self.args.init_checkpoint), Path(datalist) if datalist else None

    def forget_open_round(self) -> None:
        """Remove what an older run left that a new one, in the same folder, must not take up."""
        self.clean_up()
        self.record(self.args.init_iteration).unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Remove the half-written files that killed processes left beside those of this run."""
        for folder in (self.path, self.record(0).parent, self.features):
            remove_temporaries(folder)

    def clean_up(self) -> None:
        """Remove what only a continuation would need."""
        self.state(0).remove()

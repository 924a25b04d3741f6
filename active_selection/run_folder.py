"""The folder of an experiment: where its files are, and where a stopped run continues.

``train_ADA.py --resume`` reads these files, in this order:

1. ``train_ADA_settings.json``, written once data and networks are loaded. If it is absent, the run
   has not begun, and starts now. If it is present, its flags must equal those given now.
2. ``AL_record/round_XX.json`` and ``datalist_XX.pkl``. The record is the last file that a round
   writes. A round is *done* when its record is complete and, unless it is the last round, tells of
   a selection, and its datalist exists. The first round that is not done is *open*; if there is
   none, the run is finished. An open round with a record was the last one before --max_iterations
   was raised, and only has to select.
3. ``checkpoint{XX-1}.tar`` and ``datalist_{XX-1}.pkl``, from which the open round XX starts; the
   first round starts from ``--init_checkpoint`` and ``--datalist_path``.
   With people, ``taken_answers`` holds the answers that the open round is trained on, as they were
   when it began.
4. ``round_state.tar``, the training state of a round (:mod:`utils.resume`) with the number of that
   round; the state of another round is ignored. A finished training leaves its last state, so that
   only the selection remains to be done.
5. ``<strategy>_selection_XX.pkl``. A phase of the selection whose file exists is done; its regions
   are read from the file.
   (``AL_record/<strategy>_selection_XX.json``, which tells why, is written before it.)
6. ``features/roundXX_<domain>_progress.json``, the batches of images that a pass has measured
   (:mod:`active_selection.table_files`).

If the data were moved meanwhile, 2. and 5. are written anew, and then 1., with the new paths.

Every file is written completely or not at all, so a kill at any moment leaves one of these
situations. The log and the metrics are never read; a continued run repeats some of their lines.
"""

import logging
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from active_selection.phases import selection_path
from active_selection.strategies import STRATEGIES
from dataloader.relocation import renamed
from utils.errors import UserError
from utils.files import read_json, remove_folder, remove_temporaries
from utils.resume import StateFile
from utils.resume_flags import MovedSince
from utils.safe_pickle import load_pickle, save_pickle

log = logging.getLogger(__name__)

NUMBERED = re.compile(r"(?:checkpoint|datalist_|selection_|round_)(\d+)(?:\.(?:tar|pkl|json))?$")
"""Names of a round's files, and of its labelling package."""


class RunFolder:
    """Paths below -p, by round, and which rounds are done.

    Args:
        args: the flags of ``train_ADA.py``.

    Attributes:
        path: the folder.
        features: folder of the region features during a selection.
        log: file of the log, for people.
        metrics: file of the metrics, see :mod:`utils.recorder`.
        annotation: folder of the labelling packages and of people's answers.
        answers: folder of the answers imported so far, which may be corrected at any time.
        taken: copy of them as they were when the open round began, which is trained on.
    """

    def __init__(self, args: Namespace):
        self.args = args
        self.path: Path = args.model_save_dir
        self.features: Path = args.save_feat_dir or self.path / "features"
        self.log = self.path / "log_train.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.annotation = self.path / "annotation"
        self.answers = self.annotation / "labels"
        self.taken = self.path / "taken_answers"

    def checkpoint(self, n: int) -> Path:
        """Return the path of a round's checkpoint."""
        return self.path / f"checkpoint{n:02d}.tar"

    def datalist(self, n: int) -> Path:
        """Return the path of the active set after a round's selection."""
        return self.path / f"datalist_{n:02d}.pkl"

    def package(self, n: int) -> Path:
        """Return the folder of the regions that people are asked for in a round."""
        return self.annotation / f"round_{n:02d}"

    def selection(self, strategy: str, n: int) -> Path:
        """Return the path of the regions that a strategy selected in a round."""
        return selection_path(self.path, strategy, n)

    def record(self, n: int) -> Path:
        """Return the path of a round's record."""
        return self.path / "AL_record" / f"round_{n:02d}.json"

    def state(self, n: int) -> StateFile:
        """Return the file of a round's training state."""
        return StateFile(self.path / "round_state.tar", f"round {n:02d}")

    def planned(self) -> list[Path]:
        """Return the files that the rounds will write; none of them may exist before a new run.

        Those of later rounds, if there are any, are among them: with a larger --max_iterations,
        the run would take them for its own.

        Two files are left out: the checkpoint that the first round adopts, and the record of the
        first round if it has no datalist. That round was the last one of an older run, selected
        nothing, and now continues.
        """
        first, last = self.args.init_iteration, self.args.max_iterations
        people = self.args.oracle == "people"
        there = [*self.path.glob("*"), *self.record(0).parent.glob("*")]
        there += self.annotation.glob("round_*") if people else []
        found = (NUMBERED.search(path.name) for path in there)
        later = {int(number[1]) for number in found if number and int(number[1]) > last}
        paths = []
        for n in (*range(first, last + 1), *sorted(later)):
            paths += [self.checkpoint(n), self.datalist(n), self.record(n)]
            paths += [self.selection(name, n) for name in STRATEGIES]
            paths += [self.package(n)] if people else []
        free = {Path(self.args.init_checkpoint).resolve()}
        if not self.datalist(first).is_file():
            free.add(self.record(first).resolve())
        return [path for path in paths if path.resolve() not in free]

    def first_open_round(self) -> int:
        """Return the first round that is not done; above --max_iterations if all are done."""
        return next(n for n in count(self.args.init_iteration) if not self.is_done(n))

    def is_done(self, n: int) -> bool:
        """Return True if a round has a complete record and the datalist that the next one needs."""
        record = self.read_record(n)
        if record is None or n >= self.args.max_iterations:
            return record is not None
        return self.datalist(n).is_file() and record.get("selection") != []

    def is_trained(self, n: int) -> bool:
        """Return True if an open round was trained as the last one, and only has to select."""
        record = self.read_record(n) or {}
        return record.get("selection") == [] and self.checkpoint(n).is_file()

    def read_record(self, n: int) -> dict[str, Any] | None:
        """Return a round's record; None if it is absent or damaged."""
        try:
            record = read_json(self.record(n), "")
        except UserError:
            return None
        return record if isinstance(record, dict) and record.get("round") == n else None

    def start_of(self, n: int) -> tuple[Path, Path | None]:
        """Return the checkpoint and the datalist, if any, that a round starts from."""
        if n > self.args.init_iteration:
            return self.checkpoint(n - 1), self.datalist(n - 1)
        datalist = self.args.datalist_path
        return Path(self.args.init_checkpoint), Path(datalist) if datalist else None

    def forget_open_round(self) -> None:
        """Remove files of an older run in this folder from which a new run must not continue."""
        self.state(0).remove()
        self.record(self.args.init_iteration).unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Remove the half-written files that killed processes left beside those of this run."""
        for folder in (self.path, self.record(0).parent, self.features):
            remove_temporaries(folder)

    def move_data(self, moves: Sequence[MovedSince]) -> None:
        """Let all datalists and selections name data where they were moved to."""
        of = {prefix: [(old, new)] for prefix, old, new in moves}
        source, target = of.get("src", []), of.get("trg", [])
        if source or target:
            for path in self.path.glob("datalist_*.pkl"):
                _rewrite(
                    path,
                    lambda listed: {
                        key: renamed(value, source if key.startswith("src") else target)
                        for key, value in listed.items()
                    },
                )
        if target:
            for path in self.path.glob("*_selection_*.pkl"):
                _rewrite(path, lambda selected: renamed(selected, target))

    def clean_up(self) -> None:
        """Remove the files that only ``--resume`` needs."""
        self.state(0).remove()
        remove_folder(self.taken)


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the content of a pickle; one that is damaged stays, and is warned of."""
    try:
        save_pickle(path, change(load_pickle(path)))
    except (UserError, AttributeError) as error:  # of a round that is done: reports alone read it
        log.warning("%s: still names the old place of the data (%s)", path, error)

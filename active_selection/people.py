"""Rounds with people: their answers, which regions are still missing, and what to do next."""

import logging
from pathlib import Path

from dataloader.active_set import ActiveSet
from dataloader.oracle import Annotations
from utils.errors import UserError

log = logging.getLogger(__name__)

FATES = {"answered": "labelled", "void": "labelled", "skipped": "dropped"}
"""Where an answer puts its region; see :meth:`ActiveSet.settle`."""


def settle_answers(active_set: ActiveSet, oracle: Annotations, accept_partial: bool) -> None:
    """Move all regions that people were asked for to where their answers put them.

    Answered regions are labelled, void ones too (no pixel of them has a class), and skipped ones
    leave the pool for good.

    Args:
        active_set: altered.
        oracle: the answers.
        accept_partial: put regions without an answer back into the pool.

    Raises:
        UserError: regions are not answered yet; nothing is altered.
    """
    asked = [(path, region) for path, ids in active_set.asked.items() for region in ids]
    if not asked:
        return
    missing = [(path, region) for path, region in asked if region not in oracle.answers(path)]
    if missing and not accept_partial:
        images = len({path for path, _ in missing})
        path, region = missing[0]
        raise UserError(
            f"{oracle.folder}: {len(missing)} of {len(asked)} regions in {images} images are not "
            f"answered, the first region {region} of {path}; import more answers with "
            "annotation/import.py, or put them back into the pool with --accept_partial"
        )
    void = [(p, r) for p, r in asked if r in oracle.answers(p) and _status(oracle, p, r) == "void"]
    counts = active_set.settle(
        lambda path, region: (
            "pool" if (path, region) in missing else FATES[_status(oracle, path, region)]
        )
    )
    log.info(
        "answers of people: %d regions labelled, %d of them void throughout; %d skipped for good; "
        "%d not answered and back in the pool",
        *(counts["labelled"], len(void), counts["dropped"], counts["pool"]),
    )


def _status(oracle: Annotations, path: str, region: int) -> str:
    return oracle.answers(path)[region].status


def next_steps(n: int, package: Path, regions: int, pixels: int, run: Path) -> str:
    """What to do after a round that asked people, as three lines."""
    return (
        f"round {n:02d}: label {regions} regions ({pixels} pixels): open {package / 'index.html'}\n"
        f"then take the answers in: python annotation/import.py -p {run} FILES...\n"
        "then run the same command again, with --resume"
    )

"""Rounds with people: their answers, which regions are still missing, and what to do next."""

import logging
from pathlib import Path

from dataloader.active_set import ActiveSet
from dataloader.item import image_key, shown
from dataloader.oracle import Annotations
from utils.errors import UserError

log = logging.getLogger(__name__)

FATES = {"answered": "labelled", "void": "labelled", "skipped": "dropped", "missing": "pool"}
"""Where an answer puts its region; see :meth:`ActiveSet.settle`."""


def settle_answers(
    active_set: ActiveSet, oracle: Annotations, accept_partial: bool
) -> dict[str, int]:
    """Move all regions that people were asked for to where their answers put them.

    Answered regions are labelled, void ones too (no pixel of them has a class), and skipped ones
    leave the pool for good.

    Args:
        active_set: altered.
        oracle: the answers.
        accept_partial: put regions without an answer back into the pool.

    Returns:
        How many regions were labelled, void throughout, skipped and not answered, and the pixels
        of those that were skipped, which the next round's budget gets back.

    Raises:
        UserError: regions are not answered yet; nothing is altered.
    """
    asked = [(path, region) for path, ids in active_set.asked.items() for region in ids]
    missing = [(path, region) for path, region in asked if region not in oracle.answers(path)]
    if missing and not accept_partial:
        images = len({path for path, _ in missing})
        domain, first = oracle.domain, missing[0][0]
        item = next(item for item in domain.items if item.superpixel == first)
        raise UserError(
            f"{oracle.folder}: {len(missing)} of {len(asked)} regions in {images} images are not "
            f"answered, the first in {shown(image_key(item, domain.root))}; import more answers "
            "with annotation/import.py, which lists those that are missing, or put them back into "
            "the pool with --accept_partial"
        )
    status = {(p, r): oracle.answers(p)[r].status for p, r in asked if r in oracle.answers(p)}
    active_set.settle(lambda path, region: FATES[status.get((path, region), "missing")])
    found = list(status.values())
    skipped = [region for region, name in status.items() if name == "skipped"]
    answers = {
        "labelled": len(found) - len(skipped),
        "void": found.count("void"),
        "skipped": len(skipped),
        "skipped_pixels": sum(oracle.domain.regions[path][region] for path, region in skipped),
        "unanswered": len(missing),
    }
    log.info(
        "answers of people: %(labelled)d regions labelled, %(void)d of them void throughout; "
        "%(skipped)d skipped for good (%(skipped_pixels)d px); "
        "%(unanswered)d not answered and back in the pool",
        answers,
    )
    return answers


def next_steps(n: int, package: Path, regions: int, pixels: int, run: Path) -> str:
    """What to do after a round that asked people, as three lines."""
    return (
        f"round {n:02d}: label {regions} regions ({pixels} pixels): open {package / 'index.html'}\n"
        f"then take the answers in: python annotation/import.py -p {run} FILES...\n"
        "then run the same command again, with --resume"
    )

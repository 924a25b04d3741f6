"""Rounds with people: their answers, which regions are still missing, and what to do next."""

import filecmp
import logging
import shutil
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from active_selection.run_folder import RunFolder
from dataloader.active_set import ActiveSet
from dataloader.domain import Domain
from dataloader.item import image_key
from dataloader.oracle import (
    ANSWERED,
    MISSING,
    SKIPPED,
    STORING_TAKES,
    VOID,
    Annotations,
    GroundTruth,
)
from utils.distributed import World
from utils.errors import UserError, shown
from utils.files import locked_folder, recover_folder, remove_folder, write_json

log = logging.getLogger(__name__)

FATES = {ANSWERED: "labelled", VOID: "labelled", SKIPPED: "dropped", MISSING: "pool"}
"""Where an answer puts its region; see :meth:`ActiveSet.settle`."""


def settle_answers(
    active_set: ActiveSet, oracle: GroundTruth, accept_partial: bool
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
    missing = _unanswered(asked, oracle)
    if missing and not accept_partial:
        images = len({path for path, _ in missing})
        raise UserError(
            f"{oracle.name}: {len(missing)} of {len(asked)} regions in {images} images are not "
            f"answered, the first in {_image(oracle, missing[0])}; import more answers "
            "with annotation/import.py, which lists those that are missing, or put them back into "
            "the pool with --accept_partial"
        )
    status = {(p, r): oracle.answers(p)[r].status for p, r in asked if r in oracle.answers(p)}
    active_set.settle(lambda path, region: FATES[status.get((path, region), MISSING)])
    found = list(status.values())
    skipped = [region for region, name in status.items() if name == SKIPPED]
    answers = {
        "labelled": len(found) - len(skipped),
        "void": found.count(VOID),
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


def open_oracle(
    args: Namespace,
    folder: RunFolder,
    target: Domain,
    active_set: ActiveSet,
    datalist: Path | None,
    continued: bool,
    world: World,
) -> GroundTruth:
    """The oracle that --oracle names, which must know what the active set says of people.

    Args:
        args: the flags of ``train_ADA.py``.
        folder: of the run.
        target: the target, with its regions.
        active_set: read from ``datalist``.
        datalist: for the error line.
        continued: whether the run was stopped, perhaps in a round that has a copy of the answers.
        world: the ranks.

    Raises:
        UserError: there is no answer for a labelled region, or people are asked for regions that
            label files are to label.
    """
    if args.oracle == "people":
        if not world.on_main(lambda: continued and not active_set.asked and folder.taken.is_dir()):
            world.on_main(copy_answers, folder, target)
        return read_copy(folder, target, active_set, world)
    if active_set.asked and not args.accept_partial:
        raise UserError(
            f"{datalist}: people are asked for regions of it; go on with --oracle people, or put "
            "these regions back into the pool with --accept_partial"
        )
    if folder.answers.exists():
        log.warning("%s: is not read, since labels come from files; see --oracle", folder.answers)
    return GroundTruth(target)


def copy_answers(folder: RunFolder, target: Domain) -> None:
    """Copy people's answers for a round to train on, whatever is imported meanwhile.

    Raises:
        UserError: an answer's label map is gone, an import does not come to its end, or the disk
            refuses.
    """
    new = folder.taken.with_name(f".{folder.taken.name}.new")
    with locked_folder(folder.annotation, "-p", STORING_TAKES, "an import of answers"):
        recover_folder(folder.answers)
        Annotations(target, folder.answers)  # checked where people can mend them
        try:
            remove_folder(new)
            if folder.answers.is_dir():
                shutil.copytree(folder.answers, new)
            else:
                new.mkdir()
            remove_folder(folder.taken)
            new.rename(folder.taken)
        except OSError as error:
            raise UserError(
                f"{folder.taken}: cannot be written ({error.strerror or error}); free space"
            ) from error


def read_copy(
    folder: RunFolder, target: Domain, active_set: ActiveSet, world: World
) -> Annotations:
    """Return the answers that a round is trained on, on all ranks.

    Raises:
        UserError: the copy is damaged, another one on another rank, or lacks a labelled region.
    """
    oracle = Annotations(target, folder.taken, folder.answers)
    if other := world.first_other(oracle.state):
        raise UserError(
            f"{oracle.name}: rank {other[0]} has other answers there than rank 0; with --oracle "
            "people, -p must be on a disk that all machines share"
        )
    _check_labelled(active_set, oracle)
    return oracle


def take_answers(
    n: int, active_set: ActiveSet, oracle: GroundTruth, folder: RunFolder, accept_partial: bool
) -> int:
    """Before round ``n``, label what people were asked for and have answered.

    The record and datalist of the round before then hold the outcome.

    Args:
        n: number of the round.
        active_set: altered.
        oracle: the answers, if people are asked.
        folder: of the run.
        accept_partial: see :func:`settle_answers`.

    Returns:
        Pixels of the regions that people skipped, which the next selection's budget gets back.
    """
    record = folder.read_record(n - 1) or {}
    answers = record.get("answers", {})
    if active_set.asked:
        answers = settle_answers(active_set, oracle, accept_partial)
        if record:
            write_json(folder.record(n - 1), record | {"answers": answers}, indent=1)
        active_set.save(folder.datalist(n - 1))
    if isinstance(oracle, Annotations):
        tell_of_corrections(folder.answers, folder.taken)
        warn_of_unused(active_set, Annotations(oracle.domain, folder.answers))
        warn_of_skipped(active_set, oracle)
        warn_of_changed(active_set, oracle)
    return answers.get("skipped_pixels", 0)


def tell_of_corrections(answers: Path, taken: Path) -> None:
    """Say how many label maps were imported anew since the open round has begun."""
    maps = [path.relative_to(taken) for path in taken.rglob("*.png")]
    changed = [
        name
        for name in maps
        if (answers / name).is_file() and not filecmp.cmp(answers / name, taken / name)
    ]
    if changed:
        log.info(
            "%s: answers for %d images were imported anew since the round began, the first in %s; "
            "they count from the next round on",
            *(answers, len(changed), shown(str(changed[0]))),
        )


def _check_labelled(active_set: ActiveSet, oracle: Annotations) -> None:
    """Raise a :class:`UserError` if a region is labelled of which there is no answer."""
    labelled = sorted(active_set.labelled_regions)
    if lost := _unanswered(labelled, oracle):
        raise UserError(
            f"{oracle.name}: has no answers for {len(lost)} of {len(labelled)} labelled regions, "
            f"the first in {_image(oracle, lost[0])}; import them again, or copy the folder "
            "annotation/labels of the run that labelled them"
        )


def warn_of_unused(active_set: ActiveSet, oracle: Annotations) -> None:
    """Warn of answers that came, or were corrected, after the run had gone on without them."""
    labelled = active_set.labelled_regions
    unused = [
        (item.superpixel, region)
        for item in oracle.domain.items
        for region, answer in oracle.answers(item.superpixel).items()
        if FATES.get(answer.status) == "labelled" and (item.superpixel, region) not in labelled
    ]
    if unused:
        in_pool = sum(region in active_set.pool[path] for path, region in unused)
        log.warning(
            "%s: %d answered regions are not trained on, the first in %s: they had no answer when "
            "the run went on (%d, which count once they are asked for again), or were skipped (%d)",
            *(oracle.name, len(unused), _image(oracle, unused[0]), in_pool),
            len(unused) - in_pool,
        )


def warn_of_skipped(active_set: ActiveSet, oracle: Annotations) -> None:
    """Warn of regions that people skipped after the run had gone on with their answers."""
    labelled = sorted(active_set.labelled_regions)
    skipped = [(p, r) for p, r in labelled if oracle.answers(p)[r].status == SKIPPED]
    if skipped:
        log.warning(
            "%s: %d of %d labelled regions were skipped since, the first in %s: none of their "
            "pixels are trained on any more; if that is not meant, answer them anew",
            *(oracle.name, len(skipped), len(labelled), _image(oracle, skipped[0])),
        )


def warn_of_changed(active_set: ActiveSet, oracle: Annotations) -> None:
    """Warn of label maps that are not as they were imported: edited by hand, or other label ids."""
    pixels = oracle.pixels_by_class(active_set.labelled_regions)
    changed = [
        (path, region)
        for (path, region), counts in sorted(pixels.items())
        if counts[:-1].sum() != oracle.answers(path)[region].labelled
    ]
    if changed:
        path, region = changed[0]
        log.warning(
            "%s: %d of %d labelled regions have other labels than were imported, the first in %s "
            "(%d pixels with a class, then %d); import corrections with annotation/import.py, and "
            "leave label_to_train in info.json as it was",
            *(oracle.name, len(changed), len(pixels), _image(oracle, changed[0])),
            *(pixels[path, region][:-1].sum(), oracle.answers(path)[region].labelled),
        )


def _unanswered(regions: Iterable[tuple[str, int]], oracle: GroundTruth) -> list[tuple[str, int]]:
    """Those of some regions (superpixel path, region id) of which there is no answer."""
    return [(path, region) for path, region in regions if region not in oracle.answers(path)]


def _image(oracle: Annotations, region: tuple[str, int]) -> str:
    """The image of a region (superpixel path, region id), as people know it."""
    domain, (path, _) = oracle.domain, region
    item = next(item for item in domain.items if item.superpixel == path)
    return shown(image_key(item, domain.root))


def next_steps(n: int, package: Path, regions: int, pixels: int, run: Path) -> str:
    """What to do after a round that asked people, as three lines."""
    return (
        f"round {n:02d}: label {regions} regions ({pixels} pixels): open {package / 'index.html'}\n"
        f"then take the answers in: python annotation/import.py -p {run} FILES...\n"
        "then run the same command again, with --resume"
    )

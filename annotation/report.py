"""What an import tells of each image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from annotation.answers import Collector, ImageNotes, region_label
from annotation.canvas import AskedImage
from annotation.labels import Labels
from annotation.selected import labelled_regions
from annotation.untrusted import shorten
from dataloader.oracle import ANSWERED, MISSING, SKIPPED, VOID

MOST_LINES = 20  # of problems
SLIVER = 0.1  # of a region; less is a neighbour's shape that was drawn too far


def report(
    collector: Collector,
    labels: Labels,
    replaced: Mapping[str, Sequence[int]],
    withdrawn: Mapping[str, Sequence[int]],
    named: bool,
) -> Iterator[str]:
    """Lines for people: what was found of each image, then of the whole.

    Args:
        collector: with all files read.
        labels: as they are before this import.
        replaced: see :meth:`Labels.replaced`.
        withdrawn: see :meth:`Labels.store`.
        named: whether the packages were named, so that there may be others.
    """
    for key in sorted(collector.notes):
        yield f"{collector.images[key].entry.name} ({shorten(key, 200)}): " + "; ".join(
            _image_parts(collector, key, labels, replaced[key], withdrawn.get(key, ()))
        )
    absent = [
        image.entry.name
        for key, image in collector.images.items()
        if key not in collector.notes and set(image.regions) - set(labels.statuses(key))
    ]
    if absent:
        yield f"{len(absent)} images with regions to label are in none of these files: " + (
            ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        )
    answers = sum(_answered(notes) for notes in collector.notes.values())
    guessed = sum(_unchanged(collector.images[k], n) for k, n in collector.notes.items())
    if answers and answers == guessed:
        yield "note: all answers are just the first guess of the package; is this the right file?"
    yield from _about_zeros(collector)
    yield from (f"note: {remark}" for remark in collector.remarks)
    for name, key in list(collector.by_name.items())[:1]:
        yield (
            f"note: {shorten(name, 200)} is taken for {shorten(key, 200)}, which is asked for, "
            f"though the target has other images of its name ({len(collector.by_name)} such "
            "files); if it is of another, give it the folder of that image"
        )
    which = "none of the packages named" if named else "no labelling package"
    for name in list(collector.strangers)[:10]:
        hint = _meant(name, collector)
        yield f"{shorten(name, 200)}: is in {which}; not taken{hint}"
    if len(collector.strangers) > 10:
        yield f"... and {len(collector.strangers) - 10} more images that are in {which}"
    for problem in collector.problems[:MOST_LINES]:
        yield f"problem: {problem}"
    if len(collector.problems) > MOST_LINES:
        yield f"... and {len(collector.problems) - MOST_LINES} more problems"


def _meant(name: str, collector: Collector) -> str:
    """A hint at the image whose name, which has a digest in it, is a part of a file's name."""
    names = (image.entry.name for image in collector.images.values())
    found = next((n for n in names if n in name), "")
    return f" (did you mean {found}? rename the file)" if found else ""


def trained_on(
    withdrawn: Mapping[str, Sequence[int]], collector: Collector, run: Path
) -> Iterator[str]:
    """Problems with answers that are to be withdrawn, but that a run has labelled regions by.

    Args:
        withdrawn: key -> regions.
        collector: with all files read.
        run: folder of the run.
    """
    labelled = labelled_regions(run) if any(withdrawn.values()) else None
    for key, regions in withdrawn.items():
        image = collector.images[key]
        if labelled and (known := labelled.of(image.entry).intersection(regions)):
            yield (
                f"--withdraw: {region_label(image, min(known))} of {image.entry.name} "
                f"({len(known)} such regions) is labelled in {labelled.path} already; "
                f"answer it anew, or paint it {_name(collector, collector.classes.void)!r}"
            )


def overwritten(
    collector: Collector, replaced: Mapping[str, Sequence[int]], named: bool
) -> Iterator[str]:
    """Problems with answers that would be replaced by what was perhaps not meant as one.

    It is the background of a label map, or was drawn beside answers of a later round.

    Args:
        collector: with all files read.
        replaced: see :meth:`Labels.replaced`.
        named: whether ``--package`` tells which package the files are of; then all is meant.
    """
    for key, notes in collector.notes.items() if not named else ():
        image = collector.images[key]
        lost = {region: notes.answers[region] for region in {*replaced[key], *notes.changed}}
        under = [r for r, a in lost.items() if np.mean(a.codes == a.background) > 0.5]
        beside = [r for r, a in lost.items() if a.beside_later and r not in under]
        other_round = any(image.regions[region][0] is not image.package for region in under)
        round_hint = f"add --package {image.package.folder}, or whichever round these files are of"
        if under:
            background = _name(collector, lost[under[0]].background)
            save_hint = (
                "save what was not painted as 255, or black in colours; if it is meant, add "
                f"--package {image.package.folder}"
            )
            yield (
                f"{image.entry.name}: of {_labels(image, under)} another answer would be lost to "
                f"{background!r}, which is what lies around the asked regions, too; "
                f"{round_hint if other_round else save_hint}"
            )
        if beside:
            yield (
                f"{image.entry.name}: of {_labels(image, beside)} another answer would be replaced "
                f"by {shorten(lost[beside[0]].source, 200)}, which answers a later round, too; "
                f"{round_hint} (if of several, import them once with each)"
            )


def _labels(image: AskedImage, regions: Iterable[int]) -> str:
    return ", ".join(region_label(image, region) for region in sorted(regions))


def _name(collector: Collector, code: int) -> str:
    """The class of a code."""
    return next(c.name for c in collector.classes.classes if c.code == code)


def _about_zeros(collector: Collector) -> Iterator[str]:
    """A note if 0 is all that label maps of codes hold where nothing was asked."""
    names = [c.name for c in collector.classes.classes if c.code == 0]
    if not names or not collector.zeros or not all(around for around, _ in collector.zeros):
        return
    if any(inside for _, inside in collector.zeros):
        yield (
            f"note: all pixels outside of the asked regions are 0, which is class {names[0]!r}; "
            "if 0 is what was not painted, save that as 255, import again with --package and "
            "--withdraw, and then the other files again"
        )
    else:
        yield (
            "note: 0 is used outside of the asked regions alone; classes count from 0 in "
            f"classes.csv, where 0 is {names[0]!r} and 1 the next: did the tool count from 1?"
        )


def _image_parts(
    collector: Collector,
    key: str,
    labels: Labels,
    replaced: Sequence[int],
    withdrawn: Sequence[int],
) -> Iterator[str]:
    """The parts of one image's line."""
    image, notes, known = collector.images[key], collector.notes[key], labels.statuses(key)
    counts = dict.fromkeys((ANSWERED, VOID, SKIPPED), 0)
    for answer in notes.answers.values():
        if answer.status != MISSING:
            counts[answer.status] += 1
    yield ", ".join(
        f"{count} {status}" for status, count in counts.items() if count or status == ANSWERED
    )
    missing = {r: a for r, a in notes.answers.items() if a.status == MISSING}
    unknown = [r for r in missing if r not in known]
    if unknown:
        yield f"{len(unknown)} missing: " + _unanswered(image, notes, sorted(unknown))
    if kept := [r for r in missing if r in known and r not in {*withdrawn, *notes.parts}]:
        yield f"{len(kept)} not in these files, but answered before"
    parts = {r: part for r, part in notes.parts.items() if r not in {*unknown, *withdrawn}}
    if slivers := [r for r, part in parts.items() if part.share < SLIVER]:
        yield f"{len(slivers)} regions of which less than {SLIVER:.0%} is labelled, not taken"
    for region, part in parts.items():
        if region not in slivers:
            yield (
                f"only {part.share:.0%} of {region_label(image, region)} in "
                f"{shorten(part.source, 200)}, not taken: label {collector.min_share:.0%} of it or "
                "more"
            )
    if withdrawn:
        yield "earlier answers withdrawn: " + _unanswered(image, notes, withdrawn)
    if guessed := _unchanged(image, notes):
        yield f"{guessed} of them just as the first guess"
    if notes.outside:
        yield f"{notes.outside} pixels outside of the asked regions, not taken"
    if notes.overpainted:
        yield f"{notes.overpainted} pixels with two answers, the later one taken"
    for line in chain(*notes.changed.values()):
        yield f"{line}, the later one taken"
    for region, source in notes.guesses.items():
        yield (
            f"{region_label(image, region)}: {shorten(source, 200)} is just the first guess, the "
            "earlier answer kept (if it is meant, import this file alone, with --package and "
            "--withdraw)"
        )
    if replaced:
        yield f"replaces earlier answers of {_labels(image, replaced)}"


def _unanswered(image: AskedImage, notes: ImageNotes, regions: Sequence[int]) -> str:
    """Regions without an answer, with how much of them is labelled."""
    shares = {region: notes.answers[region].share for region in regions}
    return ", ".join(
        region_label(image, region) + (f" (only {share:.0%} of it labelled)" if share else "")
        for region, share in shares.items()
    )


def _answered(notes: ImageNotes) -> int:
    """How many regions are not missing."""
    return sum(answer.status != MISSING for answer in notes.answers.values())


def _unchanged(image: AskedImage, notes: ImageNotes) -> int:
    """How many regions came back exactly as the package suggested."""
    return sum(
        answer.status != MISSING and image.is_guess(region, answer.codes)
        for region, answer in notes.answers.items()
    )


def totals(statuses: Mapping[str, Mapping[int, str]], collector: Collector) -> str:
    """One line on all packages: how many regions are answered, and how many are left."""
    found = [
        statuses.get(key, {}).get(region, MISSING)
        for key, image in collector.images.items()
        for region in image.regions
    ]
    parts = [f"{found.count(status)} {status}" for status in (ANSWERED, VOID, SKIPPED, MISSING)]
    return f"of {len(found)} regions asked for: " + ", ".join(parts)

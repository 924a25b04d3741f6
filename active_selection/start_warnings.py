"""Warnings at the start of a run: what its checkpoint and datalist say, beside the data found."""

import logging
import os
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataloader.active_set import ActiveSet
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.oracle import Annotations
from dataloader.relocation import Moves, moves_of
from utils.errors import UserError, shown
from utils.files import read_json

log = logging.getLogger(__name__)


def warn_of_start(
    args: Namespace,
    checkpoint: Path,
    datalist: Path,
    active_set: ActiveSet,
    source: Domain,
    target: Domain,
) -> None:
    """Warn of all that the functions below look for, where the first round starts from files."""
    warn_of_other_round(args.init_iteration, checkpoint, datalist)
    warn_of_unlisted(datalist, active_set, target)
    for domain, prefix in ((source, "src"), (target, "trg")):
        given = getattr(args, f"{prefix}_datalist")
        moves = moves_of(args.relocate, prefix)
        warn_of_other_list(datalist, domain, f"--{prefix}_datalist", given, moves)
        if not args.relocate:
            warn_of_other_root(datalist, domain, f"--{prefix}_data_dir")


def warn_of_unlisted(datalist: Path, active_set: ActiveSet, target: Domain) -> None:
    """Warn of regions in the target's maps that a datalist does not know: none is ever selected.

    Those that people skipped left for good; ``answers.json`` beside the datalist names them.
    """
    unlisted = active_set.unlisted(target.regions)
    folder = datalist.parent / "annotation" / "labels"
    if unlisted and (folder / "answers.json").is_file():
        try:
            answers = Annotations(target, folder).answers
        except UserError:  # it matters to those alone who go on with people
            answers = {}.get
        unlisted = [
            (path, region) for path, region in unlisted if region not in (answers(path) or ())
        ]
    if unlisted:
        path, region = unlisted[0]
        log.warning(
            "%s: %d of %d regions in the superpixel maps are neither in its pool nor labelled, and "
            "are never selected (the first is region %d of %s); if the maps were made anew, its "
            "ids mean other pixels: restore the old maps, or start without --datalist_path",
            *(datalist, len(unlisted), sum(map(len, target.regions.values())), region, shown(path)),
        )


def warn_of_other_data(args: Namespace, data: Mapping[str, Mapping[str, Any]]) -> None:
    """Warn if the data are not those of the runs that an experiment starts from.

    Their settings lie beside --init_checkpoint and --datalist_path, unless these were moved.

    Args:
        args: the flags.
        data: records of the domains, see :func:`dataloader.data_record.describe_data`.
    """
    checkpoint = Path(args.init_checkpoint)
    script = "warmup" if checkpoint.name == "checkpoint.tar" else "train_ADA"
    before = _record_beside(checkpoint, script, "src", args, "src_dataset")
    if _differ("labels", before, data["src"]):
        log.warning(
            "--init_checkpoint %s: its network was trained with other label ids or classes of "
            "--src_dataset %s (info.json was altered since); train it anew if they were wrong",
            *(checkpoint, args.src_dataset),
        )
    if not args.datalist_path:
        return
    before = _record_beside(
        Path(args.datalist_path), "train_ADA", "trg", args, "oracle", "trg_datalist"
    )
    if _differ("maps", before, data["trg"]):
        log.warning(
            "%s: the run that wrote it had other superpixel maps or ignore masks in "
            "--trg_data_dir; if they were made anew, its region ids mean other pixels: restore "
            "the old maps, or start without --datalist_path",
            args.datalist_path,
        )


def warn_of_other_source(args: Namespace, facts: Mapping[str, Any]) -> None:
    """Warn if --init_checkpoint was trained on a dataset that is neither the source nor the target.

    Args:
        args: the flags.
        facts: description of its network, see :mod:`models.facts`; empty for a published one.
    """
    names = [load_dataset(getattr(args, f"{prefix}_dataset")).name for prefix in ("src", "trg")]
    if facts.get("dataset", names[0]) not in names:
        log.warning(
            "--src_dataset %s: rounds train on it, but the network in --init_checkpoint %s was "
            "trained on %s; to go on with that, give its --src_dataset and --src_data_dir",
            *(args.src_dataset, args.init_checkpoint, facts["dataset"]),
        )


def _record_beside(
    path: Path, script: str, prefix: str, args: Namespace, *flags: str
) -> dict[str, Any]:
    """A domain's record in the settings beside a run's file.

    Empty if there are none, or if one of ``flags`` was another, so that the record is of other
    files.
    """
    file = path.parent / f"{script}_settings.json"
    try:
        settings = read_json(file, "") if file.is_file() else {}
        record, given = settings["data"][prefix], settings["flags"]
        same = all(given[name] == getattr(args, name) for name in flags)
    except (UserError, LookupError, TypeError):
        return {}
    return record if same and isinstance(record, dict) else {}


def _differ(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether records of as many images differ in something that both tell."""
    images = [len(str(record.get("each_data"))) for record in (before, now)]
    return key in before and images[0] == images[1] and before[key] != now[key]


def warn_of_other_round(first_round: int, checkpoint: Path, datalist: Path) -> None:
    """Warn if files that a run continues from are those of another round, by their names.

    The published release trained the first round itself, and did not read its --init_checkpoint.

    Args:
        first_round: --init_iteration.
        checkpoint: --init_checkpoint, the network of this round.
        datalist: --datalist_path, what is labelled after the selection before.
    """
    network = re.fullmatch(r"checkpoint(\d{2,})?\.tar", checkpoint.name)
    listed = re.fullmatch(r"datalist_(\d{2,})\.pkl", datalist.name)
    after = int(listed[1]) + 1 if listed else first_round
    if network and network[1] and int(network[1]) == after != first_round:
        log.warning(
            "--init_iteration %d: %s and %s are named as those of round %d; give --init_iteration "
            "%d to continue there, with the share of density and the numbers of that round",
            *(first_round, checkpoint, datalist, after, after),
        )
        return
    if not first_round:  # a new experiment, perhaps on what another one labelled
        return
    if network and network[1] != f"{first_round:02d}":
        kept = f"of round {int(network[1])}" if network[1] else "of the warm-up"
        log.warning(
            "--init_checkpoint %s: is named as the network %s, and is validated as that of round "
            "%d (--init_iteration), without training; name checkpoint%02d.tar to continue there",
            *(checkpoint, kept, first_round, first_round),
        )
    if after != first_round:
        log.warning(
            "--datalist_path %s: is named as that of round %d, and is taken for what round %d "
            "(--init_iteration) was trained with; name datalist_%02d.pkl to continue there",
            *(datalist, after - 1, first_round, first_round - 1),
        )


def warn_of_other_root(datalist: Path, domain: Domain, flag: str) -> None:
    """Warn if all images that a datalist lists lie outside of the data root that a flag names."""
    root = os.path.join(os.path.abspath(domain.root), "")
    images = [item.image for item in domain.items]
    if not Path(root).is_dir() or any(image.startswith(root) for image in images):
        return
    first = Path(os.path.realpath(images[0]))
    if Path(os.path.realpath(root)) not in first.parents:
        log.warning(
            "%s: its images are read where it lists them (%s), not from %s %s; to read those, "
            "give --relocate OLD=NEW",
            *(datalist, shown(images[0]), flag, domain.root),
        )


def warn_of_other_list(
    datalist: Path, domain: Domain, flag: str, given: str | None, moves: Moves = ()
) -> None:
    """Warn if a list that a flag names has other images than a datalist, which is what counts."""
    if given is None:
        return
    try:
        images = {item.image for item in read_datalist(given, domain.root, moves, columns=1)}
    except UserError as error:
        log.warning("%s: is not needed, as %s lists the images (%s)", flag, datalist, error)
        return
    own = {item.image for item in domain.items}
    if images != own:
        log.warning(
            "%s %s: does not count, as %s lists the images: %d, of which %d are in this list of %d",
            *(flag, given, datalist, len(own), len(own & images), len(images)),
        )

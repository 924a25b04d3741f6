"""Results read from the folders of an experiment's runs."""

from argparse import Namespace
from collections.abc import Iterable

import numpy as np

import train_ADA
from dataloader.active_set import ActiveSet
from dataloader.class_counts import names_with_void
from dataloader.domain import load_domain
from dataloader.oracle import GroundTruth
from experiments.config import NOTE, Config, Run
from experiments.results import Kept, OfSeed, Rounds, Shares
from utils.errors import UserError
from utils.files import read_json
from utils.recorder import read_metrics


def collect(config: Config) -> Kept:
    """Read what is done of a config: seeds that have a bound, with the strategies done for them.

    Raises:
        UserError: files of a run or of the target are missing or damaged, or a folder holds another
            run.
    """
    seeds: dict[int, OfSeed] = {}
    target: Shares = {}
    spenders: dict[tuple, Spender] = {}  # by the target, whose regions may be others
    for seed in config.seeds:
        if not (config.warmup(seed).is_done and config.bound(seed).is_done):
            continue
        runs = {}
        for name, flags in (config.strategies | config.controls).items():
            run = config.rounds(seed, name)
            if run.is_done:
                args = train_ADA.parser().parse_args([*run.command[1:], "-p", str(run.folder)])
                place = args.trg_dataset, args.trg_data_dir, args.trg_datalist
                if not (spender := spenders.get(place)):
                    spender = spenders[place] = Spender(args)
                target = target or spender.shares(spender.everything)
                runs[name] = _rounds(run, flags, spender.shares(_last_list(run).labelled_regions))
        seeds[seed] = OfSeed(_best(config.warmup(seed)), _best(config.bound(seed)), runs)
    return Kept(config.flags, target, seeds, config.folder)


class Spender:
    """Classes of the regions of a target.

    Args:
        args: the flags of a run, which name the target.
    """

    def __init__(self, args: Namespace):
        domain = load_domain(args, "trg", "train", "image", "label", "superpixel")
        domain = domain.with_regions("train")
        self.oracle = GroundTruth(domain)
        self.names = names_with_void(domain.info.class_names)
        self.everything = {(path, r) for path, ids in domain.regions.items() for r in ids}

    def shares(self, regions: Iterable[tuple[str, int]]) -> Shares:
        """Return the percentage of each class that occurs in (superpixel path, region id)s."""
        counts = sum(self.oracle.pixels_by_class(regions).values(), np.zeros(len(self.names), int))
        percent = np.round(100 * counts / max(1, counts.sum()), 2)
        present = zip(self.names, percent.tolist(), counts, strict=True)
        return {name: share for name, share, count in present if count}


def _rounds(run: Run, flags: list[str], spent: Shares) -> Rounds:
    """Read the records and validations of a strategy's run."""
    paths = sorted((run.folder / "AL_record").glob("round_*.json"))
    records = [read_json(path, "run again") for path in paths]
    try:
        percent, miou = (
            np.round([float(record[key]) for record in records], 2)
            for key in ("labelled_percent", "mIoU")
        )
        asked = [sum(part["regions"] for part in record["selection"]) for record in records[:-1]]
        validated = [_validations(run, number) for number in range(1, len(records))]
        columns = percent, np.cumsum([0, *asked]), miou, np.round(np.array(validated, float), 2)
        return Rounds(flags, *columns, spent)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{run.folder}: records are missing or damaged; run again") from error


def _last_list(run: Run) -> ActiveSet:
    paths = list(run.folder.glob("datalist_*.pkl"))
    if not paths:
        raise UserError(f"{run.folder}: no datalist_XX.pkl in it; remove {NOTE} and run again")
    return ActiveSet.load(max(paths), ".", ".")


def _best(run: Run) -> float:
    """Return the best validated mIoU of a warm-up or bound, in percent."""
    return max(_validations(run))


def _validations(run: Run, number: int | None = None) -> list[float]:
    """Return the validated mIoUs of a round, or of a warm-up or bound, in percent."""
    path = run.folder / "metrics.jsonl"
    validations = [e for e in read_metrics(path) if e.get("kind") == "validation"]
    found = [e.get("mIoU") for e in validations if e.get("round") == number]
    if not found or not all(type(miou) in (int, float) and 0 <= miou <= 100 for miou in found):
        raise UserError(
            f"{path}: has no validation, or a damaged one; remove {NOTE} beside it and run again"
        )
    return found

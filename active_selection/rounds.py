"""The rounds of an experiment: data, network and active set, and where the present round stands."""

import logging
from argparse import Namespace
from collections.abc import Iterator, Set
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import count
from pathlib import Path

import torch

from active_selection.density import DensityOptions
from active_selection.region_table import areas_only
from active_selection.selection import PhaseResult, TableBuilder, in_pool, selection_path, spend
from active_selection.strategies import (
    NEED_DISCRIMINATOR,
    NEED_EDGES,
    NEED_NO_NETWORK,
    NEED_SOURCE,
    STRATEGIES,
    Candidates,
    phases,
)
from dataloader.active_set import ActiveSet
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, TrainingSet
from dataloader.domain import load_domain, make_validator
from dataloader.edges import check_edges, region_edges
from dataloader.images import check_files
from dataloader.loaders import training_loader
from dataloader.regions import Regions, check_maps, load_regions
from models import get_model
from models.discriminator import Discriminator
from utils.checkpoint import load_discriminator, load_model, save_checkpoint
from utils.engine import train
from utils.files import copy_file, read_json, write_json
from utils.optim import schedule, segmentation_optimizer
from utils.resume import StateFile, iteration_of, log_size, rewind_log
from utils.runtime import Runtime
from utils.steps import SupervisedStep

log = logging.getLogger(__name__)


def checkpoint_path(args: Namespace, number: int) -> Path:
    """Where a round's network is written."""
    return args.model_save_dir / f"checkpoint{number:02d}.tar"


def datalist_path(args: Namespace, number: int) -> Path:
    """Where the active set after a round's selection is written."""
    return args.model_save_dir / f"datalist_{number:02d}.pkl"


def record_path(args: Namespace, number: int) -> Path:
    """Where a round's outcome is written, last of all its files."""
    return args.model_save_dir / "AL_record" / f"round_{number:02d}.json"


def state_path(args: Namespace) -> Path:
    """Where the state of a round's training is kept while it runs."""
    return args.model_save_dir / "round_state.tar"


def mark_path(args: Namespace) -> Path:
    """Where it is kept which round runs, and how long the log was before it."""
    return args.model_save_dir / "round.json"


def planned_files(args: Namespace) -> list[Path]:
    """What the rounds are going to write; none of it may be there before.

    But for the checkpoint that the first round adopts, and the record of a last round, which
    selected nothing, where that round is now taken up again.
    """
    rounds = range(args.init_iteration, args.max_iterations + 1)
    paths = [
        path(args, n) for path in (checkpoint_path, datalist_path, record_path) for n in rounds
    ]
    paths += [selection_path(args.model_save_dir, name, n) for name in STRATEGIES for n in rounds]
    free = {Path(args.init_checkpoint).resolve()}
    if not datalist_path(args, args.init_iteration).is_file():
        free.add(record_path(args, args.init_iteration).resolve())
    return [path for path in paths if path.resolve() not in free]


def first_open_round(args: Namespace) -> int:
    """The first round that is not done; without --resume the first of all."""
    if not args.resume:
        return args.init_iteration
    return next(n for n in count(args.init_iteration) if not _is_done(args, n))


def _is_done(args: Namespace, number: int) -> bool:
    """Whether a round has a record, and the selection that it needs if another round follows."""
    selected = number >= args.max_iterations or datalist_path(args, number).is_file()
    return record_path(args, number).is_file() and selected


def clean_up(args: Namespace) -> None:
    """Remove what only a continuation would need."""
    state_path(args).unlink(missing_ok=True)
    mark_path(args).unlink(missing_ok=True)


class Experiment:
    """What stays the same from round to round, and where the present round stands.

    Rounds that have a record are done; the first without one begins, or goes on, from the
    checkpoint and the datalist of the round before.
    """

    def __init__(self, args: Namespace):
        self.args = args
        self.number = self.first_round = first_open_round(args)
        checkpoint, self.datalist = args.init_checkpoint, args.datalist_path
        if self.first_round > args.init_iteration:
            checkpoint = checkpoint_path(args, self.first_round - 1)
            self.datalist = datalist_path(args, self.first_round - 1)
        self.log_path = args.model_save_dir / "log_train.txt"
        self.feature_dir = args.save_feat_dir or args.model_save_dir / "features"
        self.runtime = Runtime.from_args(args)
        self.source_info = load_dataset(args.src_dataset)
        self.target_info = load_dataset(args.trg_dataset)
        self.model = get_model(
            args.model, args.num_classes, args.output_stride, args.separable_conv, False
        )
        load_model(checkpoint, self.model)
        self.runtime.prepare(self.model)
        self.discriminator = None
        if args.active_method in NEED_DISCRIMINATOR:
            self.discriminator = self.runtime.prepare(Discriminator(args.num_classes)).eval()
            load_discriminator(checkpoint, self.discriminator)
        self.validator = make_validator(args, self.model, self.runtime)
        self.needs_source = args.active_method in NEED_SOURCE
        self.target_regions: Regions = {}
        self.source_regions: Regions = {}
        self.active_set = self._start_active_set()
        self.target_pixels = sum(sum(areas.values()) for areas in self.target_regions.values())

    def _start_active_set(self) -> ActiveSet:
        """The active set to go on from, else one with every target region in the pool."""
        args = self.args
        columns = ("image", "label", "superpixel")
        source_columns = columns if self.needs_source else columns[:2]
        if self.datalist:
            active_set = ActiveSet.load(
                self.datalist, args.src_data_dir, args.trg_data_dir, args.relocate
            )
            check_files(active_set.source, self.source_info, *source_columns)
            check_files(active_set.target, self.target_info, *columns)
        else:
            source = load_domain(args, "src", "train", *source_columns)
            target = load_domain(args, "trg", "train", *columns)
            active_set = ActiveSet(source.items, target.items, {})
        self.target_regions = load_regions(active_set.target, args.trg_data_dir, "train")
        if args.active_method in NEED_NO_NETWORK:  # the others' pass over the images checks this
            check_maps(active_set.target, self.target_regions)
        if args.active_method in NEED_EDGES:
            check_edges(active_set.target, args.trg_data_dir)
        if self.needs_source:
            self.source_regions = load_regions(active_set.source, args.src_data_dir, "train")
        if not self.datalist:
            return ActiveSet(active_set.source, active_set.target, self.target_regions)
        if dropped := active_set.drop_unknown(self.target_regions):
            log.warning(
                "%s: %d of its regions are not in the superpixel maps and are left out",
                *(self.datalist, dropped),
            )
        return active_set

    def labelled_pixels(self) -> int:
        """Target pixels labelled so far, at the superpixel maps' own size."""
        regions = self.target_regions
        return sum(
            regions[path][region]
            for path, ids in self.active_set.labelled.items()
            for region in ids
        )

    def begin(self, number: int) -> None:
        """Begin a round; when it is taken up again, the log goes back to where its state was."""
        self.number = number
        self.state_file = StateFile(state_path(self.args), self.log_path, f"round {number:02d}")
        if not self.args.resume:
            self.state_file.remove()  # of an older run
            record_path(self.args, number).unlink(missing_ok=True)  # a last round taken up again
        self.state = self.state_file.read()
        mark = {"round": number, "log_bytes": log_size(self.log_path)}
        mark_file = mark_path(self.args)
        if self.args.resume and mark_file.is_file():
            before = read_json(mark_file, "remove it")
            if before["round"] == number and not self.state:
                rewind_log(self.log_path, before["log_bytes"])
                mark = before
        write_json(mark_file, mark)

    def adopt(self, source: Path) -> float:
        """Take over --init_checkpoint as the first round's network and validate it."""
        checkpoint = checkpoint_path(self.args, self.number)
        if source.resolve() != checkpoint.resolve():
            copy_file(source, checkpoint)
        log.info("round %02d: %s", self.number, source)
        return self.validator()

    def finetune(self) -> float:
        """Train on the source and all labelled regions, from the round before; keep the best."""
        args, total, state = self.args, self.args.finetune_itrs, self.state
        checkpoint = checkpoint_path(args, self.number)
        seed = args.seed + self.number
        torch.manual_seed(seed)
        optimizer = segmentation_optimizer(self.model, args.finetune_lr, args.weight_decay)
        loader = training_loader(
            self._training_set(), args.train_batch_size, seed, args.num_workers, iteration_of(state)
        )
        step = SupervisedStep(self.model, optimizer, loader, args.loss_type, self.runtime)
        log.info("round %02d: fine-tuning on %d images", self.number, len(loader.dataset))
        best = train(
            step,
            total,
            schedule(total),
            args.freeze_bn,
            val_due=lambda done: done % args.val_period == 0 and done > total * 2 / 3,
            validate=self.validator,
            on_best=lambda: save_checkpoint(checkpoint, self.model, optimizer, self.discriminator),
            save=lambda progress: self.state_file.save(step, progress),
            save_period=args.save_period,
            progress=self.state_file.restore(step, state) if state else None,
        )
        load_model(checkpoint, self.model)
        return best

    def _training_set(self) -> TrainingSet:
        """All source images, and target images with their labelled regions only."""
        active = self.active_set
        samples = [Sample(item, self.source_info) for item in active.source]
        samples += [
            Sample(item, self.target_info, active.labelled[item.superpixel])
            for item in active.labelled_items
        ]
        return TrainingSet(samples, tuple(self.args.image_size))

    def select(self) -> list[PhaseResult]:
        """Choose and label regions."""
        args = self.args
        image_pixels = self.target_pixels / len(self.active_set.target)
        budget = round(args.active_selection_size * image_pixels)
        plan = phases(
            *(args.active_method, args.uncertainty, self.number + 1),
            *(budget, args.alpha, args.beta),
        )
        folder = args.model_save_dir
        open_phases = {
            name
            for name, pixels in plan
            if pixels and not selection_path(folder, name, self.number).is_file()
        }
        with self._evidence(open_phases) if open_phases else nullcontext() as evidence:
            return spend(plan, evidence, self.active_set, self.target_regions, folder, self.number)

    @contextmanager
    def _evidence(self, strategies: Set[str]) -> Iterator[Candidates]:
        """What strategies look at: the region tables, filled by the round's network if need be."""
        args = self.args
        folder = self.feature_dir
        builder = TableBuilder(
            self.model,
            num_classes=args.num_classes,
            size=tuple(args.image_size),
            batch_size=args.val_batch_size,
            num_workers=args.num_workers,
            runtime=self.runtime,
            folder=folder,
            keep=args.keep_features,
            save_period=args.save_period,
            discriminator=self.discriminator,
        )
        name = f"round{self.number:02d}"
        active = self.active_set
        edge = None
        if not strategies.isdisjoint(NEED_EDGES):
            edge = region_edges(active.target, args.trg_data_dir, self.target_regions)
        source_table = nullcontext()
        if not strategies.isdisjoint(NEED_SOURCE):
            source_table = builder.table(
                f"{name}_source", active.source, self.source_info, self.source_regions
            )
        if strategies.issubset(NEED_NO_NETWORK) and not args.keep_features:
            target_table = nullcontext(areas_only(active.target, self.target_regions))
        else:
            target_table = builder.table(
                f"{name}_target", active.target, self.target_info, self.target_regions
            )
        with source_table as source, target_table as target:
            density = DensityOptions(
                components=args.components,
                max_source_regions=args.max_source_regions,
                class_balance=args.class_balance,
                skip_classes=self.source_info.missing_classes,
                mixtures_file=folder / f"{name}_mixtures.npz" if args.keep_features else None,
            )
            device = self.runtime.float64_device
            evidence = Candidates(target, source, args.seed, density, edge, device)
            in_scan = args.active_mode == "scan"
            yield evidence.per_image(in_pool(target, active)) if in_scan else evidence

    def record(self, miou: float, labelled: int, spent: list[PhaseResult]) -> None:
        """Log a round's outcome and write it to AL_record/round_XX.json: the round is done."""
        if not self.args.keep_features:  # also what a killed process left
            for path in self.feature_dir.glob(f"round{self.number:02d}_*"):
                path.unlink()
        share = labelled / self.target_pixels
        now = self.labelled_pixels()
        number = self.number
        log.info("round %02d: mIoU %.2f with %.2f %% labelled", number, 100 * miou, 100 * share)
        if spent:
            log.info(
                "round %02d: spent %d px, %d px (%.2f %%) in total",
                *(number, now - labelled, now, 100 * now / self.target_pixels),
            )
        write_json(
            record_path(self.args, number),
            {
                "round": number,
                "mIoU": 100 * miou,
                "labelled_pixels": labelled,
                "labelled_percent": 100 * share,
                "target_pixels": self.target_pixels,
                "selection": [asdict(phase) for phase in spent],
                "labelled_pixels_after": now,
            },
            indent=1,
        )

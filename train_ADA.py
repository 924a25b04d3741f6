"""Active domain adaptation: rounds of fine-tuning, validation and selection of target regions.

The first round adopts --init_checkpoint, validates it and selects; each later round fine-tunes on
the source and all regions labelled so far, keeps its best checkpoint, and selects; the last round
selects nothing. To continue an experiment at round X: --init_iteration X --init_checkpoint
EXP/checkpoint0X.tar --datalist_path EXP/datalist_0{X-1}.pkl.
"""

import logging
from argparse import Namespace
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from active_selection.region_table import SCORES
from active_selection.selection import Spent, TableBuilder, in_pool, spend
from active_selection.strategies import METHODS, NEED_SOURCE, Evidence, phases
from dataloader.active_set import ActiveSet
from dataloader.datasets import load_dataset
from dataloader.domain import load_domain, make_validator
from dataloader.images import check_files
from dataloader.regions import Regions, load_regions
from dataloader.segmentation import JoinedSet, TrainingSet, training_loader
from models import MODEL_NAMES, get_model
from utils.checkpoint import load_model, save_checkpoint
from utils.common import (
    COUNT,
    POSITIVE,
    POSITIVE_INT,
    SHARE,
    Parser,
    check_training,
    start_log,
    training_parser,
)
from utils.device import Compute
from utils.engine import SupervisedStep, train
from utils.errors import UserError, run
from utils.files import copy_file, write_json
from utils.optim import schedule, segmentation_optimizer

log = logging.getLogger("train_ADA")


def parser() -> Parser:
    """The command line of this script."""
    result = training_parser(__doc__, MODEL_NAMES)
    group = result.add_argument_group("active rounds")
    group.add_argument("--init_checkpoint", required=True, help="network of the first round")
    group.add_argument("--datalist_path", help="datalist_XX.pkl to go on from")
    group.add_argument("--save_feat_dir", type=Path, help="features (default: below -p)")
    group.add_argument("--keep_features", action="store_true", help="keep features and mixtures")
    group.add_argument("--init_iteration", type=COUNT, default=0, help="first round")
    group.add_argument("--max_iterations", type=COUNT, default=5, help="last round")
    group.add_argument("--finetune_itrs", type=POSITIVE_INT, default=120_000, help="a round")
    group.add_argument("--finetune_lr", type=POSITIVE, default=2.5e-4, help="backbone; head is 10x")
    group.add_argument(
        "--active_selection_size", type=SHARE, default=29.0, help="images' worth of pixels a round"
    )
    group.add_argument("--active_mode", default="region", choices=("region", "scan"))
    group.add_argument("--active_method", default="d2ada", choices=METHODS)
    group.add_argument("--uncertainty", default=SCORES[0], choices=SCORES, help="of d2ada")
    group.add_argument("--alpha", type=SHARE, default=1.0, help="share of density at first")
    group.add_argument("--beta", type=SHARE, default=1.0, help="how fast that share falls")
    return result


def main() -> None:
    args = parser().parse_args()
    check_arguments(args)
    folder = args.model_save_dir
    start_log(folder / "log_train.txt")
    log.info("%s", vars(args))

    experiment = Experiment(args)
    for number in range(args.init_iteration, args.max_iterations + 1):
        checkpoint = folder / f"checkpoint{number:02d}.tar"
        labelled = experiment.labelled_pixels()
        if number == args.init_iteration:
            miou = experiment.adopt(Path(args.init_checkpoint), checkpoint)
        else:
            miou = experiment.finetune(number, checkpoint)
        spent = []
        if number < args.max_iterations:
            spent = experiment.select(number)
            experiment.active_set.save(folder / f"datalist_{number:02d}.pkl")
        experiment.record(number, miou, labelled, spent)
    log.info("done: rounds %d to %d in %s", args.init_iteration, args.max_iterations, folder)


def check_arguments(args: Namespace) -> None:
    """Refuse combinations of flags that make no experiment."""
    check_training(args)
    if args.init_iteration > args.max_iterations:
        raise UserError(
            f"--init_iteration {args.init_iteration}: beyond --max_iterations {args.max_iterations}"
        )
    if args.init_iteration and not args.datalist_path:
        raise UserError(
            f"--init_iteration {args.init_iteration}: name the datalist to go on from with "
            f"--datalist_path EXP/datalist_{args.init_iteration - 1:02d}.pkl"
        )


class Experiment:
    """What stays the same from round to round: data, network, and the active set."""

    def __init__(self, args: Namespace):
        self.args = args
        self.compute = Compute.of(args)
        self.source_info = load_dataset(args.src_dataset)
        self.target_info = load_dataset(args.trg_dataset)
        self.model = get_model(
            args.model, args.num_classes, args.output_stride, args.separable_conv, False
        )
        load_model(args.init_checkpoint, self.model)
        self.compute.place(self.model)
        self.validator = make_validator(args, self.model, self.compute)
        self.needs_source = args.active_method in NEED_SOURCE
        self.target_regions: Regions = {}
        self.source_regions: Regions = {}
        self.active_set = self._start_active_set()
        self.target_pixels = sum(sum(areas.values()) for areas in self.target_regions.values())

    def _start_active_set(self) -> ActiveSet:
        """The active set of --datalist_path, else one with every target region in the pool."""
        args = self.args
        columns = ("image", "label", "superpixel")
        source_columns = columns if self.needs_source else columns[:2]
        if args.datalist_path:
            active_set = ActiveSet.load(args.datalist_path, args.src_data_dir, args.trg_data_dir)
            check_files(active_set.source, self.source_info, *source_columns)
            check_files(active_set.target, self.target_info, *columns)
        else:
            source = load_domain(args, "src", "train", *source_columns)
            target = load_domain(args, "trg", "train", *columns)
            active_set = ActiveSet(source.items, target.items, {})
        self.target_regions = load_regions(active_set.target, args.trg_data_dir, "train")
        if self.needs_source:
            self.source_regions = load_regions(active_set.source, args.src_data_dir, "train")
        if not args.datalist_path:
            return ActiveSet(active_set.source, active_set.target, self.target_regions)
        if dropped := active_set.drop_unknown(self.target_regions):
            log.warning(
                "%s: %d of its regions are not in the superpixel maps and are left out",
                *(args.datalist_path, dropped),
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

    def adopt(self, source: Path, checkpoint: Path) -> float:
        """Take over --init_checkpoint as the first round's network and validate it."""
        if source.resolve() != checkpoint.resolve():
            copy_file(source, checkpoint)
        log.info("round %02d: %s", self.args.init_iteration, source)
        return self.validator()

    def finetune(self, number: int, checkpoint: Path) -> float:
        """Train on the source and all labelled regions, from the round before; keep the best."""
        args = self.args
        total = args.finetune_itrs
        torch.manual_seed(args.seed + number)
        optimizer = segmentation_optimizer(self.model, args.finetune_lr, args.weight_decay)
        data = self._training_set()
        loader = training_loader(data, args.train_batch_size, args.seed + number, args.num_workers)
        log.info("round %02d: fine-tuning on %d images", number, len(data))
        best = train(
            SupervisedStep(self.model, optimizer, loader, args.loss_type, self.compute),
            total,
            schedule(total),
            args.freeze_bn,
            val_due=lambda done: done % args.val_period == 0 and done > total * 2 / 3,
            validate=self.validator,
            keep=lambda: save_checkpoint(checkpoint, self.model, optimizer),
        )
        load_model(checkpoint, self.model)
        return best

    def _training_set(self) -> JoinedSet:
        """All source images, and target images with their labelled regions only."""
        size = tuple(self.args.image_size)
        active = self.active_set
        source = TrainingSet(active.source, self.source_info, size)
        target = TrainingSet(
            active.labelled_items, self.target_info, size, labelled=active.labelled
        )
        return JoinedSet([source, target])

    def select(self, number: int) -> list[Spent]:
        """Choose and label the regions of round ``number``."""
        args = self.args
        folder = args.save_feat_dir or args.model_save_dir / "features"
        builder = TableBuilder(
            self.model,
            args.num_classes,
            tuple(args.image_size),
            args.val_batch_size,
            args.num_workers,
            self.compute,
            folder,
            args.keep_features,
        )
        image_pixels = self.target_pixels / len(self.active_set.target)
        budget = round(args.active_selection_size * image_pixels)
        plan = phases(
            args.active_method, args.uncertainty, number + 1, budget, args.alpha, args.beta
        )
        name = f"round{number:02d}"
        source_table = nullcontext()
        if any(strategy == "density" and pixels for strategy, pixels in plan):
            source_table = builder.table(
                f"{name}_source", self.active_set.source, self.source_info, self.source_regions
            )
        target_table = builder.table(
            f"{name}_target", self.active_set.target, self.target_info, self.target_regions
        )
        with source_table as source, target_table as target:
            if args.active_mode == "scan":
                source = source and source.per_image()
                target = target.per_image(in_pool(target, self.active_set))
            evidence = Evidence(
                target=target,
                source=source,
                seed=args.seed,
                skip_classes=self.source_info.missing_classes,
                mixtures_file=folder / f"{name}_mixtures.npz" if args.keep_features else None,
            )
            return spend(plan, evidence, self.active_set, args.model_save_dir, number)

    def record(self, number: int, miou: float, labelled: int, spent: list[Spent]) -> None:
        """Log a round's outcome and write it to AL_record/round_XX.json."""
        share = labelled / self.target_pixels
        log.info("round %02d: mIoU %.2f with %.2f %% labelled", number, 100 * miou, 100 * share)
        now = self.labelled_pixels()
        if spent:
            log.info(
                "round %02d: spent %d px, %d px (%.2f %%) in total",
                *(number, now - labelled, now, 100 * now / self.target_pixels),
            )
        write_json(
            self.args.model_save_dir / "AL_record" / f"round_{number:02d}.json",
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


if __name__ == "__main__":
    run(main)

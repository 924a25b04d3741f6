"""The rounds of an experiment: fine-tune, validate, select, record."""

import logging
from argparse import Namespace
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import torch

from active_selection.density import DensityOptions
from active_selection.listed import warn_of_start
from active_selection.people import (
    check_same_answers,
    open_oracle,
    settle_answers,
    take_copy,
    tell_of_corrections,
    warn_of_changed,
    warn_of_unused,
)
from active_selection.phases import Phase, PhaseResult, plan_phases, run_phases, unlabelled_rows
from active_selection.region_table import RegionTable, areas_only
from active_selection.round_table import labelled_by_class, round_table
from active_selection.run_folder import RunFolder
from active_selection.schedule import budget_pixels
from active_selection.strategies import STRATEGIES, Candidates, needs_of
from active_selection.table_pass import PassOptions, measure
from dataloader.dataset_info import DatasetInfo
from dataloader.datasets import Sample, TrainingSet
from dataloader.domain import Domain, load_domain, load_domains, make_validator
from dataloader.edges import region_edges
from dataloader.examples import start_recorder
from dataloader.loaders import training_loader
from dataloader.oracle import Annotations
from models import get_model
from models.discriminator import Discriminator
from models.facts import network_facts
from utils.checkpoint import load_discriminator, load_model
from utils.distributed import SINGLE, World
from utils.engine import Training, TrainingPlan
from utils.files import copy_file, write_json
from utils.optim import segmentation_optimizer
from utils.recorder import Step
from utils.runtime import Runtime
from utils.steps import SupervisedStep
from utils.validation import Scores

log = logging.getLogger(__name__)


def phases_of(args: Namespace, n: int, budget: int) -> list[Phase]:
    """Return the phases of selection ``n``, counted from 1, for a budget in pixels."""
    return plan_phases(args.active_method, args.uncertainty, n, budget, args.alpha, args.beta)


def density_options(
    args: Namespace, source: DatasetInfo, mixtures_file: Path | None = None
) -> DensityOptions:
    """Return the options of density selection from the flags of ``train_ADA.py``."""
    return DensityOptions(
        components=args.components,
        max_source_regions=args.max_source_regions,
        class_balance=args.class_balance,
        covariance=args.covariance,
        skip_classes=source.missing_classes,
        class_names=source.class_names,
        mixtures_file=mixtures_file,
    )


class Experiment:
    """The network, domains and active set of an experiment, which all rounds share.

    Args:
        args: the flags of ``train_ADA.py``.
        folder: folder of the run.
        first_round: number of the round to begin with, see :class:`RunFolder`.
        world: the ranks; only rank 0 reads and writes the files of the run.
    """

    def __init__(self, args: Namespace, folder: RunFolder, first_round: int, world: World = SINGLE):
        self.args = args
        self.folder = folder
        self.first_round = first_round
        self.world = world
        checkpoint, datalist = folder.start_of(first_round)
        self.runtime = Runtime.from_args(args, world)
        needs = needs_of(phase.strategy for phase in phases_of(args, 1, 0))
        self.model = get_model(
            args.model, args.num_classes, args.output_stride, args.separable_conv, False
        )
        load_model(checkpoint, self.model, world)
        self.runtime.prepare(self.model)
        self.discriminator = None
        if "discriminator" in needs:
            self.discriminator = self.runtime.prepare(Discriminator(args.num_classes)).eval()
            load_discriminator(checkpoint, self.discriminator, world)
        self.people = args.oracle == "people"
        self.returned_pixels = 0  # of the last selection, as people skipped their regions
        with world.first_on_each_machine():
            validation = load_domain(args, "val", "val", "image", "label")
        self.source, self.target, self.active_set = load_domains(
            args, needs, datalist, target_labels=not self.people, world=world
        )
        if datalist and first_round == args.init_iteration:  # later ones are the run's own
            warn_of_start(args, checkpoint, datalist, self.active_set, self.source, self.target)
        self.validate = make_validator(args, validation, self.model, self.runtime)
        self.recorder = start_recorder(
            *(args, folder.metrics, "train_ADA", args.finetune_itrs),
            *(validation, self.model, self.runtime),
        )
        self.told = self.active_set.labelled_regions
        """What was labelled when the last table was logged."""
        self.domains = {"src": self.source, "trg": self.target, "val": validation}
        goes_on = self.people and args.resume and not self.active_set.asked
        answers = folder.taken if goes_on and folder.taken.is_dir() else folder.answers
        self.oracle = open_oracle(args, answers, self.target, self.active_set, datalist)
        if self.people:
            check_same_answers(self.oracle, world)

    def adopt(self, n: int) -> Scores:
        """Use --init_checkpoint as the network of the first round, and validate it."""
        source, checkpoint = Path(self.args.init_checkpoint), self.folder.checkpoint(n)
        if self.world.is_main and source.resolve() != checkpoint.resolve():
            copy_file(source, checkpoint)
        log.info("round %02d: %s", n, source)
        with self.recorder.timed("validate", Step(n)):
            scores = self.validate()
        self.recorder.write("validation", Step(n, 0), **scores.measured())
        return scores

    def train(self, n: int) -> Scores:
        """The scores of a round's network, which is trained unless it was when it was the last."""
        if n == self.args.init_iteration:
            return self.adopt(n)
        if n > self.first_round or not self.world.on_main(self.folder.is_trained, n):
            return self.finetune(n)
        log.info("round %02d: is trained already", n)
        load_model(self.folder.checkpoint(n), self.model, self.world)
        return self.validate()

    def finetune(self, n: int) -> Scores:
        """Fine-tune the last round's network on source and labelled regions; keep the best."""
        args, checkpoint = self.args, self.folder.checkpoint(n)
        torch.manual_seed(args.seed + n)
        optimizer = segmentation_optimizer(self.model, args.finetune_lr, args.weight_decay)
        loader = training_loader(
            *(self._training_set(), args.train_batch_size, args.seed + n, args.num_workers),
            *(args.grad_accum, self.world, self.runtime.device),
        )
        step = SupervisedStep(
            *(self.model, optimizer, loader, args.loss_type, self.runtime),
            discriminator=self.discriminator,
            focal_gamma=args.focal_gamma,
            grad_accum=args.grad_accum,
        )
        plan = TrainingPlan.from_args(args, args.finetune_itrs, args.finetune_itrs * 2 / 3)
        log.info("round %02d: fine-tuning on %d images", n, len(loader.dataset))
        state = self.folder.state(n)
        info = self.source.info
        facts = network_facts(args, info.name, info.class_names, info.palette)
        training = Training(step, plan, self.validate, checkpoint, state, self.recorder, n, facts)
        with self.recorder.timed("finetune", Step(n)):
            scores = training.run()
        load_model(checkpoint, self.model, self.world)
        return scores

    def _training_set(self) -> TrainingSet:
        """Return all source images, and target images with only their labelled regions."""
        active = self.active_set
        samples = [Sample(item, self.source.info) for item in active.source]
        samples += [
            self.oracle.sample(item, active.labelled[item.superpixel])
            for item in active.labelled_items
        ]
        return TrainingSet(samples, tuple(self.args.image_size))

    def take_answers(self, n: int) -> None:
        """Before round ``n``, label what people were asked for and have answered.

        The record and datalist of the round before then hold the outcome, and a copy the answers,
        so that later imports change nothing of it.
        """
        if self.world.is_main:
            self._take_answers(n)
        self.active_set, self.returned_pixels = self.world.broadcast(
            (self.active_set, self.returned_pixels)
        )
        if self.people:
            self.oracle = Annotations(self.target, self.folder.taken)

    def _take_answers(self, n: int) -> None:
        record = self.folder.read_record(n - 1) or {}
        answers = record.get("answers", {})
        asked = bool(self.active_set.asked)
        if asked:
            answers = settle_answers(self.active_set, self.oracle, self.args.accept_partial)
        if self.people:
            self._copy_answers()
        if asked:
            if record:
                write_json(self.folder.record(n - 1), record | {"answers": answers}, indent=1)
            self.active_set.save(self.folder.datalist(n - 1))
        self.returned_pixels = answers.get("skipped_pixels", 0)

    def _copy_answers(self) -> None:
        """Copy the answers for the round that begins; one that goes on has its copy."""
        latest = self.oracle
        if latest.folder == self.folder.taken:
            tell_of_corrections(self.folder.answers, self.folder.taken)
            latest = Annotations(self.target, self.folder.answers)
        else:
            take_copy(self.folder.answers, self.folder.taken)
        warn_of_unused(self.active_set, latest)
        warn_of_changed(self.active_set, self.oracle)

    def select(self, n: int) -> list[PhaseResult]:
        """Select regions up to the budget, label them, and write the datalist.

        All ranks measure the region tables and fit mixtures. Rank 0 decides and writes, and the
        others wait for what it has decided.
        """
        plan, rest = self.world.on_main(self._open_phases, n)
        results: list[PhaseResult] = []
        with self.recorder.timed("select", Step(n)):
            tables = self.measure_tables(n, needs_of(rest)) if rest else None
            if self.world.is_main:
                candidates = self.candidates(n, needs_of(rest), *tables) if tables else None
                results = run_phases(
                    *(plan, candidates, self.active_set, self.target, self.folder.path, n),
                    ask=self.people,
                    oracle=None if self.people else self.oracle,
                )
            else:
                for strategy in rest:
                    STRATEGIES[strategy].help(self.runtime.float64_device, self.world)
        if self.world.is_main:
            self.active_set.save(self.folder.datalist(n))
            self._warn_if_none_left(n, results)
        results, self.active_set = self.world.broadcast((results, self.active_set))
        return results

    def _warn_if_none_left(self, n: int, results: list[PhaseResult]) -> None:
        """Warn if a selection that is not the last takes all that was left."""
        takes = any(result.regions for result in results)
        if takes and n + 1 < self.args.max_iterations and not any(self.active_set.pool.values()):
            log.warning(
                "selection %02d: no region is left in the pool, and rounds after %d have nothing "
                "new to train on: end with --max_iterations %d, or select less in a round "
                "(--active_selection_size)",
                *(n, n + 1, n + 1),
            )

    def _open_phases(self, n: int) -> tuple[list[Phase], list[str]]:
        """Return the phases of a selection, and the strategies that are still to select."""
        size = self.args.active_selection_size
        budget = budget_pixels(size, self.target.pixels, len(self.target.items))
        budget += self.returned_pixels
        if self.returned_pixels:
            log.info(
                "selection %02d: its budget of %d px holds %d px of skipped regions",
                *(n, budget, self.returned_pixels),
            )
        plan = phases_of(self.args, n + 1, budget)
        rest = [
            strategy
            for strategy, pixels in plan
            if pixels and not self.folder.selection(strategy, n).is_file()
        ]
        return plan, rest

    def measure_tables(
        self, n: int, needs: Collection[str]
    ) -> tuple[RegionTable | None, RegionTable]:
        """Return the tables of source and target; measure only those that strategies need."""
        source = self._measure(n, "source", self.source) if "source" in needs else None
        if "network" in needs or self.args.keep_features:
            return source, self._measure(n, "target", self.target)
        return source, areas_only(self.target)

    def candidates(
        self, n: int, needs: Collection[str], source: RegionTable | None, target: RegionTable
    ) -> Candidates:
        """Return what strategies select from in round ``n``, of the tables measured for it."""
        args, edge = self.args, None
        if "edges" in needs:
            t = self.target
            edge = region_edges(t.items, t.root, t.regions, t.masks)
        mixtures = self.folder.features / f"round{n:02d}_mixtures.npz"
        density = density_options(args, self.source.info, mixtures if args.keep_features else None)
        device = self.runtime.float64_device
        candidates = Candidates(target, source, args.seed, density, edge, device, self.world)
        in_scan = args.active_mode == "scan"
        pool = unlabelled_rows(target, self.active_set)
        return candidates.per_image(pool) if in_scan else candidates

    def _measure(self, n: int, name: str, domain: Domain) -> RegionTable:
        options = PassOptions.from_args(self.args, self.runtime, self.folder.features)
        with self.recorder.timed(f"pass_{name}", Step(n)):
            return measure(f"round{n:02d}_{name}", domain, self.model, self.discriminator, options)

    def _log_table(self, n: int, scores: Scores) -> None:
        """Log the round's table; new in it is what was labelled after the table before."""
        labelled = self.active_set.labelled_regions
        names = self.target.info.class_names
        counts = self.oracle.pixels_by_class(labelled)
        now = labelled_by_class(counts.values(), names)
        new = labelled_by_class((counts[one] for one in labelled - self.told), names)
        self.told = labelled
        lines = round_table(scores.percent(), self.folder.read_record(n - 1), now, new)
        log.info("round %02d:\n%s", n, "\n".join(lines))

    def record(self, n: int, scores: Scores, results: list[PhaseResult]) -> None:
        """Log a round's results and write AL_record/round_XX.json, which marks it as done."""
        if not self.args.keep_features:  # including files that a killed process left
            for path in self.folder.features.glob(f"round{n:02d}_*"):
                path.unlink()
        total, after = self.target.pixels, self.oracle.labelled_pixels(self.active_set.labelled)
        before = after if self.people else after - sum(result.pixels for result in results)
        share = before / total
        log.info("round %02d: mIoU %.2f with %.2f %% labelled", n, 100 * scores.miou, 100 * share)
        if results and self.people:
            asked = self.target.area(self.active_set.asked)
            log.info("round %02d: people are asked for %d px", n, asked)
        elif results:
            spent = (after - before, after, 100 * after / total)
            log.info("round %02d: spent %d px, %d px (%.2f %%) in total", n, *spent)
        self._log_table(n, scores)
        for result in results:
            values = asdict(result)
            self.recorder.write("selection", Step(n), name=values.pop("strategy"), **values)
        record = {
            "round": n,
            **scores.percent(),
            "labelled_pixels": before,
            "labelled_percent": 100 * share,
            "target_pixels": total,
            "selection": [asdict(result) for result in results],
            "labelled_pixels_after": after,
            **({"asked_pixels": self.target.area(self.active_set.asked)} if self.people else {}),
        }
        write_json(self.folder.record(n), record, indent=1)

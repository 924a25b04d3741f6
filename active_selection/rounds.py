"""The rounds of an experiment: fine-tune, validate, select, record."""

import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from active_selection.people import copy_answers, open_oracle, read_copy, take_answers
from active_selection.phases import PhaseResult, phases_of, run_phases
from active_selection.round_table import log_table
from active_selection.run_folder import RunFolder
from active_selection.selector import Selector, warn_if_none_left
from active_selection.start_warnings import warn_of_start
from active_selection.strategies import STRATEGIES, needs_of
from dataloader.datasets import Sample, TrainingSet
from dataloader.domain import load_domain, load_domains, make_validator
from dataloader.examples import start_recorder
from dataloader.loaders import training_loader
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


class Experiment:
    """The network, domains and active set of an experiment, which all rounds share.

    Args:
        args: the flags of ``train_ADA.py``.
        folder: folder of the run.
        first_round: number of the round to begin with, see :class:`RunFolder`.
        world: the ranks; only rank 0 reads and writes the files of the run.
        continued: whether the run goes on after it was stopped.
    """

    def __init__(
        self,
        args: Namespace,
        folder: RunFolder,
        first_round: int,
        world: World = SINGLE,
        continued: bool = False,
    ):
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
            args,
            folder.metrics,
            script="train_ADA",
            total_itrs=args.finetune_itrs,
            validation=validation,
            model=self.model,
            runtime=self.runtime,
        )
        self.logged_regions = self.active_set.labelled_regions
        """What was labelled when the last table was logged."""
        self.validation_data = ""
        """Digest of what is validated on, once that is known."""
        self.domains = {"src": self.source, "trg": self.target, "val": validation}
        self.oracle = open_oracle(
            args, folder, self.target, self.active_set, datalist, continued, world
        )

    def adopt(self, n: int) -> Scores:
        """Take --init_checkpoint as the network of the first round, and validate it."""
        source, checkpoint = Path(self.args.init_checkpoint), self.folder.checkpoint(n)
        if self.world.is_main and source.resolve() != checkpoint.resolve():
            copy_file(source, checkpoint)
        log.info("round %02d: %s", n, source)
        with self.recorder.timed("validate", Step(n)):
            scores = self.validate()
        self.recorder.write("validation", Step(n, 0), **scores.measured())
        return scores

    def train(self, n: int) -> Scores:
        """Return the scores of round ``n``; fine-tune first, unless a finished run already did."""
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
            self._training_set(),
            batch_size=args.train_batch_size,
            seed=args.seed + n,
            num_workers=args.num_workers,
            per_step=args.grad_accum,
            world=self.world,
            device=self.runtime.device,
        )
        step = SupervisedStep(
            self.model,
            optimizer,
            loader,
            loss=args.loss_type,
            runtime=self.runtime,
            discriminator=self.discriminator,
            focal_gamma=args.focal_gamma,
            grad_accum=args.grad_accum,
        )
        plan = TrainingPlan.from_args(args, args.finetune_itrs, args.finetune_itrs * 2 / 3)
        log.info("round %02d: fine-tuning on %d images", n, len(loader.dataset))
        state = self.folder.state(n)
        info = self.source.info
        facts = network_facts(args, info.name, info.class_names, info.palette)
        training = Training(
            step,
            plan,
            self.validate,
            checkpoint,
            state_file=state,
            recorder=self.recorder,
            round_index=n,
            network=facts,
            validation_data=self.validation_data,
        )
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

        Later imports change nothing of it, since the round is trained on a copy.
        """
        if self.people and n > self.first_round:  # the first one has its copy
            self.world.on_main(copy_answers, self.folder, self.target)
            self.oracle = read_copy(self.folder, self.target, self.active_set, self.world)
        accept_partial = self.args.accept_partial
        if self.world.is_main:
            self.returned_pixels = take_answers(
                n, self.active_set, self.oracle, self.folder, accept_partial
            )
        self.active_set, self.returned_pixels = self.world.broadcast(
            (self.active_set, self.returned_pixels)
        )

    def selector(self) -> Selector:
        """Return what measures the regions for a selection by the network as it is now."""
        return Selector(
            self.args,
            self.folder,
            self.runtime,
            model=self.model,
            discriminator=self.discriminator,
            source=self.source,
            target=self.target,
            recorder=self.recorder,
        )

    def select(self, n: int) -> list[PhaseResult]:
        """Select regions up to the budget, label them, and write the datalist.

        All ranks measure the region tables and fit mixtures. Rank 0 decides and writes, and the
        others wait for what it has decided.
        """
        selector = self.selector()
        plan, rest = self.world.on_main(selector.plan, n, self.returned_pixels)
        results: list[PhaseResult] = []
        with self.recorder.timed("select", Step(n)):
            needs = needs_of(rest)
            tables = selector.tables(n, needs) if rest else None
            if self.world.is_main:
                active_set, candidates = self.active_set, None
                if tables:
                    candidates = selector.candidates(n, needs, *tables, active_set)
                results = run_phases(
                    plan,
                    candidates,
                    active_set,
                    domain=self.target,
                    folder=self.folder.path,
                    round_index=n,
                    ask=self.people,
                    oracle=None if self.people else self.oracle,
                )
            else:
                for strategy in rest:
                    STRATEGIES[strategy].help(self.runtime.float64_device, self.world)
        if self.world.is_main:
            self.active_set.save(self.folder.datalist(n))
            warn_if_none_left(n, self.args.max_iterations, self.active_set, results)
        results, self.active_set = self.world.broadcast((results, self.active_set))
        return results

    def record(self, n: int, scores: Scores, results: list[PhaseResult]) -> None:
        """Log a round's results and write AL_record/round_XX.json, which marks it as done."""
        if not self.args.keep_features:  # including files that a killed process left
            for path in self.folder.features.glob(f"round{n:02d}_*"):
                path.unlink()
        record = self._summary(n, scores, results)
        self._log(record, scores)
        for result in results:
            values = asdict(result)
            self.recorder.write("selection", Step(n), name=values.pop("strategy"), **values)
        write_json(self.folder.record(n), record, indent=1)

    def _summary(self, n: int, scores: Scores, results: list[PhaseResult]) -> dict[str, Any]:
        """What the record of a round holds."""
        total, after = self.target.pixels, self.oracle.labelled_pixels(self.active_set.labelled)
        before = after  # people label what was selected later; label files did already
        if not self.people:
            before -= sum(result.pixels for result in results)
        summary = {
            "round": n,
            **scores.percent(),
            "labelled_pixels": before,
            "labelled_percent": 100 * before / total,
            "target_pixels": total,
            "selection": [asdict(result) for result in results],
            "labelled_pixels_after": after,
        }
        if self.people:
            summary["asked_pixels"] = self.target.area(self.active_set.asked)
        return summary

    def _log(self, record: Mapping[str, Any], scores: Scores) -> None:
        """Log what a round's record holds, and its table of classes beside the round before."""
        n, after = record["round"], record["labelled_pixels_after"]
        share = record["labelled_percent"]
        log.info("round %02d: mIoU %.2f with %.2f %% labelled", n, 100 * scores.miou, share)
        if record["selection"] and self.people:
            log.info("round %02d: people are asked for %d px", n, record["asked_pixels"])
        elif record["selection"]:
            spent = after - record["labelled_pixels"]
            share = 100 * after / record["target_pixels"]
            log.info("round %02d: spent %d px, %d px (%.2f %%) in total", n, spent, after, share)
        labelled = self.active_set.labelled_regions
        log_table(
            n,
            scores,
            before=self.folder.read_record(n - 1),
            counts=self.oracle.pixels_by_class(labelled),
            new=labelled - self.logged_regions,
            class_names=self.target.info.class_names,
        )
        self.logged_regions = labelled

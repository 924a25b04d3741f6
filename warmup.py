"""Warm-up: train the network that active rounds start from.

Writes checkpoint.tar (the weights that validated best), metrics.jsonl, log_train.txt and
warmup.toml (for --config, to repeat the run) to --model_save_dir.
"""

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import logging
from argparse import Namespace
from collections.abc import Collection, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from dataloader.data_record import validation_digest
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, TrainingSet
from dataloader.domain import (
    Domain,
    agree_on_classes,
    check_and_describe,
    load_domain,
    make_validator,
)
from dataloader.examples import start_recorder
from dataloader.loaders import TrainingLoader, training_loader
from models import MODEL_NAMES, get_model, load_backbone
from models.discriminator import Discriminator
from models.facts import network_facts, take_facts
from utils.checkpoint import load_model
from utils.common import check_training, training_parser
from utils.distributed import World
from utils.engine import Training, TrainingPlan
from utils.errors import run
from utils.files import locked_folder
from utils.job import joined
from utils.logs import start_log
from utils.optim import (
    discriminator_optimizer,
    highest_rate,
    segmentation_optimizer,
    warn_of_low_rate,
)
from utils.parser import COUNT, Parser
from utils.recorder import Step
from utils.resume import RunSettings, StateFile
from utils.runtime import Runtime
from utils.steps import AdversarialStep, SupervisedStep
from utils.stopping import STOP
from utils.unused_flags import warn_of_unused_flags

log = logging.getLogger("warmup")

DOMAINS = {"uda_warmup": ("src", "trg"), "sup_warmup": ("src",), "target_supervised": ("trg",)}
"""The domains that each warm-up trains on; labels are read only of the first."""


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = training_parser(__doc__, MODEL_NAMES, "warmup")
    result.add_argument(
        "--warmup",
        default="uda_warmup",
        choices=DOMAINS,
        help="train with adversarial adaptation (uda_warmup), on source labels only (sup_warmup), "
        "or on all target labels as an upper bound (target_supervised)",
    )
    result.add_argument(
        "--backbone_weights",
        default="imagenet",
        metavar="imagenet|none|PATH",
        help="weights that the backbone starts from, without --init_checkpoint",
    )
    result.add_argument("--init_checkpoint", help="checkpoint that training starts from")
    result.add_argument(
        "--ramp_itrs",
        type=COUNT,
        default=5000,
        help="iterations over which learning rates rise linearly",
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    args = flags.parse_args(argv)
    check_training(args)
    with joined(args, parser) as world:
        args = world.complete_flags(complete, args, flags.given(argv))
        STOP.listen()
        start_log(args.model_save_dir / "log_train.txt", silent=not world.is_main)
        warn_of_unused_flags("warmup", args, flags.meant(argv))
        warn_of_start(args)
        with locked_folder(args.model_save_dir, "-p") if world.is_main else nullcontext():
            warm_up(args, world)


def warn_of_start(args: Namespace) -> None:
    """Warn of a training that cannot learn much from how it starts, and of learning rates."""
    warn_of_low_rate(args, "train_lr")
    if args.warmup == "uda_warmup":
        warn_of_low_rate(args, "train_lr_D")
    if args.ramp_itrs > args.total_itrs:
        log.warning(
            "--ramp_itrs %d: learning rates rise for longer than --total_itrs %d, and reach "
            "%.2g %% of --train_lr at most; give fewer",
            *(args.ramp_itrs, args.total_itrs),
            100 * highest_rate(args.total_itrs, args.ramp_itrs),
        )
    if args.freeze_bn and args.backbone_weights == "none" and not args.init_checkpoint:
        log.warning(
            "--backbone_weights none: random weights hardly learn with the statistics of BatchNorm "
            "frozen; give --no-freeze_bn and a --train_batch_size of 4 or more"
        )


def complete(args: Namespace, given: Collection[str]) -> Namespace:
    """Set the flags that the user left out from --init_checkpoint and the datasets."""
    facts = take_facts(args, given, args.init_checkpoint) if args.init_checkpoint else {}
    agree_on_classes(args, *DOMAINS[args.warmup], "val", network=facts.get("class_names"))
    return args


def warm_up(args: Namespace, world: World) -> None:
    """Train, or continue a stopped run; one with a checkpoint and no state is finished."""
    folder = args.model_save_dir
    checkpoint, state_file = (
        folder / "checkpoint.tar",
        StateFile(folder / "warmup_state.tar", "warm-up"),
    )
    settings = RunSettings(args, "warmup", parser().get_default, world.size)
    continued = world.on_main(settings.check, args.resume, [checkpoint, state_file.path])
    finished = checkpoint.is_file() and not state_file.path.is_file()
    if continued and world.broadcast(finished):
        log.info("the warm-up in %s is finished", folder)
        return
    log.info("flags beside the defaults: %s", parser().changed(args))
    torch.manual_seed(args.seed)
    runtime = Runtime.from_args(args, world)
    moved = settings.with_moves(args, world)
    with world.first_on_each_machine():
        domains = load_domains(moved)
        validation = load_domain(moved, "val", "val", "image", "label")
    model = runtime.prepare(start_model(args, world))
    validate = make_validator(args, validation, model, runtime)
    step = build_step(args, model, domains, runtime)
    plan = TrainingPlan.from_args(args, args.total_itrs, ramp_itrs=args.ramp_itrs)
    named = dict(zip(DOMAINS[args.warmup], domains, strict=True)) | {"val": validation}
    data = check_and_describe(named, settings.data, world, args.accept_changed_data)
    if world.is_main:
        settings.write(data)
        parser().write_config(folder / "warmup.toml", args)
    recorder = start_recorder(
        args,
        folder / "metrics.jsonl",
        script="warmup",
        total_itrs=args.total_itrs,
        validation=validation,
        model=model,
        runtime=runtime,
    )
    source = load_dataset(args.src_dataset)
    with recorder.timed("warmup", Step()):
        info = domains[0].info
        facts = network_facts(args, info.name, info.class_names, info.palette)
        training = Training(
            step,
            plan,
            validate,
            checkpoint,
            state_file=state_file,
            recorder=recorder,
            network=facts,
            validation_data=world.on_main(lambda: validation_digest(data["val"], source)),
        )
        best = training.run()
    log.info("best mIoU %.2f in %s", 100 * best.miou, checkpoint)
    if world.is_main:
        state_file.remove()


def start_model(args: Namespace, world: World) -> nn.Module:
    """Return the network from --init_checkpoint, or with its backbone from --backbone_weights."""
    model = get_model(args.model, args.num_classes, args.output_stride, args.separable_conv, False)
    if args.init_checkpoint:
        load_model(args.init_checkpoint, model, world)
    else:
        if world.is_main:
            load_backbone(model, args.backbone_weights)
        model.load_state_dict(world.broadcast(model.state_dict()))
    return model


def load_domains(args: Namespace) -> list[Domain]:
    """Return the labelled domain of --warmup and, for adaptation, the unlabelled target."""
    labelled, *unlabelled = DOMAINS[args.warmup]
    domains = [load_domain(args, labelled, "train", "image", "label")]
    return domains + [load_domain(args, prefix, "train", "image") for prefix in unlabelled]


def build_step(
    args: Namespace, model: nn.Module, domains: list[Domain], runtime: Runtime
) -> SupervisedStep:
    """Return the training step of --warmup, with its optimisers and data loaders."""

    def loader(number: int, domain: Domain) -> TrainingLoader:
        samples = [
            Sample(item, domain.info, labelled=number == 0, mask=domain.mask(item))
            for item in domain.items
        ]
        return training_loader(
            TrainingSet(samples, tuple(args.image_size)),
            batch_size=args.train_batch_size,
            seed=args.seed + number,
            num_workers=args.num_workers,
            per_step=args.grad_accum,
            world=runtime.world,
            device=runtime.device,
        )

    batches = [loader(number, domain) for number, domain in enumerate(domains)]
    supervised = {
        "model": model,
        "optimizer": segmentation_optimizer(model, args.train_lr, args.weight_decay),
        "batches": batches[0],
        "loss": args.loss_type,
        "runtime": runtime,
        "focal_gamma": args.focal_gamma,
        "grad_accum": args.grad_accum,
    }
    if args.warmup != "uda_warmup":
        return SupervisedStep(**supervised)
    discriminator = runtime.prepare(Discriminator(args.num_classes))
    return AdversarialStep(
        **supervised,
        discriminator=discriminator,
        discriminator_optimizer=discriminator_optimizer(discriminator, args.train_lr_D),
        target_batches=batches[1],
    )


if __name__ == "__main__":
    run(main, parser)

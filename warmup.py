"""Warm-up: train the network that active rounds start from.

Writes checkpoint.tar (best validated weights) and log_train.txt to --model_save_dir.
"""

import logging
from argparse import Namespace

import torch
from torch import nn

from dataloader.datasets import Sample, TrainingSet
from dataloader.domain import Domain, load_domain, make_validator
from dataloader.loaders import training_loader
from models import MODEL_NAMES, get_model, load_backbone
from models.discriminator import Discriminator
from utils.checkpoint import load_model, save_checkpoint
from utils.common import COUNT, Parser, check_training, start_log, training_parser
from utils.engine import train
from utils.errors import run
from utils.optim import discriminator_optimizer, schedule, segmentation_optimizer
from utils.resume import RunSettings, StateFile, iteration_of
from utils.runtime import Runtime
from utils.steps import AdversarialStep, SupervisedStep
from utils.stopping import STOP

log = logging.getLogger("warmup")


def parser() -> Parser:
    """The command line of this script."""
    result = training_parser(__doc__, MODEL_NAMES)
    result.add_argument(
        "--warmup",
        default="uda_warmup",
        choices=("uda_warmup", "sup_warmup", "target_supervised"),
        help="adversarial adaptation; source labels alone; or all target labels (upper bound)",
    )
    result.add_argument(
        "--backbone_weights",
        default="imagenet",
        metavar="imagenet|none|PATH",
        help="where the backbone starts when no checkpoint is given",
    )
    result.add_argument("--init_checkpoint", help="start from these weights")
    result.add_argument("--ramp_itrs", type=COUNT, default=5000, help="linear ramp of the rates")
    return result


def main() -> None:
    args = parser().parse_args()
    check_training(args)
    STOP.listen()
    folder = args.model_save_dir
    start_log(folder / "log_train.txt")
    state_file = StateFile(folder / "warmup_state.tar", folder / "log_train.txt", "warm-up")
    settings = RunSettings(
        args, "warmup", parser().get_default, folder / "checkpoint.tar", state_file.path
    )
    if settings.begin(args.resume):
        log.info("the warm-up in %s is finished", folder)
        return
    log.info("%s", vars(args))
    torch.manual_seed(args.seed)
    runtime = Runtime.from_args(args)
    state = state_file.read() if args.resume else None

    domains = load_domains(args)
    model = runtime.prepare(start_model(args))
    validator = make_validator(args, model, runtime)
    step = build_step(args, model, domains, runtime, iteration_of(state))
    settings.write()
    best = train(
        step,
        args.total_itrs,
        schedule(args.total_itrs, args.ramp_itrs),
        args.freeze_bn,
        val_due=lambda done: done % args.val_period == 0,
        validate=validator,
        on_best=lambda: save_checkpoint(
            folder / "checkpoint.tar",
            model,
            step.optimizers[0],
            step.networks.get("discriminator"),
        ),
        save=lambda progress: state_file.save(step, progress),
        save_period=args.save_period,
        progress=state_file.restore(step, state) if state else None,
    )
    log.info("best mIoU %.2f in %s", 100 * best, folder / "checkpoint.tar")
    settings.finish()
    state_file.remove()


def start_model(args: Namespace) -> nn.Module:
    """The network from --init_checkpoint, or with its backbone from --backbone_weights."""
    model = get_model(args.model, args.num_classes, args.output_stride, args.separable_conv, False)
    if args.init_checkpoint:
        load_model(args.init_checkpoint, model)
    else:
        load_backbone(model, args.backbone_weights)
    return model


def load_domains(args: Namespace) -> list[Domain]:
    """The labelled domain that --warmup trains on, and the unlabelled target of adaptation."""
    if args.warmup == "target_supervised":
        return [load_domain(args, "trg", "train", "image", "label")]
    domains = [load_domain(args, "src", "train", "image", "label")]
    if args.warmup == "uda_warmup":
        domains.append(load_domain(args, "trg", "train", "image"))
    return domains


def build_step(
    args: Namespace, model: nn.Module, domains: list[Domain], runtime: Runtime, start: int
) -> SupervisedStep:
    """The training step of --warmup, with its optimisers, and its data from iteration ``start``."""
    batches = [
        training_loader(
            TrainingSet(
                [Sample(item, domain.info, labelled=number == 0) for item in domain.items],
                tuple(args.image_size),
            ),
            args.train_batch_size,
            args.seed + number,
            args.num_workers,
            start,
        )
        for number, domain in enumerate(domains)
    ]
    optimizer = segmentation_optimizer(model, args.train_lr, args.weight_decay)
    supervised = (model, optimizer, batches[0], args.loss_type, runtime)
    if args.warmup != "uda_warmup":
        return SupervisedStep(*supervised)
    discriminator = runtime.prepare(Discriminator(args.num_classes))
    adam = discriminator_optimizer(discriminator, args.train_lr_D)
    return AdversarialStep(*supervised, discriminator, adam, batches[1])


if __name__ == "__main__":
    run(main)

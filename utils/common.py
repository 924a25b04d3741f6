"""Command-line flags that several scripts share, with the published names and defaults."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError
from utils.event_files import check_tensorboard
from utils.parser import (
    BATCH_SIZE,
    NON_NEGATIVE,
    PIXELS,
    POSITIVE,
    POSITIVE_INT,
    SEED,
    WORKERS,
    Parser,
    move,
    number,
    process_count,
)


def add_model_arguments(parser: Parser, names: Sequence[str], default: str) -> None:
    """Add the flags that choose and configure one of the networks in ``names``."""
    told = "what is left out, and --image_size, is that of a checkpoint of this project"
    add = parser.add_argument_group("network", told).add_argument
    add("-m", "--model", default=default, choices=names, help="head and backbone of the network")
    add(
        "--separable_conv",
        action="store_true",
        help="use depthwise separable convolutions in the head (DeepLabV3+ only)",
    )
    add(
        "--output_stride",
        type=int,
        default=16,
        choices=(8, 16),
        help="input size divided by the size of the backbone's last feature map",
    )
    add(
        "--num_classes", type=number(int, 2, 254), help="number of classes (default: the dataset's)"
    )


def add_machine_arguments(parser: Parser, num_workers: int = 4) -> None:
    """Add the flags for device, image size, data loading, seed and precision."""
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", help="device to use: auto, cpu, cuda, cuda:N or mps")
    add(
        "--image_size",
        type=PIXELS,
        nargs=2,
        default=[1024, 2048],
        metavar=("H", "W"),
        help="height and width, in pixels, that images are resized to",
    )
    add(
        "--num_workers",
        type=WORKERS,
        default=num_workers,
        help="data loading processes (in the adversarial warm-up: per domain)",
    )
    add("--seed", type=SEED, default=0, help="seed of all random draws")
    add(
        "--amp",
        default="none",
        choices=("none", "bf16", "fp16"),
        help="data type of automatic mixed precision; none computes in float32 (convolutions on a "
        "GPU of Ampere and newer: in TF32)",
    )
    add("--channels_last", action="store_true", help="use channels-last memory order; often faster")
    add("--compile", action="store_true", help="run networks through torch.compile")
    add(
        "--deterministic",
        action="store_true",
        help="prefer GPU kernels that give the same result every time; slower",
    )


def add_rank_arguments(parser: Parser) -> None:
    """Add the flag for runs of several processes, see :mod:`utils.distributed`."""
    parser.add_argument_group("several processes (torchrun)").add_argument(
        "--dist_timeout",
        type=POSITIVE,
        default=600,
        help="seconds that a process waits for the others before it takes them for lost",
    )


def add_domain_arguments(parser: Parser, prefix: str, dataset: str, root: str) -> None:
    """Add the flags for the data of one domain; ``prefix`` is src, trg or val."""
    domain = {"src": "source", "trg": "target", "val": "validation"}[prefix]
    add = parser.add_argument_group(f"{domain} data").add_argument
    dataset_help = "dataset: a name in dataloader/init_data, or the path of an info.json"
    add(f"--{prefix}_dataset", default=dataset, help=dataset_help)
    add(f"--{prefix}_data_dir", default=root, help="root folder of the dataset")
    add(f"--{prefix}_datalist", help="image list (default: all images below the root)")


def add_relocation_argument(parser: Parser) -> None:
    """Add the flag that maps the paths of a datalist to folders of this machine."""
    parser.add_argument(
        "--relocate",
        type=move,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="replace the folder OLD in a datalist's paths by NEW; may be given several times",
    )


def training_parser(description: str, model_names: Sequence[str], script: str) -> Parser:
    """Return a parser with the flags that ``warmup.py`` and ``train_ADA.py`` share."""
    parser = Parser(description, script)
    add_help = "folder for all results"
    parser.add_argument("-p", "--model_save_dir", type=Path, default=Path("test"), help=add_help)
    add_model_arguments(parser, model_names, "deeplabv3plus_resnet101")
    add_domain_arguments(parser, "src", "GTA5", "./data/GTA5")
    add_domain_arguments(parser, "trg", "cityscapes", "./data/Cityscapes")
    add_domain_arguments(parser, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(parser)
    add = parser.add_argument_group("continuing and watching").add_argument
    resume_help = "continue the run in -p where it stopped, if one is there"
    add("--resume", action="store_true", help=resume_help)
    changed_help = "with --resume, go on though images, labels or an info.json were mended"
    add("--accept_changed_data", action="store_true", help=changed_help)
    board_help = "write curves and a few predictions for TensorBoard, to tensorboard in -p"
    add("--tensorboard", action="store_true", help=board_help)
    period_help = "iterations, or batches of a selection's pass, between saved states"
    add("--save_period", type=POSITIVE_INT, default=1000, help=period_help)
    add_training_arguments(parser)
    add_machine_arguments(parser)
    add_rank_arguments(parser)
    return parser


def add_training_arguments(parser: Parser) -> None:
    """Add the flags for training and validation."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--freeze_bn",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep BatchNorm statistics and affine parameters as they are",
    )
    add("--ignore_idx", type=int, default=255, choices=(255,), help="train id of ignored pixels")
    batch_help = "images per batch, per domain; with torchrun, in each process"
    add("--train_batch_size", type=BATCH_SIZE, default=1, help=batch_help)
    accum_help = "batches whose gradients are added up in each iteration, as if they were one batch"
    add("--grad_accum", type=BATCH_SIZE, default=1, help=accum_help)
    batch_help = "images per batch, in validation and selection"
    add("--val_batch_size", type=BATCH_SIZE, default=4, help=batch_help)
    decay_help = "weight decay of the segmentation network (SGD)"
    add("--weight_decay", type=NON_NEGATIVE, default=5e-4, help=decay_help)
    add("--total_itrs", type=POSITIVE_INT, default=100_000, help="iterations of the warm-up")
    period_help = "iterations between validations; of a round, in its last third alone"
    add("--val_period", type=POSITIVE_INT, default=1000, help=period_help)
    rate_help = "learning rate of the backbone; the head's is 10 times as high"
    add("--train_lr", type=POSITIVE, default=2.5e-4, help=rate_help)
    add("--train_lr_D", type=POSITIVE, default=2.5e-4, help="learning rate of the discriminator")
    losses = ("cross_entropy", "focal_loss")
    add("--loss_type", default="cross_entropy", choices=losses, help="segmentation loss")
    add("--focal_gamma", type=NON_NEGATIVE, default=2.0, help="exponent of the focal loss")


def check_training(args: argparse.Namespace) -> None:
    """Raise a :class:`UserError` for flags that cannot be used, or not together."""
    if args.tensorboard:
        check_tensorboard()
    together = args.train_batch_size * process_count()  # SyncBatchNorm
    if not args.freeze_bn and together < 2 and "deeplabv3" in args.model:
        raise UserError("--no-freeze_bn: image pooling needs --train_batch_size 2 or more")

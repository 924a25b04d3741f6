"""Measure how much faster arithmetic changes the predictions of a trained network.

Prints the share of the validation images' pixels that get the same label from the network as
inference.py runs it (--amp, --channels_last, folded BatchNorm) and from the plain one in float32.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataloader.datasets import EvaluationSet
from dataloader.domain import agree_on_classes, load_domain
from dataloader.loaders import evaluation_loader
from models import MODEL_NAMES, get_model
from models.folding import fold_batch_norm
from utils.checkpoint import load_model
from utils.common import (
    add_domain_arguments,
    add_machine_arguments,
    add_model_arguments,
    add_relocation_argument,
)
from utils.errors import run
from utils.parser import Parser
from utils.runtime import Runtime


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument("--trained_model_path", required=True, help="checkpoint (*.tar) to use")
    add_model_arguments(result, MODEL_NAMES, "deeplabv2_resnet101")
    add_domain_arguments(result, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(result)
    add_machine_arguments(result)
    result.set_defaults(amp="bf16")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print the share for the network and the data that the command line names."""
    args = parser().parse_args(argv)
    agree_on_classes(args, "val")
    domain = load_domain(args, "val", "val", "image")
    data = EvaluationSet(domain.items, domain.info, tuple(args.image_size))
    loader = evaluation_loader(data, 1, args.num_workers)

    runtime = Runtime.from_args(args)
    plain, fast = (
        get_model(args.model, args.num_classes, args.output_stride, args.separable_conv, False)
        for _ in range(2)
    )
    for network in (plain, fast):
        load_model(args.trained_model_path, network)
        network.eval()
    plain.to(runtime.device)
    runtime.prepare(fold_batch_norm(fast))
    print(f"{100 * agreement(fast, plain, loader, runtime):.3f} % of pixels equal")


@torch.inference_mode()
def agreement(fast: nn.Module, plain: nn.Module, loader: DataLoader, runtime: Runtime) -> float:
    """Return the share of pixels to which two networks give the same label.

    Args:
        fast: runs in the runtime's precision.
        plain: runs in float32.
        loader: batches (indices, images (N, 3, H, W), ...).
        runtime: device of both, and the precision of ``fast``.
    """
    equal = pixels = 0
    for _, images, *_ in tqdm(loader, desc="agreement", disable=None):
        images = images.to(runtime.device)
        with runtime.autocast():
            labels = fast(images).argmax(1)
        same = labels == plain(images).argmax(1)
        equal += int(same.sum())
        pixels += same.numel()
    return equal / pixels


if __name__ == "__main__":
    run(main)

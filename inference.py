"""Prediction: write a network's labels for a dataset's validation images or for any folder.

For each image, <image file name> holds 8-bit train ids at the image's own size (always as PNG), and
<stem>_color.png the same in colours.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataloader.datalist import Item, find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.datasets import EvaluationSet
from dataloader.images import check_files, read_size
from dataloader.loaders import evaluation_loader
from models import MODEL_NAMES, get_model
from models.folding import fold_batch_norm
from utils.checkpoint import load_model
from utils.common import (
    POSITIVE_INT,
    Parser,
    add_domain_arguments,
    add_machine_arguments,
    add_model_arguments,
    add_relocation_argument,
)
from utils.errors import UserError, run
from utils.files import write_png
from utils.runtime import Runtime

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_model_arguments(result, MODEL_NAMES, "deeplabv2_resnet101")
    result.add_argument("--trained_model_path", required=True, help="a checkpoint*.tar")
    result.add_argument("--image_dir", type=Path, help="predict every image of this folder instead")
    result.add_argument("--save_dir", type=Path, default=Path("result"), help="predictions")
    result.add_argument("--val_batch_size", type=POSITIVE_INT, default=1, help="images")
    add_domain_arguments(result, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(result)
    add_machine_arguments(result)
    return result


def main() -> None:
    args = parser().parse_args()
    info = load_dataset(args.val_dataset)
    items = images_to_predict(args, info)
    check_files(items, info, "image")
    targets = [args.save_dir / f"{Path(item.image).stem}.png" for item in items]
    check_names(items, targets)

    runtime = Runtime.from_args(args)
    model = get_model(args.model, args.num_classes, args.output_stride, args.separable_conv, False)
    load_model(args.trained_model_path, model)
    runtime.prepare(fold_batch_norm(model))

    data = EvaluationSet(items, info, tuple(args.image_size))
    loader = evaluation_loader(data, args.val_batch_size, args.num_workers)
    for index, labels in predict(model, loader, items, runtime):
        write_png(targets[index], labels)
        write_png(color_path(targets[index]), info.color_table[labels])
    print(f"{len(items)} predictions in {args.save_dir}")


@torch.inference_mode()
def predict(
    model: nn.Module, loader: DataLoader, items: list[Item], runtime: Runtime
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, (H, W) uint8 train ids at the image's own size)."""
    for indices, images, _, _ in tqdm(loader, desc="predict", disable=None):
        with runtime.autocast():
            logits = model(images.to(runtime.device)).float()
        for index, image_logits in zip(indices, logits, strict=True):
            labels = enlarged_argmax(image_logits, read_size(items[index].image))
            yield index, labels.cpu().numpy()


def enlarged_argmax(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Classes of logits that are resized bilinearly, one class at a time.

    All classes of a photo of 50 megapixels would take 4 GB; this takes two maps, and the classes
    are the same.

    Args:
        logits: (C, h, w) float32.
        size: (H, W) of the result.

    Returns:
        (H, W) uint8, the class of the largest logit, the first of equal ones.
    """
    best, labels = None, torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for train_id, plane in enumerate(logits):
        plane = F.interpolate(plane[None, None], size, mode="bilinear")[0, 0]
        if best is None:
            best = plane
        else:
            labels.masked_fill_(plane > best, train_id)
            torch.maximum(best, plane, out=best)
    return labels


def images_to_predict(args: Namespace, info: DatasetInfo) -> list[Item]:
    """The images to predict: those of --image_dir, or of the validation list."""
    if args.image_dir is None:
        return find_or_make_datalist(
            info, args.val_data_dir, "val", args.val_datalist, args.relocate
        )
    if not args.image_dir.is_dir():
        raise UserError(f"--image_dir {args.image_dir}: no such folder")
    paths = sorted(p for p in args.image_dir.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"--image_dir {args.image_dir}: no images in it ({' '.join(SUFFIXES)})")
    return [Item(str(path), "", "") for path in paths]


def color_path(target: Path) -> Path:
    """Where the coloured picture of a prediction goes."""
    return target.with_name(f"{target.stem}_color.png")


def check_names(items: list[Item], targets: list[Path]) -> None:
    """Refuse a list of which two outputs would have the same name, or one that of an image."""
    seen = {Path(item.image).resolve(): "an image" for item in items}
    for target in targets:
        for path in (target, color_path(target)):
            if path.resolve() in seen:
                other = seen[path.resolve()]
                raise UserError(f"{path}: would overwrite {other}; see --save_dir, or rename")
            seen[path.resolve()] = "another prediction"


if __name__ == "__main__":
    run(main)

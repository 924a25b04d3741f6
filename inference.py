"""Prediction: write a network's labels for a dataset's validation images or for any folder.

For each image, <image file name> holds 8-bit train ids at the image's own size (always as PNG), and
<stem>_color.png shows them in colours. With --image_dir, --save_dir mirrors the folders below it;
with a list, it does so only if two images have the same name. inference.toml beside them
repeats the run with --config; inference.json names the classes. With torchrun, each process
predicts a part of the images.
"""

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import logging
import os
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from dataloader.checks.files import (
    check_heads,
    check_range,
    warn_if_turned,
    warn_of_pages,
    warn_of_scale,
)
from dataloader.checks.shared_files import check_same_images, warn_of_other_folders
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import IGNORE, DatasetInfo, load_dataset
from dataloader.datasets import EvaluationSet
from dataloader.domain import agree_on_classes
from dataloader.images import read_image, read_size
from dataloader.item import Item, check_name
from dataloader.loaders import evaluation_loader
from dataloader.overlay import draw_overlay
from dataloader.prediction_notes import note_of_network, state_of, warn_of_replaced, write_notes
from dataloader.predictions import (
    check_targets,
    color_path,
    list_targets,
    mirrored_targets,
    overlay_path,
    warn_of_overlays,
)
from dataloader.scan import Scan
from dataloader.walk import IMAGE_SUFFIXES, walk_files
from models import MODEL_NAMES, get_model
from models.facts import take_facts
from models.folding import fold_batch_norm
from utils.checkpoint import digest, load_model
from utils.common import (
    add_domain_arguments,
    add_machine_arguments,
    add_model_arguments,
    add_rank_arguments,
    add_relocation_argument,
)
from utils.distributed import World
from utils.errors import UserError, run, shown
from utils.files import locked_folder, remove_temporaries, write_png
from utils.job import joined
from utils.logs import start_log
from utils.metrics import padded_names
from utils.parser import BATCH_SIZE, Parser, number
from utils.prediction import are_finite, enlarged_argmax, no_numbers
from utils.progress import progress
from utils.runtime import Runtime
from utils.unused_flags import warn_of_unused_flags

log = logging.getLogger(__name__)

CONFIG = "inference.toml"


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__, "inference")
    add_model_arguments(result, MODEL_NAMES, "deeplabv2_resnet101")
    result.add_argument("--trained_model_path", required=True, help="checkpoint (*.tar) to use")
    result.add_argument(
        "--image_dir",
        type=Path,
        help="predict every image in this folder and its subfolders, instead of a dataset's",
    )
    result.add_argument(
        "--save_dir", type=Path, default=Path("result"), help="folder for the predictions"
    )
    result.add_argument(
        "--label_ids",
        action="store_true",
        help="write label ids of --val_dataset, as the Cityscapes benchmark requires, instead of "
        "train ids; no coloured images are written",
    )
    result.add_argument(
        "--overlay",
        type=number(float, 0, 1, open_low=True),
        metavar="OPACITY",
        help="also write <stem>_overlay.png, the image overlaid with the colours and a legend; "
        "0.5 is a good opacity",
    )
    result.add_argument("--val_batch_size", type=BATCH_SIZE, default=1, help="images per batch")
    add_domain_arguments(result, "val", "cityscapes", "./data/Cityscapes")
    add_relocation_argument(result)
    add_machine_arguments(result)
    add_rank_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    args, given = flags.parse_args(argv), flags.given(argv)
    with joined(args, parser) as world:
        start_log(silent=not world.is_main)
        warn_of_unused_flags("inference", args, flags.meant(argv))
        work = world.on_main(plan_work, args, given)
        args = world.complete_flags(lambda _: work.args, args)
        check_same_images(work.items, world)
        share = world.shard(len(work.items), args.val_batch_size)
        check_heads([work.items[i] for i in share], work.info, "image")
        world.barrier()  # nothing is written before all ranks have checked their images
        with locked_folder(args.save_dir, "--save_dir") if world.is_main else nullcontext():
            if world.is_main:
                warn_before(args, work)
                for folder in {target.parent for target in work.targets}:
                    remove_temporaries(folder)
                tell_predictions(args, work, finished=False)
                flags.write_config(args.save_dir / CONFIG, args, *work.left_out)
            warn_of_other_folders("--save_dir", args.save_dir / CONFIG, world)
            write_predictions(args, work, share, world)
            world.barrier()
            if world.is_main:
                tell_predictions(args, work, finished=True)
                print(f"{len(work.items)} predictions in {args.save_dir}")


class Work(NamedTuple):
    """What is to be predicted, the same on all ranks.

    Attributes:
        args: the flags, completed from the checkpoint and the dataset.
        left_out: flags that the config file does not repeat.
        info: the dataset whose classes are predicted.
        items: the images.
        targets: the files of the predictions.
        values: (256,) uint8, what is written for each train id.
        default_size: whether neither a flag nor the checkpoint says at what size to predict.
        checkpoint: what tells it from a later one in its place.
    """

    args: Namespace
    left_out: list[str]
    info: DatasetInfo
    items: list[Item]
    targets: list[Path]
    values: np.ndarray
    default_size: bool
    checkpoint: dict[str, str]


def plan_work(args: Namespace, given: Collection[str]) -> Work:
    """Find the images, and check that no prediction overwrites a file of somebody else."""
    facts = take_facts(args, given, args.trained_model_path)
    own_classes = args.image_dir is not None and "val_dataset" not in given and not args.label_ids
    info = dataset_of(args, facts, own_classes)
    if args.label_ids and args.overlay:
        raise UserError(
            "--overlay: no pictures are written with --label_ids; leave one of them out"
        )
    items, targets = images_to_predict(args, info)
    check_targets(items, [outputs(target, args) for target in targets], args.label_ids)
    values = label_ids(info, args.num_classes) if args.label_ids else np.arange(256, dtype=np.uint8)
    left_out = ["val_dataset"] if own_classes else []
    default_size = "image_size" not in {*given, *facts}
    checkpoint = state_of(args.trained_model_path)
    return Work(args, left_out, info, items, targets, values, default_size, checkpoint)


def warn_before(args: Namespace, work: Work) -> None:
    """Warn of images that may not be as the network wants them, and of an earlier run's files."""
    check_range(work.items)
    warn_if_turned(work.items, tuple(args.image_size))
    if work.default_size:
        warn_of_scale(work.items, tuple(args.image_size))
    warn_of_pages(work.items, "image")
    if not args.overlay:
        warn_of_overlays(work.targets)
    warn_of_replaced(args.save_dir, images_by_target(work))


def images_by_target(work: Work) -> dict[Path, str]:
    """The image of each prediction."""
    return {t: item.image for t, item in zip(work.targets, work.items, strict=True)}


def tell_predictions(args: Namespace, work: Work, finished: bool) -> None:
    """Write beside the predictions what they are, and whether all of them are there."""
    classes = np.arange(len(work.info.class_names))
    label_ids = not np.array_equal(work.values[classes], classes)
    images = images_by_target(work)
    write_notes(args.save_dir, work.info, images, work.checkpoint, label_ids, finished)


def write_predictions(args: Namespace, work: Work, share: Sequence[int], world: World) -> None:
    """Predict this rank's images, and write what the flags ask for."""
    items, info = work.items, work.info
    runtime = Runtime.from_args(args, world)
    model = get_model(args.model, args.num_classes, args.output_stride, args.separable_conv, False)
    load_model(args.trained_model_path, model, world)
    note = note_of_network(digest(model))
    runtime.prepare(fold_batch_norm(model))

    data = Subset(EvaluationSet(items, info, tuple(args.image_size)), share)
    loader = evaluation_loader(data, args.val_batch_size, args.num_workers, runtime.device)
    for index, labels in predict(model, loader, items, runtime):
        target = work.targets[index]
        write_png(target, cv2.LUT(labels, work.values), note)
        if not args.label_ids:
            write_png(color_path(target), info.colors(labels))
        if args.overlay:
            drawn = draw_overlay(read_image(items[index].image), labels, info, args.overlay)
            write_png(overlay_path(target), drawn)


def dataset_of(args: Namespace, facts: dict[str, Any], own_classes: bool) -> DatasetInfo:
    """The dataset whose classes are predicted.

    Args:
        args: the flags; ``num_classes`` is set.
        facts: what the checkpoint tells of its network.
        own_classes: whether names and colours of the classes are those of the checkpoint, which
            needs no description of its dataset then.

    Raises:
        UserError: the classes of --val_dataset are not those of the network.
    """
    if own_classes and {"class_names", "palette"} <= facts.keys():
        names = {key: facts[key] for key in ("class_names", "palette")}
        return replace(load_dataset(args.val_dataset), name=facts.get("dataset", "own"), **names)
    agree_on_classes(args, "val", network=facts.get("class_names"))
    return load_dataset(args.val_dataset)


@torch.inference_mode()
def predict(
    model: nn.Module, loader: DataLoader, items: list[Item], runtime: Runtime
) -> Iterator[tuple[int, np.ndarray]]:
    """Predict images; yield (index, (H, W) uint8 train ids at the image's own size).

    Raises:
        UserError: predictions are NaN or infinite, which would all be class 0.
    """
    for indices, images, _, _ in progress(loader, desc="predict", unit="batch"):
        with runtime.autocast():
            logits = model(images.to(runtime.device)).float()
        finite = are_finite(logits).tolist()
        for index, image_logits, is_finite in zip(indices, logits, finite, strict=True):
            if not is_finite:
                raise no_numbers(items[index].image)
            labels = enlarged_argmax(image_logits, read_size(items[index].image))
            yield index, labels.cpu().numpy()


def images_to_predict(args: Namespace, info: DatasetInfo) -> tuple[list[Item], list[Path]]:
    """Return the images to predict (--image_dir or validation list) and the paths to write to."""
    if args.image_dir is None:
        items = find_or_make_datalist(
            info, args.val_data_dir, "val", args.val_datalist, args.relocate, columns=1
        )
        return items, list_targets(items, args.val_data_dir, args.save_dir)
    items = images_below(args.image_dir, args.save_dir)
    targets = mirrored_targets(items, args.image_dir, args.save_dir)
    pairs = zip((item.image for item in items), targets, strict=True)
    if alike := [(image, target) for image, target in pairs if target.stem == Path(image).name]:
        more = f" ({len(alike) - 1} other images are such)" if len(alike) > 1 else ""
        log.warning(
            "%s: another image differs from this one only in the suffix; its prediction is %s%s",
            *(*map(shown, alike[0]), more),
        )
    return items, targets


def images_below(folder: Path, save_dir: Path) -> list[Item]:
    """Return the images in ``folder`` and its subfolders, except those in ``save_dir``.

    What else is left out, such as predictions of other runs, is logged.

    Raises:
        UserError: there are no images, or ``save_dir`` is the same folder.
    """
    if not folder.is_dir():
        raise UserError(f"--image_dir {folder}: no such folder")
    if folder.resolve() == save_dir.resolve():
        raise UserError(
            f"--save_dir {save_dir}: is --image_dir, where a prediction could overwrite an image; "
            "choose another folder"
        )
    passed = Scan()
    names = walk_files(folder, [save_dir], passed.leave_out)
    found = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if passed.left_out:
        log.warning("%s: %d images%s", folder, len(found), passed.summary)
    if not found:
        raise UserError(f"--image_dir {folder}: no images in it ({' '.join(IMAGE_SUFFIXES)})")
    for name in found:
        check_name(name)
    others = sorted(set(names).difference(found))
    if others:
        log.warning(
            "%s: %d files with other suffixes left out, the first %s",
            *(folder, len(others), shown(others[0])),
        )
    return [Item(os.path.abspath(folder / name), "", "") for name in found]


def outputs(target: Path, args: Namespace) -> list[Path]:
    """Return all files that are written for an image, its prediction first."""
    pictures = [] if args.label_ids else [color_path(target)]
    return [target, *pictures, *([overlay_path(target)] if args.overlay else [])]


def label_ids(info: DatasetInfo, num_classes: int) -> np.ndarray:
    """Return (256,) uint8: train id -> the smallest label id that the dataset maps to it.

    A class without a label id, of the network's ``num_classes``, is written as a value that is not
    a label id, 255 if possible.

    Raises:
        UserError: no id of a class fits into 8 bits, or no value is left for a class without one.
    """
    known, all_ids = info.label_ids, list(info.label_to_train.values())
    if large := sorted(set(all_ids).difference(known)):
        raise UserError(
            f"--label_ids: {info.class_names[large[0]]} has no label id below 256 in {info.path}; "
            "leave --label_ids out"
        )
    free = set(range(256)).difference(info.label_to_train)
    without = sorted(set(range(num_classes)).difference(known))
    if without and not free:
        name = padded_names(info.class_names, num_classes)[without[0]]
        raise UserError(
            f"--label_ids: {info.name} gives each value of 0 to 255 a class, so none is left for "
            f"{name}, which has no label id; leave --label_ids out, or give it one in {info.path}"
        )
    table = np.full(256, max(free, default=IGNORE), np.uint8)
    table[list(known)] = list(known.values())
    several = [name for t, name in enumerate(info.class_names) if all_ids.count(t) > 1]
    if several:
        log.warning("several label ids for %s: the smallest is written", ", ".join(several))
    return table


if __name__ == "__main__":
    run(main, parser)

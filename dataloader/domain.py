"""One domain (source, target or validation) as the flags describe it."""

import argparse
from dataclasses import dataclass

from torch import nn

from dataloader.datalist import Item, find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.datasets import EvaluationSet
from dataloader.images import check_files
from dataloader.loaders import evaluation_loader
from utils.errors import UserError
from utils.runtime import Runtime
from utils.validation import Validator


@dataclass(frozen=True)
class Domain:
    """A dataset, its root and the images used of it."""

    info: DatasetInfo
    root: str
    split: str
    items: list[Item]


def load_domain(args: argparse.Namespace, prefix: str, split: str, *columns: str) -> Domain:
    """The domain of ``--<prefix>_dataset``, ``_data_dir`` and ``_datalist``.

    ``columns`` ("image", "label", "superpixel") are those that must be readable.

    Raises:
        UserError: names the flag's data or the first files that cannot be read.
    """
    flags = (getattr(args, f"{prefix}_{name}") for name in ("dataset", "data_dir", "datalist"))
    dataset, root, path = flags
    info = load_dataset(dataset)
    if args.num_classes <= max(info.label_to_train.values()):
        raise UserError(
            f"--num_classes {args.num_classes}: {dataset} has train ids up to "
            f"{max(info.label_to_train.values())}; the default of 19 fits every data set here"
        )
    needed = max((Item._fields.index(column) for column in columns), default=0) + 1
    items = find_or_make_datalist(info, root, split, path, args.relocate, needed)
    check_files(items, info, *columns)
    return Domain(info, root, split, items)


def make_validator(args: argparse.Namespace, model: nn.Module, runtime: Runtime) -> Validator:
    """Validation of ``model`` on the validation images, at --image_size."""
    domain = load_domain(args, "val", "val", "image", "label")
    data = EvaluationSet(domain.items, domain.info, tuple(args.image_size), label=True)
    loader = evaluation_loader(data, args.val_batch_size, args.num_workers)
    source = load_dataset(args.src_dataset)
    return Validator(
        model,
        loader,
        args.num_classes,
        runtime,
        source.missing_classes,
        source.star_classes_without,
    )

"""One domain (source, target or validation): a dataset, its root, images and regions."""

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Subset

from dataloader.active_set import ActiveSet
from dataloader.checks.exchanged import warn_if_labels_exchanged, warn_if_maps_exchanged
from dataloader.checks.files import check_files, warn_if_turned
from dataloader.checks.labels import check_labels
from dataloader.checks.pairing import check_apart, check_pairing
from dataloader.checks.prediction_values import warn_if_labels_renumbered
from dataloader.checks.superpixel_maps import warn_of_other_maps
from dataloader.checks.turned_labels import warn_if_labels_turned
from dataloader.data_record import check_data, check_rank, describe_data
from dataloader.datalist import find_or_make_datalist
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.datasets import EvaluationSet
from dataloader.edges import check_edges
from dataloader.ignore_mask import Masks, find_masks, mask_of
from dataloader.item import Item
from dataloader.loaders import evaluation_loader
from dataloader.regions import Regions, check_maps, load_regions
from dataloader.relocation import moves_of
from utils.distributed import SINGLE, World
from utils.errors import NoLabels, UserError
from utils.metrics import padded_names
from utils.runtime import Runtime
from utils.validation import Scores, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Domain:
    """The images of a domain.

    Attributes:
        info: the dataset that they belong to.
        root: where its files lie.
        items: the images, in datalist order.
        regions: absolute superpixel path -> {region id: area in pixels of the superpixel map};
            empty where regions are not needed.
        columns: those of "image", "label" and "superpixel" that are read.
        masks: image path -> mask of the pixels that are never asked for; of the target alone.
    """

    info: DatasetInfo
    root: str
    items: list[Item]
    regions: Regions = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    masks: Masks = field(default_factory=dict)

    def with_regions(self, split: str) -> "Domain":
        """The same domain, its regions read from the region dictionary of a split.

        Maps of other programs that cannot be regions are warned of.

        Raises:
            UserError: masks leave no region.
        """
        domain = replace(self, regions=load_regions(self.items, self.root, split, self.masks))
        warn_of_other_maps(domain.regions)
        if "image" in self.columns:
            warn_if_maps_exchanged(self.items)
        if self.masks and not domain.pixels:
            raise UserError(f"{self.info.path}: ignore_mask leaves no region to select; mend it")
        return domain

    @property
    def pixels(self) -> int:
        """Pixels of all regions."""
        return sum(sum(areas.values()) for areas in self.regions.values())

    def mask(self, item: Item) -> str | None:
        """Path of the mask of an image's pixels that are never asked for; None without masks."""
        return mask_of(item, self.masks)

    def area(self, regions: Mapping[str, Iterable[int]]) -> int:
        """Pixels of some regions, given as superpixel path -> region ids."""
        return sum(self.regions[path][region] for path, ids in regions.items() for region in ids)


def agree_on_classes(args: Namespace, *prefixes: str, network: Sequence[str] | None = None) -> None:
    """Make sure that domains have one list of classes, and set --num_classes where not given.

    Args:
        args: the flags; ``num_classes`` may be None, and is a number afterwards.
        prefixes: the domains, of src, trg and val.
        network: names of the classes of the network in --init_checkpoint, where it tells them.

    Raises:
        UserError: names the first class that differs, or a --num_classes that is too small.
    """
    first, *others = prefixes
    name = getattr(args, f"{first}_dataset")
    classes = load_dataset(name).class_names
    for prefix in others:
        other = getattr(args, f"{prefix}_dataset")
        pairs = zip_longest(classes, load_dataset(other).class_names, fillvalue="missing")
        for number, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                raise UserError(
                    f"--{prefix}_dataset {other}: its class {number} is {theirs}, that of "
                    f"--{first}_dataset {name} is {ours}; all datasets must have the same classes"
                )
    pairs = zip_longest(classes, network or classes, fillvalue="missing")
    for number, (ours, theirs) in enumerate(pairs):
        if ours != theirs and (ours, theirs) != ("missing", f"class {number}"):  # --num_classes
            raise UserError(
                f"--{first}_dataset {name}: its class {number} is {ours}, that of the checkpoint's "
                f"network is {theirs}; name the dataset that it was trained on"
            )
    args.num_classes = args.num_classes or len(classes)
    if args.num_classes < len(classes):
        raise UserError(
            f"--num_classes {args.num_classes}: {name} has {len(classes)}; leave the flag out, or "
            f"name the dataset that the network predicts with --{first}_dataset"
        )


def load_domain(
    args: Namespace,
    prefix: str,
    split: str,
    *columns: str,
    items: Sequence[Item] | None = None,
) -> Domain:
    """The domain of ``--<prefix>_dataset``, ``_data_dir`` and ``_datalist``.

    Args:
        args: the flags.
        prefix: src, trg or val.
        split: train or val.
        columns: those of "image", "label" and "superpixel" that must be readable.
        items: the images, where they are known from elsewhere than the flags.

    Raises:
        UserError: names the flag's data or the first files that cannot be read.
    """
    flags = (getattr(args, f"{prefix}_{name}") for name in ("dataset", "data_dir", "datalist"))
    dataset, root, path = flags
    info = load_dataset(dataset)
    if items is None:
        needed = max((Item._fields.index(column) for column in columns), default=0) + 1
        need_label = "label" in columns
        moves = moves_of(args.relocate, prefix)
        items = find_or_make_datalist(info, root, split, path, moves, needed, need_label)
    check_files(items, info, *columns)
    if "label" in columns:
        check_pairing(items, info, root)
        check_labels(items, info, f"--{prefix}_dataset")
        if not warn_if_labels_turned(items, info):
            warn_if_labels_exchanged(items, info)
    asks = prefix == "trg" and len(columns) > 1  # adaptation without any label asks for nothing
    masks = find_masks(items, root, info) if asks else {}
    return Domain(info, root, list(items), columns=columns, masks=masks)


def check_and_describe(
    domains: Mapping[str, Domain],
    before: Mapping[str, Any],
    world: World = SINGLE,
    accept_changes: bool = False,
) -> dict[str, dict[str, Any]]:
    """A record of the domains' data, which must be those that a run began with.

    Images and labels of two domains are warned of.

    Args:
        domains: by the prefix of their flags: src, trg or val.
        before: the records when the run began; domains that are not in it are not compared.
        world: the ranks, which must all have the same data. One of each machine makes the records;
            those of rank 0 are returned there.
        accept_changes: see :func:`dataloader.data_record.check_data`.

    Raises:
        UserError: the data have changed since, or differ between ranks; names the first image that
            differs.
    """
    records = {}
    if world.local_rank == 0:  # for all ranks of the machine
        check_apart({prefix: domain.items for prefix, domain in domains.items()})
        records = {
            prefix: describe_data(d.items, d.root, d.info, *d.columns, masks=d.masks)
            for prefix, d in domains.items()
        }
    for prefix in before:
        if prefix in records:
            items = domains[prefix].items
            check_data(prefix, items, records[prefix], before[prefix], accept_changes)
    for rank, theirs in enumerate(world.gather_on_main(records)):
        for prefix, record in theirs.items():
            check_rank(prefix, domains[prefix].items, records[prefix], record, rank)
    world.barrier()  # nobody works before rank 0 has compared
    return records


class Validator:
    """Validates, and warns once if labels seem to be numbered otherwise than the network's classes.

    Args:
        measure: validates a network.
        info: the dataset of the labels.
    """

    def __init__(self, measure: Callable[[], Scores], info: DatasetInfo):
        self.measure, self.info = measure, info
        self._told = False

    def __call__(self) -> Scores:
        scores = self.measure()
        if not self._told:
            self._told = warn_if_labels_renumbered(np.array(scores.confusion), self.info)
        return scores


def make_validator(
    args: Namespace, domain: Domain, model: nn.Module, runtime: Runtime
) -> Validator:
    """A function that validates ``model`` on the validation images, at --image_size.

    Ranks divide the batches of one process, so that scores do not depend on their number.
    """
    warn_if_turned(domain.items, tuple(args.image_size))
    whole = EvaluationSet(domain.items, domain.info, tuple(args.image_size), label=True)
    data = Subset(whole, runtime.world.shard(len(whole), args.val_batch_size))
    loader = evaluation_loader(data, args.val_batch_size, args.num_workers, runtime.device)
    names = padded_names(domain.info.class_names, args.num_classes)
    source = load_dataset(args.src_dataset)
    measure = partial(
        validate,
        model,
        loader,
        names,
        runtime,
        missing=source.missing_classes,
        star=source.star_classes_without,
        absent=set(range(args.num_classes)).difference(domain.info.present_classes),
        paths=[item.image for item in domain.items],
    )
    return Validator(measure, domain.info)


def load_domains(
    args: Namespace,
    needs: Collection[str],
    datalist: Path | None,
    target_labels: bool = True,
    world: World = SINGLE,
) -> tuple[Domain, Domain, ActiveSet]:
    """Source, target and what is labelled: that of a datalist, else every region in the pool.

    Args:
        args: the flags.
        needs: of "network", "source" and "edges", what selection will look at.
        datalist: to go on from.
        target_labels: whether the target's images have label files.
        world: the ranks, of which rank 0 reads the datalist.

    Raises:
        UserError: names the first files that cannot be used.
    """
    listed = None
    roots = args.src_data_dir, args.trg_data_dir
    if other := world.first_other([os.path.abspath(root) for root in roots]):
        rank, theirs, ours = other  # what rank 0 selects is named by paths
        raise UserError(
            f"rank {rank}: images in {', '.join(theirs)}, on rank 0 in {', '.join(ours)}; "
            "all machines need the same paths"
        )
    if datalist:
        listed = world.on_main(ActiveSet.load, datalist, *roots, args.relocate)
    with world.first_on_each_machine():
        columns = ("image", "label", "superpixel")
        source_columns = columns if "source" in needs else columns[:2]
        source = load_domain(args, "src", "train", *source_columns, items=listed and listed.source)
        target_columns = columns if target_labels else ("image", "superpixel")
        try:
            items = listed and listed.target
            target = load_domain(args, "trg", "train", *target_columns, items=items)
        except NoLabels as error:
            raise UserError(
                f"{error}; if people are still to label them, give --oracle people"
            ) from error
        target = target.with_regions("train")
        if "source" in needs:
            source = source.with_regions("train")
        if "network" not in needs:  # a pass over the images would check this
            check_maps(target.items, target.regions, target.masks)
        if "edges" in needs:
            check_edges(target.items, target.root)
    if listed is None:
        return source, target, ActiveSet(source.items, target.items, target.regions)
    if dropped := listed.drop_unknown(target.regions):
        log.warning(
            "%s: %d of its regions are not in the superpixel maps, or masked, and are left out",
            *(datalist, dropped),
        )
    return source, target, listed

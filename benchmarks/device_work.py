"""What a device does in training, validation and selection, as functions that can be timed.

Each function below makes networks and made-up inputs and returns the work, a function without
arguments. Batches come from the CPU, as those of a loader do.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from active_selection.clustering import k_means
from active_selection.mixture import fit_mixture
from active_selection.region_table import RegionTable, column_types, make_table
from active_selection.table_pass import fill_table
from benchmarks.inputs import CLASSES, REGIONS, clustered_features, network
from benchmarks.measure import peak_mb
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item
from models.discriminator import Discriminator
from models.folding import folded_copy
from utils.optim import discriminator_optimizer, segmentation_optimizer
from utils.runtime import Runtime
from utils.steps import AdversarialStep, SupervisedStep, train_mode
from utils.validation import confusion_of

Work = Callable[[], Any]
Size = tuple[int, int]
COMPONENTS = 10


class Figure(NamedTuple):
    """How long a piece of work takes, and the memory that it needs.

    Attributes:
        seconds: median; None where the device has too little memory.
        peak_mb: on a GPU, all that torch has allocated at most; on a CPU, what the work adds.
        images: number of images that it is about; 0 for none.
        note: a remark.
    """

    seconds: float | None
    peak_mb: float | None = None
    images: int = 0
    note: str = ""


def measured(work: Work, device: torch.device, runs: int, images: int = 0) -> Figure:
    """Measure a piece of work, after a call that warms it up."""
    try:
        synchronised(work, device)
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        seconds = median(synchronised(work, device) for _ in range(runs))
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 1e6
        else:
            peak = peak_mb(work)
        return Figure(seconds, peak, images)
    except torch.OutOfMemoryError:
        return Figure(None, None, images, "does not fit into memory")


def synchronised(work: Work, device: torch.device) -> float:
    """Return the seconds that a piece of work takes until the device has done it."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def training_step(kind: str, model: str, size: Size, batch: int, runtime: Runtime) -> Work:
    """An optimisation step, "supervised" or "adversarial"; the latter sees two batches.

    Fine-tuning and the warm-ups on one domain take supervised steps.
    """
    net = runtime.prepare(network(model))
    optimizer = segmentation_optimizer(net, 2.5e-4, 5e-4)
    train_mode(net, freeze_bn=True)
    images, labels = images_of(size, batch), labels_of(size, batch)
    batches = itertools.repeat((images, labels))
    supervised = (net, optimizer, batches, "cross_entropy", runtime)
    if kind == "supervised":
        return SupervisedStep(*supervised)
    discriminator = runtime.prepare(Discriminator(CLASSES))
    adam = discriminator_optimizer(discriminator, 2.5e-4)
    return AdversarialStep(*supervised, discriminator, adam, batches)


def validation(model: str, size: Size, batch: int, runtime: Runtime) -> Work:
    """The confusion matrix of a batch."""
    net = runtime.prepare(network(model))
    loader = [(range(batch), images_of(size, batch), labels_of(size, batch), ())]
    return lambda: confusion_of(net, loader, CLASSES, runtime)


def forward_pass(model: str, size: Size, batch: int, runtime: Runtime) -> Work:
    """The features and logits of a batch, from a network as the selection pass has it."""
    net, images = selecting_network(model, runtime), images_of(size, batch)

    @torch.inference_mode()
    def work() -> None:
        with runtime.autocast():
            net.forward_features(images.to(runtime.device, non_blocking=True))

    return work


def selection_pass(model: str, size: Size, batch: int, runtime: Runtime) -> Work:
    """The rows of a batch's regions in the region table."""
    net, (table, superpixels) = selecting_network(model, runtime), table_of(size, batch)
    loader = [(list(range(batch)), images_of(size, batch), None, [superpixels] * batch)]
    return lambda: list(fill_table(table, net, loader, runtime))


def selecting_network(model: str, runtime: Runtime) -> torch.nn.Module:
    """A network with BatchNorm folded into its convolutions, which a compiled one keeps."""
    net = network(model)
    return runtime.prepare(net if runtime.compiled else folded_copy(net))


def images_of(size: Size, batch: int) -> Tensor:
    """(batch, 3, H, W) random images on the CPU, in memory from which a GPU copies directly."""
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    return images.pin_memory() if torch.cuda.is_available() else images


def labels_of(size: Size, batch: int) -> Tensor:
    """(batch, H, W) uint8 random labels on the CPU."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, CLASSES, (batch, *size), dtype=torch.uint8, generator=generator)


def table_of(size: Size, images: int) -> tuple[RegionTable, Tensor]:
    """An empty region table of images with upright stripes as regions, and their superpixels."""
    height, width = size
    ids = np.repeat((np.arange(width) * REGIONS // width).astype(np.uint8)[None], height, 0)
    areas = {n: area for n, area in enumerate(np.bincount(ids.ravel()).tolist()) if area}
    items = [Item(f"{n}.png", f"{n}_label.png", f"{n}_map.png") for n in range(images)]
    regions = {item.superpixel: areas for item in items}
    domain = Domain(load_dataset("cityscapes"), "made_up", items, regions)
    columns = {
        name: np.zeros((images * len(areas), *shape), dtype)
        for name, (dtype, shape) in column_types(CLASSES, with_discriminator=False).items()
    }
    return make_table(domain, columns), torch.from_numpy(ids)


def fits(regions: int, device: torch.device) -> Iterator[tuple[str, Work]]:
    """Mixtures of one class each, from the largest of a selection to a small one.

    The k-means initialisation, on the CPU, is part of the fit.
    """
    for rows in (regions, regions // 10):
        features = clustered_features(rows, seed=0)
        yield (
            f"mixture of {rows} regions, {COMPONENTS} components",
            partial(fit_mixture, features, COMPONENTS, 0, device),
        )
        yield (
            f"of which k-means of {rows} regions, on the CPU",
            partial(k_means, features.astype(np.float64), COMPONENTS, 0),
        )

"""A network's forward passes: over a domain for its region table, and to predict labels."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from active_selection.phases import Phase, plan_phases, run_phases
from active_selection.region_table import UNCERTAINTIES
from active_selection.strategies import Candidates
from active_selection.table_pass import PassOptions, measure
from benchmarks.inputs import CITY, network, street_domain
from benchmarks.stage import Work, stage
from dataloader.active_set import ActiveSet
from dataloader.datasets import EvaluationSet
from models.folding import fold_batch_norm
from utils.runtime import Runtime

CPU = torch.device("cpu")


def same_images(ours: int, reference: int) -> str:
    """Check the numbers of images that were measured."""
    assert ours == reference
    return f"{reference} images"


@stage(target_ratio=1 / 1.10, runs=3, check=same_images)
def selection_overhead() -> tuple[Work, Work]:
    """A whole pass, files to table, against the network's bare forward passes on its images.

    A pass begins with a fingerprint of the weights; over every image twice, that counts for less.
    """
    domain, size = street_domain(), (512, 1024)
    domain = replace(domain, items=2 * domain.items)
    model = network("deeplabv3plus_resnet101")
    data = EvaluationSet(domain.items, domain.info, size)
    images = [data[index][1][None] for index in range(len(data))]

    def ours() -> int:
        with TemporaryDirectory(dir=CITY) as folder:
            options = PassOptions(size, 1, 0, Runtime(CPU), Path(folder))
            table = measure("bench", domain, model, None, options)
            return len(np.unique(table.image[table.pixels > 0]))

    @torch.inference_mode()
    def bare_passes() -> int:
        return len([model.forward_features(image) for image in images])

    return ours, bare_passes


def one_pass_against_two(ours: tuple[int, dict], reference: tuple[int, dict]) -> str:
    """Check (forward passes, labelled regions): the same regions, by one pass instead of two."""
    assert ours[0] == 1 and reference[0] == 2
    assert ours[1] == reference[1]
    return "1 pass against 2"


@stage(target_ratio=1, check=one_pass_against_two)
def target_passes() -> tuple[Work, Work]:
    """A selection by density and uncertainty: one table for both, or a table for each."""
    domain, size = street_domain(), (128, 256)
    model = network("deeplabv3plus_mobilenet")
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    plan = plan_phases("d2ada", UNCERTAINTIES[0], 2, 100_000, alpha=1, beta=1)

    def select(plans: list[list[Phase]]) -> tuple[int, dict]:
        """Run the phases of each plan on a table of its own."""
        calls.clear()
        active = ActiveSet([], domain.items, domain.regions)
        for phases in plans:
            with TemporaryDirectory(dir=CITY) as name:
                folder = Path(name)
                options = PassOptions(size, len(domain.items), 0, Runtime(CPU), folder)
                table = measure("target", domain, model, None, options)
                run_phases(phases, Candidates(table, table), active, domain, folder, 1)
        return len(calls), active.labelled

    return lambda: select([plan]), lambda: select([[phase] for phase in plan])


def share_of_equal_pixels(ours: torch.Tensor, reference: torch.Tensor) -> str:
    """Tell how many pixels get the same label; rounding decides many of a random network's."""
    assert ours.shape == reference.shape
    return f"{100 * (ours == reference).float().mean():.2f} % of pixels equal, of a random network"


@stage(target_ratio=2, runs=3, check=share_of_equal_pixels)
def inference() -> tuple[Work, Work]:
    """Labels of an image: ``--amp bf16 --channels_last`` and folded BatchNorm, against float32."""
    fast, plain = network("deeplabv3plus_resnet101"), network("deeplabv3plus_resnet101")
    runtime = Runtime(CPU, "bf16", channels_last=True)
    runtime.prepare(fold_batch_norm(fast))
    image = torch.randn(1, 3, 512, 1024)

    @torch.inference_mode()
    def ours() -> torch.Tensor:
        with runtime.autocast():
            return fast(image).argmax(1)

    def reference() -> torch.Tensor:
        with torch.no_grad():
            return plain(image).argmax(1)

    return ours, reference

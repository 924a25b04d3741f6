"""Time and memory of ResNet-101 at full size; on the CPU, of a small network at a small one."""

import pytest
import torch

from benchmarks.device_work import (
    Figure,
    forward_pass,
    measured,
    selection_pass,
    training_step,
    validation,
)
from utils.runtime import Runtime

WORK = {
    "supervised step": (training_step, "supervised"),
    "adversarial step": (training_step, "adversarial"),
    "validation": (validation,),
    "forward pass": (forward_pass,),
    "selection pass": (selection_pass,),
}
FEW_MB = 1000  # that pooling needs beside the network, in a selection


@pytest.fixture(scope="module", params=["none", "bf16"])
def figures(request, device, figure) -> dict[str, Figure]:
    """Measured and printed: a training batch of 1, and 4 images for validation and selection."""
    amp = request.param
    on_gpu = device.type == "cuda"
    name = "deeplabv3plus_resnet101" if on_gpu else "deeplabv3plus_mobilenet"
    size = (1024, 2048) if on_gpu else (32, 64)
    runtime = Runtime(device, amp, channels_last=amp != "none")
    figure(f"{name}, {size[0]} x {size[1]}, --amp {amp}:")
    results = {}
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        for work, (make, *kind) in WORK.items():
            images = 1 if kind else 4
            function = make(*kind, name, size, images, runtime)
            result = measured(function, device, 3, images)
            results[work] = result
            line = f"  {work:17s} batch {images}  "
            if result.seconds is None:
                figure(line + result.note)
            else:
                figure(f"{line}{result.seconds:8.4f} s  {result.peak_mb:8.0f} MB at most")
    return results


def test_everything_fits_into_memory(figures):
    assert all(result.seconds for result in figures.values()), figures


def test_a_selection_needs_little_more_memory_than_the_network(figures):
    """The means over regions need less than 1 GB more than the forward pass."""
    assert figures["selection pass"].peak_mb < figures["forward pass"].peak_mb + FEW_MB

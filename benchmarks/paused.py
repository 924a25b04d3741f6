"""Run warmup.py or train_ADA.py with a small network that pauses where a large one would compute.

    python benchmarks/paused.py TRAINING EVALUATION SPREAD FIT warmup.py FLAGS...

TRAINING and EVALUATION are the seconds of an image, SPREAD is the standard deviation of a training
image's as a share of them, and FIT the seconds of a mixture for a region and a component. All else
is the project's own code, so that a run takes as long as its schedule wants it to, on however many
ranks torchrun starts, and however few cores they share.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from active_selection import clustering
from active_selection.mixture import fit_mixture
from models.deeplab import FEATURES, DeepLab
from utils.errors import run

STRIDE, CHANNELS = 16, 8
MODEL_OF_ROUNDS = "active_selection.rounds.get_model"
FITTED = "active_selection.fitting.fit_mixture"


class Backbone(nn.Conv2d):
    """A single convolution."""

    def __init__(self) -> None:
        super().__init__(3, CHANNELS, STRIDE, STRIDE)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = super().forward(x)
        return {"low_level": maps, "out": maps}


class Head(nn.Module):
    """A convolution to the features, and one to the classes."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.features = nn.Conv2d(CHANNELS, FEATURES, 1)
        self.final = nn.Conv2d(FEATURES, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return self.features(high).relu()


class Paused(DeepLab):
    """A network that pauses in each pass; in training for the whole of a step.

    Args:
        training, evaluation, spread: see the script.
        num_classes: number of classes.
    """

    def __init__(self, training: float, evaluation: float, spread: float, num_classes: int):
        super().__init__(Backbone(), Head(num_classes))
        self.seconds = {True: training, False: evaluation}
        self.spread = spread
        self.rng = np.random.default_rng(int(os.environ.get("RANK", 0)))

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seconds = self.seconds[self.training] * len(x)
        if self.training:
            seconds *= self.rng.gamma(1 / self.spread**2, self.spread**2)
        time.sleep(seconds)
        return super().forward_features(x)


def paused_fit(seconds: float, features: np.ndarray, components: int, *options):
    """Pause for a fit, then fit a mixture of a single component, which takes hardly any time."""
    time.sleep(seconds * len(features) * components)
    return fit_mixture(features, 1, *options)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script that the command line names, with its flags."""
    *numbers, script = (words := list(sys.argv[1:] if argv is None else argv))[:5]
    training, evaluation, spread, fit = map(float, numbers)
    torch.set_num_threads(1)
    clustering.load()  # which the first fit would wait for

    def get_model(name: str, num_classes: int, *_) -> nn.Module:
        return Paused(training, evaluation, spread, num_classes)

    module = import_module(script.removesuffix(".py"))
    with (
        patch("warmup.get_model" if script == "warmup.py" else MODEL_OF_ROUNDS, get_model),
        patch(FITTED, partial(paused_fit, fit)),
    ):
        module.main(words[5:])


if __name__ == "__main__":
    run(main)

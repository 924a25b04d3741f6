"""The recorder of a run, and pictures of what its network predicts."""

from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from dataloader.datasets import EvaluationSet
from dataloader.domain import Domain
from dataloader.images import read_image
from utils.errors import shown
from utils.event_files import EventFiles
from utils.recorder import Recorder
from utils.runtime import Runtime

PICTURES = 3
HEIGHT = 256  # at most, in pixels; the files of 100 validations stay small


def start_recorder(
    args: Namespace,
    path: Path,
    script: str,
    total_itrs: int,
    validation: Domain,
    model: nn.Module,
    runtime: Runtime,
) -> Recorder:
    """Return the recorder of a run, with TensorBoard's event files beside it if --tensorboard.

    On ranks other than 0 it records nothing.

    Args:
        args: the flags.
        path: file of the metrics.
        script: name of the folder of event files, below "tensorboard" beside ``path``.
        total_itrs: iterations of a round, or of the warm-up.
        validation: the domain that pictures are taken from.
        model, runtime: the network that is trained, how it runs, and the ranks.
    """
    if not runtime.world.is_main:
        return Recorder(None)
    if not args.tensorboard:
        return Recorder(path)
    pictures = partial(prediction_pictures, validation, model, runtime, tuple(args.image_size))
    return Recorder(path, EventFiles(path.parent / "tensorboard" / script, total_itrs, pictures))


@torch.inference_mode()
def prediction_pictures(
    domain: Domain, model: nn.Module, runtime: Runtime, size: tuple[int, int], count: int = PICTURES
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and image | prediction | label, (h, 3 w, 3) uint8, of a few images.

    Args:
        domain: the images, of which ``count`` are taken, evenly spread over the list.
        model, runtime: the network and how it runs; the network is in evaluation mode afterwards.
        size: (H, W) at which the network sees an image.
        count: how many.
    """
    model.eval()
    data = EvaluationSet(domain.items, domain.info, size, label=True)
    height = min(HEIGHT, size[0])
    shape = (max(1, round(size[1] * height / size[0])), height)
    for number in sorted({*np.linspace(0, len(data) - 1, count).round().astype(int).tolist()}):
        _, image, label, _ = data[number]
        with runtime.autocast():
            logits = model(image[None].to(runtime.device))
        predicted = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        maps = [
            cv2.resize(values, shape, interpolation=cv2.INTER_NEAREST)
            for values in (predicted, label.numpy())
        ]
        path = domain.items[number].image
        photo = cv2.resize(read_image(path), shape, interpolation=cv2.INTER_AREA)
        yield (
            f"{number} {shown(Path(path).stem)}",
            np.hstack([photo, *map(domain.info.colors, maps)]),
        )

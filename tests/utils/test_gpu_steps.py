"""What a GPU would be asked to do in a step of training and of validation, without one."""

import itertools
from contextlib import nullcontext

import pytest
import torch

from benchmarks.paused import Backbone, Head
from models import get_model
from models.deeplab import DeepLab
from models.discriminator import Discriminator
from tests.fake_gpu import HostReads, Operations, fake_gpu
from utils.engine import Training, TrainingPlan
from utils.optim import discriminator_optimizer, segmentation_optimizer
from utils.recorder import Recorder, read_metrics
from utils.resume import Progress
from utils.runtime import Runtime
from utils.steps import AdversarialStep, SupervisedStep, train_mode
from utils.validation import Scores, confusion_of

GPU, META = torch.device("cuda"), torch.device("meta")
SIZE = (128, 256)


class OnMeta(Runtime):
    """On the meta device: without a GPU, gradients cannot be computed on a fake one, either."""

    def autocast(self):
        return nullcontext()


def batches():
    """Endless batches on the CPU, as a loader has them."""
    images = torch.empty(2, 3, *SIZE, device="cpu")
    return itertools.repeat((images, torch.empty(2, *SIZE, dtype=torch.uint8, device="cpu")))


def supervised(model, loss):
    optimizer = segmentation_optimizer(model, 1e-3, 5e-4)
    return SupervisedStep(model, optimizer, batches(), loss, OnMeta(META))


def adversarial(model, loss):
    optimizer, discriminator = segmentation_optimizer(model, 1e-3, 5e-4), Discriminator(19)
    adam = discriminator_optimizer(discriminator, 1e-4)
    step = (model, optimizer, batches(), loss, OnMeta(META), discriminator, adam, batches())
    return AdversarialStep(*step)


@pytest.mark.parametrize(
    ("make", "loss"), [(supervised, "focal_loss"), (adversarial, "cross_entropy")]
)
def test_a_training_step_reads_nothing_back_from_the_device(make, loss):
    with Operations() as gpu, torch.device(META):
        model = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False)
        step = make(model, loss)
        train_mode(model, freeze_bn=True)
        step()
        losses = step()  # its optimisers have a state
        assert gpu.copies == 0
        assert {loss.device.type for loss in losses.values()} == {"meta"}
        assert not any(loss.requires_grad for loss in losses.values())


def test_a_validation_batch_is_one_copy_of_a_byte_a_pixel():
    with fake_gpu() as gpu, torch.device(GPU):
        model = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False)
        images, labels = next(batches())
        loader = [(range(len(images)), images, labels, ())] * 3
        confusion_of(model, loader, 19, Runtime(GPU))
        assert gpu.copies == 3


class NoFile:
    """Stands for the file of a training's state."""

    def restore(self, step):
        return Progress()

    def save(self, step, progress):
        pass


@pytest.mark.parametrize("make", [supervised, adversarial])
def test_a_training_waits_for_the_device_once_a_report(make, tmp_path):
    """Losses, however many, are read together; and weights, when they are validated or saved.

    (With --amp fp16, torch's GradScaler reads once more for each optimiser in each step.)
    """
    plan = TrainingPlan(6, val_period=6, log_period=2, save_period=3)
    with Operations(), torch.device(META):
        model = DeepLab(Backbone(), Head(19))
        training = Training(
            make(model, "cross_entropy"),
            *(plan, lambda: Scores(-1.0), tmp_path / "checkpoint.tar", NoFile()),
            Recorder(tmp_path / "metrics.jsonl"),
        )
        networks = len(training.step.networks)
        with HostReads() as reads:
            training.run()
    saves, validations = 2, 1
    assert reads.count <= 3 + saves * (1 + networks) + validations * networks
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "metrics.jsonl")[:3]]
    assert losses == [0, 0, 0]

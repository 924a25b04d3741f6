"""Losses, frozen BatchNorm, and what each step may change."""

import copy
import itertools
import shutil
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import warmup
from models import get_model
from utils.engine import Training, TrainingPlan
from utils.errors import UserError
from utils.losses import cross_entropy, focal_loss
from utils.optim import discriminator_optimizer, segmentation_optimizer
from utils.recorder import Recorder, read_metrics
from utils.resume import StateFile
from utils.runtime import COMPILERS, Runtime, get_device
from utils.steps import AdversarialStep, SupervisedStep, train_mode
from utils.validation import Scores

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.classifier = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.classifier(self.backbone(x).relu())


def batches(seed):
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 16, 16, generator=rng)
    labels = torch.randint(0, 4, (2, 16, 16), generator=rng)
    labels[:, :4] = 255
    return itertools.repeat((images, labels))


def test_cross_entropy_ignores_255():
    logits, labels = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    labels[0] = 255
    expected = F.cross_entropy(logits[1:], labels[1:])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_a_batch_weighs_its_images_as_batches_of_one_do():
    logits, labels = torch.randn(3, 4, 5, 5), torch.randint(0, 4, (3, 5, 5))
    labels[1, 1:] = 255
    labels[2] = 255
    alone = [
        F.cross_entropy(logits[i : i + 1], labels[i : i + 1], ignore_index=255) for i in (0, 1)
    ]
    torch.testing.assert_close(cross_entropy(logits, labels), (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("loss", [cross_entropy, focal_loss])
def test_loss_without_a_single_label_is_zero_not_nan(loss):
    logits = torch.randn(1, 4, 5, 5, requires_grad=True)
    value = loss(logits, torch.full((1, 5, 5), 255))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_focal_loss_equals_its_formula_over_pixels_that_count():
    logits, labels = torch.randn(1, 4, 6, 6), torch.randint(0, 4, (1, 6, 6))
    labels[0, :2] = 255
    p = logits.softmax(1).gather(1, labels.clamp(max=3)[:, None])[:, 0]
    expected = (-((1 - p) ** 2) * p.log())[labels != 255].mean()
    torch.testing.assert_close(focal_loss(logits, labels), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 0.9])
def test_focal_loss_has_finite_gradients_for_small_exponents(gamma):
    """Also where the label is ignored, and where the network is certain."""
    logits, labels = torch.randn(1, 4, 6, 6), torch.randint(0, 4, (1, 6, 6))
    labels[0, :2] = 255
    logits[0, :, 3] = 50 * F.one_hot(labels[0, 3], 4).T
    gradients = []
    for loss in (partial(focal_loss, gamma=gamma), cross_entropy):
        leaf = logits.clone().requires_grad_()
        loss(leaf, labels).backward()
        gradients.append(leaf.grad)
    assert gradients[0].isfinite().all() and gradients[0].any()
    if not gamma:
        torch.testing.assert_close(*gradients)


def test_frozen_batch_norm_changes_in_no_way():
    net = Net()
    optimizer = segmentation_optimizer(net, 0.1, 5e-4)
    train_mode(net, freeze_bn=True)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    SupervisedStep(net, optimizer, batches(0), "cross_entropy", Runtime(CPU))()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {
        "backbone.0.weight",
        "backbone.0.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_learning_batch_norm_follows_the_data():
    net = Net()
    train_mode(net, freeze_bn=False)
    optimizer = segmentation_optimizer(net, 0.1, 0)
    SupervisedStep(net, optimizer, batches(0), "focal_loss", Runtime(CPU))()
    assert net.backbone[1].running_mean.abs().sum() > 0
    assert net.backbone[1].num_batches_tracked == 1


def adversarial_step(net, discriminator):
    return AdversarialStep(
        net,
        segmentation_optimizer(net, 1e-2, 0),
        batches(0),
        "cross_entropy",
        Runtime(CPU),
        discriminator,
        discriminator_optimizer(discriminator, 1e-2),
        batches(1),
    )


def test_adversarial_step_gives_each_network_its_own_gradients():
    """Network: CE(source) + 0.0005 BCE(D(target), source). D: the mean of two BCEs, detached."""
    torch.manual_seed(0)
    net, discriminator = Net(), nn.Conv2d(4, 1, 4, 2, 1)
    step = adversarial_step(net, discriminator)
    gradients = {}
    for optimizer in step.optimizers:
        optimizer.step = lambda *_, **__: None
    step.runtime.update = lambda *_: gradients.update(
        {n: p.grad.clone() for m in (net, discriminator) for n, p in m.named_parameters()}
    )
    losses = step()
    for m in (net, discriminator):
        m.zero_grad()
    (source, labels), (target, _) = next(batches(0)), next(batches(1))
    source_logits, target_logits = net(source), net(target)

    def told(logits, domain):
        opinion = discriminator(logits.softmax(1))
        return F.binary_cross_entropy_with_logits(opinion, torch.full_like(opinion, domain))

    adversarial = told(target_logits, 0.0)
    loss = F.cross_entropy(source_logits, labels, ignore_index=255) + 0.0005 * adversarial
    expected = dict(
        zip(
            dict(net.named_parameters()),
            torch.autograd.grad(loss, list(net.parameters()), retain_graph=True),
            strict=True,
        )
    )
    loss_d = (told(source_logits.detach(), 0.0) + told(target_logits.detach(), 1.0)) / 2
    expected |= dict(
        zip(
            dict(discriminator.named_parameters()),
            torch.autograd.grad(loss_d, list(discriminator.parameters())),
            strict=True,
        )
    )
    assert losses["adv"].item() == pytest.approx(adversarial.item(), rel=1e-5)
    assert losses["D"].item() == pytest.approx(loss_d.item(), rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-7)


def training(folder, step, plan, validate, validation_data=""):
    recorder = Recorder(folder / "metrics.jsonl")
    state_file = StateFile(folder / "state.tar", "test")
    files = folder / "best.tar", state_file, recorder
    return Training(step, plan, validate, *files, validation_data=validation_data)


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_training_learns_and_validates_when_due(amp, tmp_path):
    torch.manual_seed(0)
    net = Net()
    step = SupervisedStep(
        net, segmentation_optimizer(net, 0.05, 0), batches(0), "cross_entropy", Runtime(CPU, amp)
    )
    first = step()["loss"].item()
    weights, scores = [], iter([0.2, 0.5, 0.4])

    def validate():
        weights.append(copy.deepcopy(net.state_dict()))
        return Scores(next(scores))

    plan = TrainingPlan(25, val_period=10, freeze_bn=False)
    best = training(tmp_path, step, plan, validate).run()
    assert best.miou == 0.5
    kept = torch.load(tmp_path / "best.tar", weights_only=True)["model_state_dict"]
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    measured = [e for e in read_metrics(tmp_path / "metrics.jsonl") if e["kind"] == "validation"]
    assert [(e["iteration"], e["mIoU"]) for e in measured] == [(10, 20), (20, 50), (25, 40)]
    assert step()["loss"].item() < 0.9 * first


def test_the_best_score_counts_for_its_checkpoint_and_its_data_alone(tmp_path, caplog):
    net = Net()
    step = SupervisedStep(
        net, segmentation_optimizer(net, 0.01, 0), batches(0), "cross_entropy", Runtime(CPU)
    )
    step.loaders = []

    def score(data: str, scores=()) -> float:
        values, caplog.records[:] = iter(scores), []
        train = training(tmp_path, step, TrainingPlan(4, 2), lambda: Scores(next(values)), data)
        return train.run().miou

    assert score("", [0.9, 0.8]) == 0.9  # by an older version
    assert score("wrong") == 0.9 and not caplog.records
    assert score("mended", [0.1]) == 0.1
    assert "the best mIoU so far, 90.00, does not count any more: validation data" in caplog.text
    kept = torch.load(tmp_path / "best.tar", weights_only=True)["model_state_dict"]
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())
    assert score("mended") == 0.1 and not caplog.records
    (tmp_path / "best.tar").unlink()
    assert score("mended", [0.2]) == 0.2 and (tmp_path / "best.tar").is_file()
    assert f"does not count any more: {tmp_path}/best.tar is gone" in caplog.text


def test_a_loss_that_turns_nan_stops_the_run_before_its_weights_are_validated(tmp_path):
    net = Net()
    step = SupervisedStep(
        net, segmentation_optimizer(net, 1e30, 0), batches(0), "cross_entropy", Runtime(CPU)
    )
    with pytest.raises(UserError, match=r"loss\) became nan in iteration 2; lower"):
        training(tmp_path, step, TrainingPlan(20, 10, log_period=10), pytest.fail).run()
    assert not (tmp_path / "best.tar").exists()


def test_unknown_device_is_refused_by_its_flag():
    for name in ("cuda:99", "gpu"):
        with pytest.raises(UserError, match="--device"):
            get_device(name)
    assert get_device("cpu") == CPU


OPTIONS = [{"channels_last": True}, {"amp": "bf16"}, {"amp": "fp16"}, {"compiled": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=["channels_last", "bf16", "fp16", "compile"])
def test_options_of_speed_change_no_result(options):
    """Losses and weights of three steps, within what bfloat16 or another order of sums allows."""
    if "compiled" in options and not any(map(shutil.which, COMPILERS)):
        args = warmup.parser().parse_args(["--compile", "--device", "cpu"])
        with pytest.raises(UserError, match="--compile: no C"):
            Runtime.from_args(args)
        return
    runs = []
    for runtime in (Runtime(CPU), Runtime(CPU, **options)):
        torch.manual_seed(0)
        net = runtime.prepare(Net())
        step = SupervisedStep(
            net, segmentation_optimizer(net, 0.01, 0), batches(0), "cross_entropy", runtime
        )
        losses = [step()["loss"].item() for _ in range(3)]
        runs.append((losses, net.state_dict()))
    (losses, weights), (expected_losses, expected) = runs[::-1]
    tolerance = 2e-2 if "amp" in options else 1e-4
    assert losses == pytest.approx(expected_losses, rel=tolerance)
    assert list(weights) == list(expected)
    for name in weights:
        torch.testing.assert_close(weights[name], expected[name], rtol=tolerance, atol=tolerance)


def test_loss_scaling_skips_what_overflows_and_then_learns():
    """float16 holds no gradients of a loss times 2^40: the first steps are not taken."""
    runtime = Runtime(CPU, amp="fp16")
    runtime.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    torch.manual_seed(0)
    net = runtime.prepare(Net())
    step = SupervisedStep(
        net, segmentation_optimizer(net, 0.01, 0), batches(0), "cross_entropy", runtime
    )
    before = net.classifier.weight.clone()
    first = step()["loss"].item()
    assert torch.equal(net.classifier.weight, before)
    losses = [step()["loss"].item() for _ in range(40)]
    assert runtime.scaler.get_scale() < 2.0**40
    assert losses[-1] < first
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_a_training_whose_gradients_always_overflow_ends_with_a_word(tmp_path):
    net = Runtime(CPU).prepare(Net())
    step = SupervisedStep(
        net,
        *(segmentation_optimizer(net, 0.01, 0), batches(0), "cross_entropy"),
        Runtime(CPU, amp="fp16"),
    )
    net.classifier.weight.register_hook(lambda gradient: gradient + float("inf"))
    with pytest.raises(UserError, match="--amp fp16: gradients overflowed"):
        training(tmp_path, step, TrainingPlan(60, 60), lambda: Scores(0.1)).run()
    assert not (tmp_path / "best.tar").exists()


def test_compiled_network_is_the_same_in_training_and_selection(monkeypatch):
    """Traced as always, but run as it stands, for a C++ compiler takes minutes over a DeepLab."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = get_model("deeplabv3plus_mobilenet", 19, 16, True, pretrained_backbone=False)
    for parent in list(plain.backbone.modules()):
        for name, block in parent.named_children():
            if getattr(block, "use_res_connect", False):  # half of the blocks, for a faster trace
                setattr(parent, name, nn.Identity())
    compiled = copy.deepcopy(plain)
    Runtime(CPU, compiled=True).prepare(compiled)
    image = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        plain.train(mode)
        compiled.train(mode)
        before = len(graphs)
        torch.manual_seed(0)
        expected = plain(image)
        torch.manual_seed(0)
        torch.testing.assert_close(compiled(image), expected)
        assert len(graphs) > before
    with torch.no_grad():
        torch.testing.assert_close(compiled.forward_features(image), plain.forward_features(image))
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.fixture
def slow_step():
    """A step that, by its clock, waits 3 s for a batch and computes for 1 s."""

    class SlowStep(SupervisedStep):
        def __call__(self):
            self.waited += 3
            self.clock[0] += 4
            return super().__call__()

    net = Net()
    optimizer = segmentation_optimizer(net, 0.01, 0)
    return SlowStep(net, optimizer, batches(0), "cross_entropy", Runtime(CPU))


def test_time_spent_waiting_is_a_share_of_training_alone(slow_step, tmp_path, monkeypatch):
    """Validation and writing, which take long here, count as no iteration's time."""
    clock = [0.0]
    monkeypatch.setattr("utils.engine.time.monotonic", lambda: clock[0])
    slow_step.clock = clock

    def validate():
        clock[0] += 1000
        return Scores(0.5)

    plan = TrainingPlan(8, val_period=4, freeze_bn=False, save_period=6)
    training(tmp_path, slow_step, plan, validate).run()
    measured = [e for e in read_metrics(tmp_path / "metrics.jsonl") if e["kind"] == "train"]
    assert [e["iteration"] for e in measured] == [4, 8]
    for entry in measured:
        assert entry["seconds_per_iteration"] == pytest.approx(4)
        assert entry["waiting_percent"] == pytest.approx(75)

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.optim import (
    discriminator_optimizer,
    poly_lr,
    schedule,
    segmentation_optimizer,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "poly_lr.json").read_text())


@pytest.mark.parametrize("iteration", GOLDEN["lr_at"])
def test_polynomial_decay_equals_the_release(iteration):
    lr = poly_lr(
        GOLDEN["base_lr"],
        int(iteration),
        GOLDEN["max_iters"],
        GOLDEN["power"],
        GOLDEN["min_lr"],
    )
    assert lr == pytest.approx(GOLDEN["lr_at"][iteration], rel=1e-12)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.classifier = nn.Linear(2, 3), nn.Linear(3, 4)


def test_head_learns_ten_times_faster_and_both_ramp_up():
    optimizer = segmentation_optimizer(Net(), 2.5e-4, 5e-4)
    apply = schedule(1000, ramp_itrs=100)
    rates = []
    for iteration in (0, 49, 99, 500):
        apply(optimizer, iteration)
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert rates[0] == pytest.approx([2.5e-6, 2.5e-5])
    assert rates[1] == pytest.approx(
        [0.5 * poly_lr(2.5e-4, 49, 1000), 0.5 * poly_lr(2.5e-3, 49, 1000)]
    )
    assert rates[2][0] == pytest.approx(poly_lr(2.5e-4, 99, 1000))
    assert rates[3] == pytest.approx([poly_lr(2.5e-4, 500, 1000), poly_lr(2.5e-3, 500, 1000)])
    defaults = optimizer.defaults
    assert (defaults["momentum"], defaults["weight_decay"]) == (0.9, 5e-4)


def test_every_parameter_is_optimised_once():
    net = Net()
    optimizer = segmentation_optimizer(net, 1e-3, 0)
    optimised = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in optimised} == {id(p) for p in net.parameters()}
    assert len(optimised) == len(list(net.parameters()))
    assert torch.is_tensor(optimised[0])


def test_discriminator_learns_by_adam_and_both_decay_and_ramp_alike():
    net = Net()
    adam = discriminator_optimizer(net, 2.5e-4)
    assert isinstance(adam, torch.optim.Adam)
    (group,) = adam.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (2.5e-4, (0.9, 0.99), 0)
    sgd = segmentation_optimizer(net, 2.5e-4, 5e-4)
    assert all(g["momentum"] == 0.9 and g["weight_decay"] == 5e-4 for g in sgd.param_groups)
    apply = schedule(1000, ramp_itrs=100)
    for iteration in (0, 50, 500, 999):
        apply(adam, iteration)
        apply(sgd, iteration)
        assert adam.param_groups[0]["lr"] == sgd.param_groups[0]["lr"]

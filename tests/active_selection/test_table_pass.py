"""A pass over a domain that is stopped, goes on, and finds that nothing is left to do."""

import numpy as np
import pytest
import torch
from torch import nn

from active_selection import table_pass
from active_selection.table_pass import PassOptions, check_same_regions, measure
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from models.deeplab import FEATURES
from models.discriminator import Discriminator
from tests.ranks import BesideMadeUpRank
from utils.errors import UserError
from utils.runtime import Runtime
from utils.stopping import STOP, Stopped

COLUMNS = ("feature", "prob", "uncertainty", "predicted_share", "pixels", "target_prob")


class Net(nn.Module):
    """Features and logits of single pixels, at a quarter of the size."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, FEATURES, 1)
        self.classifier = nn.Module()
        self.classifier.final = nn.Conv2d(FEATURES, 19, 1)

    def forward_features(self, images):
        features = self.features(images[..., ::4, ::4])
        return features, self.classifier.final(features)


@pytest.fixture()
def run(toy_city, tmp_path):
    """A function that measures the toy target, one image a batch."""
    torch.manual_seed(0)
    root = toy_city / "Cityscapes"
    items = read_datalist(root / "train.txt", root)
    domain = Domain(load_dataset("cityscapes"), str(root), items).with_regions("train")
    networks = Net(), Discriminator(19).eval()

    def run(folder: str, save_period: int = 1000) -> dict[str, np.ndarray]:
        runtime = Runtime(torch.device("cpu"))
        options = PassOptions((64, 128), 1, 0, runtime, tmp_path / folder, save_period)
        table = measure("round00_target", domain, *networks, options)
        return {name: np.array(getattr(table, name)) for name in COLUMNS}

    run.networks = networks
    run.domain = domain
    return run


@pytest.fixture()
def measured(monkeypatch):
    """Images that were measured, each as its first row; a hook may be put into ``then``."""
    real, rows = table_pass.measure_image, []

    def measure_image(table, image_rows, *rest):
        rows.append(image_rows.start)
        measure_image.then(len(rows))
        return real(table, image_rows, *rest)

    measure_image.then = lambda count: None
    measure_image.rows = rows
    monkeypatch.setattr(table_pass, "measure_image", measure_image)
    return measure_image


def assert_same(table: dict, other: dict) -> None:
    for name in COLUMNS:
        assert np.array_equal(table[name], other[name]), name


def test_a_pass_that_is_stopped_goes_on_to_the_same_table(run, measured, monkeypatch):
    whole = run("unbroken")
    measured.then = lambda count: setattr(STOP, "signum", 15 if count in (2, 3) else None)
    measured.rows.clear()
    for done in (2, 3):
        monkeypatch.setattr(STOP, "signum", None)
        with pytest.raises(Stopped):
            run("stopped")
        assert len(measured.rows) == done
    monkeypatch.setattr(STOP, "signum", None)
    assert_same(run("stopped"), whole)
    assert len(set(measured.rows)) == len(measured.rows) == 6  # none was measured twice
    assert_same(run("stopped"), whole)
    assert len(measured.rows) == 6  # nothing was left to do


def test_a_killed_pass_goes_on_from_what_it_saved(run, measured):
    class Killed(BaseException):
        pass

    def kill(count):
        if count == 4:
            raise Killed

    whole = run("unbroken")
    measured.rows.clear()
    measured.then = kill
    with pytest.raises(Killed):
        run("killed", save_period=2)
    assert_same(run("killed"), whole)
    assert len(measured.rows) == 4 + 4  # after two saved images


def test_another_network_measures_anew(run, measured):
    first = run("a")
    with torch.no_grad():
        run.networks[0].features.bias += 1
    second = run("a")
    assert len(measured.rows) == 12
    assert not np.allclose(first["feature"], second["feature"])


def test_features_that_are_no_numbers_name_their_image(run):
    with torch.no_grad():
        run.networks[0].features.bias[7] = float("nan")
    with pytest.raises(
        UserError, match=r"_leftImg8bit\.png: the network's features of this image are NaN"
    ):
        run("a")


def test_a_rank_with_other_regions_is_named(run):
    check_same_regions("round00_target", run.domain, BesideMadeUpRank(lambda ours: ours))
    world = BesideMadeUpRank(lambda _: "another digest")
    with pytest.raises(UserError, match="round00_target: rank 1 has other regions than rank 0"):
        check_same_regions("round00_target", run.domain, world)

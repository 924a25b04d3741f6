"""A map whose image was replaced is refused wherever the two are used together."""

import numpy as np
import pytest

from data_preprocessing import edge_detection, superpixel_gen
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.datasets import EvaluationSet, Sample, SeededIndex, TrainingSet
from dataloader.edges import check_edges, edge_path
from dataloader.images import read_superpixels
from dataloader.loaders import evaluation_loader
from dataloader.regions import check_maps, load_regions
from utils.errors import UserError
from utils.files import write_png

SIZE = (32, 64)


@pytest.fixture()
def root(tmp_path):
    """Two GTA5 images with labels, superpixels and edge maps."""
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 256, (40, 80, 3), np.uint8)
        write_png(tmp_path / "images" / f"{number:05d}.png", image)
        write_png(tmp_path / "labels" / f"{number:05d}.png", np.full((40, 80), 7, np.uint8))
    flags = ["--dataset", "GTA5", "--datadir", str(tmp_path), "--workers", "1"]
    superpixel_gen.main(flags)
    edge_detection.main(flags)
    return tmp_path


def select(items, root):
    """Read images and superpixel maps as a pass over a domain does."""
    data = EvaluationSet(items, load_dataset("GTA5"), SIZE, superpixels=True)
    list(evaluation_loader(data, 2, 0))


def train(items, root):
    """Read training images of which some regions are labelled."""
    data = TrainingSet([Sample(item, load_dataset("GTA5"), [0, 1]) for item in items], SIZE)
    for index in range(len(items)):
        data[SeededIndex(index, 0)]


def select_without_a_pass(items, root):
    check_maps(items, load_regions(items, root, "train"))


USES = [select, train, select_without_a_pass]


@pytest.mark.parametrize("use", USES)
def test_superpixels_of_a_replaced_image_are_refused(root, use, tally):
    items = read_datalist(root / "train.txt", root)
    use(items, root)
    write_png(items[1].image, np.full((40, 80, 3), 90, np.uint8))  # another one of the same size
    with pytest.raises(UserError) as error:
        use(items, root)
    line = error.value.line
    assert items[1].superpixel in line and items[1].image in line
    assert "run superpixel_gen.py again" in line
    tally["bad inputs refused"] += 1


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("note", [None, "SLIC num_segments=40 compactness=10"])
def test_maps_that_do_not_know_their_image_are_trusted(root, use, note):
    """Made elsewhere, or by an earlier version."""
    items = read_datalist(root / "train.txt", root)
    for item in items:
        write_png(item.superpixel, read_superpixels(item.superpixel), note=note)
        write_png(item.image, np.full((40, 80, 3), 90, np.uint8))
    use(items, root)


def test_edges_of_a_replaced_image_are_refused(root, tally):
    items = read_datalist(root / "train.txt", root)
    check_edges(items, root)
    write_png(items[1].image, np.full((40, 80, 3), 90, np.uint8))
    with pytest.raises(UserError) as error:
        check_edges(items, root)
    line = error.value.line
    assert str(edge_path(items[1], root)) in line and items[1].image in line
    assert "run edge_detection.py again" in line
    tally["bad inputs refused"] += 1

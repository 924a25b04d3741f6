"""What a GPU would be asked to do in a selection: operations, copies and memory, without one."""

import numpy as np
import pytest
import torch

from active_selection import table_pass
from active_selection.badge import rank_by_badge
from active_selection.coreset import rank_by_coreset
from active_selection.mixture import expectation_maximisation
from active_selection.pooling import pool_features, pool_predictions
from active_selection.region_table import column_types, make_table
from active_selection.table_pass import fill_table
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.item import Item
from models import get_model
from models.discriminator import Discriminator
from tests.fake_gpu import fake_gpu
from utils.runtime import Runtime

SIZE = (1024, 2048)
GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("cells", "regions", "dtype"),
    [
        ((64, 128), 40, torch.float32),
        ((256, 512), 256, torch.float32),
        ((256, 512), 40, torch.half),
    ],
)
def test_pooling_an_image_takes_few_operations_and_less_than_a_gigabyte(cells, regions, dtype):
    with fake_gpu() as gpu:
        features = torch.empty(256, *cells, device=GPU, dtype=dtype)
        logits = torch.empty(19, *cells, device=GPU, dtype=dtype)
        superpixels = torch.empty(SIZE, dtype=torch.int64, device=GPU)
        before = gpu.live
        pool_features(features, superpixels, regions)
        pool_predictions(logits, superpixels, regions)
    assert 0 < gpu.total <= 150, gpu.launches
    assert gpu.copies == 0
    assert gpu.peak - before < 1e9


def table_of(images):
    """A table of images with 40 upright stripes as regions, and their superpixel map."""
    ids = np.repeat(np.arange(2048, dtype=np.uint8)[None] // 52, 1024, 0)
    areas = dict(enumerate(np.bincount(ids.ravel()).tolist()))
    items = [Item(f"{n}.png", f"{n}_label.png", f"{n}_map.png") for n in range(images)]
    domain = Domain(load_dataset("cityscapes"), "/d", items, {i.superpixel: areas for i in items})
    types = column_types(num_classes=19, with_discriminator=True).items()
    rows = images * len(areas)
    columns = {name: np.full((rows, *shape), 9, dtype) for name, (dtype, shape) in types}
    return make_table(domain, columns), torch.from_numpy(ids)


def test_a_pass_copies_from_the_device_once_an_image(monkeypatch):
    images = 2
    table, superpixels = table_of(images)
    monkeypatch.setattr(table_pass, "resize_superpixels", lambda ids, *_: ids.numpy())
    with fake_gpu() as gpu, torch.device(GPU):
        model = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False).eval()
        discriminator = Discriminator(19)
        batch = torch.empty(images, 3, *SIZE, device="cpu")
        with torch.inference_mode():
            gpu.launches.clear()
            model.forward_features(batch.to(GPU))
            network = gpu.total
        gpu.launches.clear()
        loader = [(list(range(images)), batch, None, [superpixels] * images)]
        assert list(fill_table(table, model, loader, Runtime(GPU), discriminator)) == [images]
    assert gpu.copies == images
    discriminators = 12 + 45  # its layers, and another map to pool
    assert gpu.total - network <= images * (150 + discriminators)
    assert not table.target_prob.any()
    assert table.pixels.tolist() == table.area.tolist()


@pytest.mark.parametrize(("rows", "components"), [(20_000, 10), (141_000, 10), (100_000, 1)])
def test_an_iteration_of_a_mixture_takes_few_operations(rows, components):
    with fake_gpu(number=0) as gpu:  # the mean log density is 0 twice, which ends the fit
        features = torch.empty(rows, 256, device=GPU)
        labels = torch.empty(rows, dtype=torch.int64, device=GPU)
        before = gpu.live
        mixture = expectation_maximisation(features, labels, components, 1e-6)
        assert mixture.means.device.type == "cuda"
        iterations = 2
        assert gpu.total <= 300 * iterations, gpu.launches
        assert gpu.copies == 1 + 2 * iterations  # is it ill-conditioned, and how far it is
        rows_and_results = 3 * 8 * rows * components
        assert gpu.peak - before < 1e9 + rows_and_results
        gpu.launches.clear()
        assert mixture.log_density(np.zeros((rows, 256), np.float32)).shape == (rows,)
        assert gpu.total <= 200, gpu.launches


def test_badge_and_coreset_keep_to_the_device():
    rng = np.random.default_rng(0)
    feature, source = (rng.normal(size=(n, 256)).astype(np.float32) for n in (20_000, 10_000))
    prob = rng.random((20_000, 19), dtype=np.float32)
    area, pool = np.ones(20_000, np.int64), np.arange(20_000) % 10 > 0
    with fake_gpu() as gpu:
        rank_by_badge(feature, prob, area, pool, 3, device=GPU)
        assert gpu.total <= 3 * 30
    with fake_gpu() as gpu:
        rank_by_coreset(feature, source, area, pool, 3, device=GPU)
        blocks = 1 + 3  # of labelled target and of source regions, 4,096 rows each
        assert gpu.total <= blocks * 2 * 12 + 3 * 12

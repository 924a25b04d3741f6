"""Images and their maps stay aligned, whatever is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as F

from dataloader import transforms
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, SeededIndex, TrainingSet
from dataloader.item import Item
from dataloader.loaders import InfiniteSampler, training_loader
from dataloader.transforms import MEAN, STD, EvaluationTransform, TrainingTransform, resize


def blocks(height, width, cells=4):
    """Big blocks whose grey value tells their id: (3, H, W) image and (H, W) ids."""
    rows = np.arange(height) * cells // height
    columns = np.arange(width) * cells // width
    ids = (rows[:, None] * cells + columns).astype(np.uint8)
    image = np.repeat((ids * 15)[None], 3, 0)
    return torch.from_numpy(image), torch.from_numpy(ids)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**62), st.booleans(), st.sampled_from([(48, 96), (64, 128), (50, 70)]))
def test_image_label_and_superpixels_stay_aligned(seed, random_scale, size):
    image, ids = blocks(64, 128)
    small_label = ids[::2, ::2].clone()  # a label of another size, as in GTA5
    transform = TrainingTransform((48, 96), random_scale, jitter=0.0)
    rng = torch.Generator().manual_seed(seed)
    out, (label, superpixels) = transform(image, [small_label, ids], rng)
    assert out.shape == (3, 48, 96)
    assert label.shape == superpixels.shape == (48, 96)
    grey = (out * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None])[0] * 255
    seen = (grey / 15).round()
    assert (seen == superpixels).float().mean() > 0.85  # all but blurred borders
    assert (label == superpixels).float().mean() > 0.9
    assert set(superpixels.unique().tolist()) == set(range(16))


def test_flip_happens_half_of_the_time_and_to_all_alike():
    image, ids = blocks(8, 8, 2)
    transform = TrainingTransform((8, 8), random_scale=False, jitter=0.0)
    flips = 0
    for seed in range(200):
        _, (label,) = transform(image, [ids], torch.Generator().manual_seed(seed))
        flips += bool(label[0, 0] == ids[0, -1])
    assert 75 <= flips <= 125


@pytest.mark.parametrize("size", [(24, 40), (90, 130)])
def test_resizing_equals_pillow(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (49, 65, 3), np.uint8)  # odd: no ties between neighbours
    ids = rng.integers(0, 40, (49, 65), np.uint8)
    out, (label,) = resize(torch.from_numpy(image).permute(2, 0, 1), [torch.from_numpy(ids)], size)
    wide = size[::-1]
    expected = np.asarray(Image.fromarray(image).resize(wide, Image.Resampling.BILINEAR))
    assert np.abs(out.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    nearest = np.asarray(Image.fromarray(ids).resize(wide, Image.Resampling.NEAREST))
    assert np.array_equal(label.numpy(), nearest)


def test_evaluation_only_resizes_and_normalises():
    image = torch.full((3, 10, 20), 255, dtype=torch.uint8)
    out, _ = EvaluationTransform((5, 10))(image, [])
    expected = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(out, expected[:, None, None].expand(3, 5, 10))


@pytest.fixture()
def camvid(tmp_path):
    items = []
    for number in range(5):
        rng = np.random.default_rng(number)
        paths = [tmp_path / f"{kind}{number}.png" for kind in ("image", "label", "superpixel")]
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(paths[0])
        Image.fromarray(np.full((20, 30), 3, np.uint8)).save(paths[1])
        Image.fromarray(np.repeat(np.arange(3, dtype=np.uint8), 10)[None].repeat(20, 0)).save(
            paths[2]
        )
        items.append(Item(*map(str, paths)))
    return items


def test_only_labelled_regions_keep_their_label(camvid):
    info = load_dataset("camvid")
    labelled = {camvid[0].superpixel: [0]}
    data = TrainingSet(
        [Sample(item, info, labelled.get(item.superpixel, [])) for item in camvid], (20, 30)
    )
    image, label = data[SeededIndex(0, seed=1)]
    assert image.shape == (3, 20, 30)
    assert image.dtype == torch.float32
    assert label.dtype == torch.uint8
    assert (label == 0).sum() == 200  # one region of three
    assert (label == 255).sum() == 400
    assert (data[SeededIndex(1, seed=1)][1] == 255).all()
    everything = TrainingSet([Sample(item, info) for item in camvid], (20, 30))
    assert (everything[SeededIndex(0, seed=1)][1] == 0).all()


def test_target_without_labels_needs_no_label_file(camvid):
    item = camvid[0]._replace(label="nowhere.png")
    data = TrainingSet([Sample(item, load_dataset("camvid"), labelled=False)], (20, 30))
    assert (data[SeededIndex(0, seed=0)][1] == 255).all()


def test_every_epoch_sees_every_image_once_and_resumes_anywhere():
    sampler = InfiniteSampler(10, batch_size=4, seed=3)
    stream = iter(sampler)
    batches = [next(stream) for _ in range(15)]
    indices = [draw.index for batch in batches for draw in batch]
    for epoch in range(6):
        assert sorted(indices[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert indices[:10] != indices[10:20]
    late = iter(InfiniteSampler(10, batch_size=4, seed=3, start=7))
    assert [next(late) for _ in range(8)] == batches[7:]
    assert next(iter(InfiniteSampler(10, 4, seed=4))) != batches[0]


def test_number_of_workers_changes_nothing(camvid):
    info = load_dataset("camvid")
    source = [Sample(item, info) for item in camvid[:2]]
    target = [
        Sample(item, info, regions) for item, regions in zip(camvid[2:], ([1], [], []), strict=True)
    ]
    joined = TrainingSet(source + target, (20, 30))
    runs = []
    for workers in (0, 2):
        stream = iter(training_loader(joined, 3, seed=0, num_workers=workers))
        runs.append([next(stream) for _ in range(4)])
    for (images, labels), (images2, labels2) in zip(*runs, strict=True):
        assert torch.equal(images, images2)
        assert torch.equal(labels, labels2)


def test_draws_fill_their_published_ranges(monkeypatch):
    """Scale 0.5 to 1.5 (not for SYNTHIA); brightness, contrast and saturation 0.5 to 1.5."""
    scales, factors = [], {}
    real_resize = transforms.resize

    def record_scale(image, maps, size):
        scales.append(size[0] / image.shape[-2])
        return real_resize(image, maps, size)

    def record(name):
        def adjust(image, factor):
            factors.setdefault(name, []).append(factor)
            return image

        return adjust

    monkeypatch.setattr(transforms, "resize", record_scale)
    names = ("brightness", "contrast", "saturation")
    monkeypatch.setattr(transforms, "ADJUST", tuple(map(record, names)))
    image, ids = blocks(100, 100)
    for seed in range(300):
        TrainingTransform((100, 100))(image, [ids], torch.Generator().manual_seed(seed))
    for drawn in (scales[::2], *(factors[name] for name in names)):
        assert len(drawn) == 300
        assert 0.5 <= min(drawn) < 0.52
        assert 1.48 < max(drawn) <= 1.5
        assert np.mean(drawn) == pytest.approx(1, abs=0.05)
    scales.clear()
    TrainingTransform((50, 50), random_scale=False)(image, [ids], torch.Generator())
    assert scales == [0.5]
    assert [load_dataset(n).random_scale for n in ("GTA5", "SYNTHIA", "cityscapes")] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("draw, sides", [(0.4999, [1, 2]), (0.0, [1, 1]), (0.999, [1, 4])])
def test_scaled_sides_are_cut_to_whole_pixels(monkeypatch, draw, sides):
    """int(), not rounded, and never to nothing: 1 x 3 pixels times 0.9999, 0.5, 1.499."""
    scaled = []
    real_resize = transforms.resize
    monkeypatch.setattr(transforms, "_uniform", lambda low, high, rng: low + (high - low) * draw)
    monkeypatch.setattr(
        transforms,
        "resize",
        lambda image, maps, size: scaled.append(list(size)) or real_resize(image, maps, size),
    )
    image, ids = blocks(1, 3, 1)
    TrainingTransform((8, 8))(image, [ids], torch.Generator())
    assert scaled == [sides, [8, 8]]


@pytest.mark.parametrize("factor", [0.5, 0.83, 1.0, 1.27, 1.5])
@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation"])
def test_colours_are_adjusted_as_by_torchvision(name, factor):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    ours = getattr(transforms, name)(image, factor)
    expected = getattr(F, name)(torch.from_numpy(image).permute(2, 0, 1), factor)
    assert ours.dtype == np.uint8
    difference = ours.astype(int) - expected.permute(1, 2, 0).numpy()
    assert np.abs(difference).max() <= 1


def test_normalising_equals_torchvision():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    expected = F.normalize(image.float() / 255, list(MEAN), list(STD))
    torch.testing.assert_close(transforms.normalise(image), expected, rtol=0, atol=1e-6)

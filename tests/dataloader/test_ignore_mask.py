"""Masked pixels of target images: in no region, no budget, no label, no feature and no package."""

import json
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from active_selection.region_table import areas_only
from active_selection.strategies import Candidates
from active_selection.table_pass import PassOptions, measure
from annotation.write import write_package
from data_preprocessing import superpixel_gen
from dataloader.active_set import ActiveSet
from dataloader.data_record import check_data, describe_data
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.datasets import SeededIndex, TrainingSet
from dataloader.domain import Domain, load_domain
from dataloader.edges import edge_path, region_edges
from dataloader.ignore_mask import find_masks, read_regions
from dataloader.images import read_mask
from dataloader.item import Item
from dataloader.oracle import GroundTruth
from dataloader.regions import check_maps
from dataloader.scan import scan
from experiments.reporting.chosen import chosen_regions
from experiments.reporting.target import Target
from models.deeplab import FEATURES
from models.discriminator import Discriminator
from utils.errors import UserError
from utils.runtime import Runtime

SIZE = (16, 32)
CAMERA = {
    "image": "img/{stem}.png",
    "label": "lab/{stem}.png",
    "superpixel": "superpixel/{stem}.png",
    "splits": {"train": ""},
    "label_to_train": {"0": 0, "1": 1, "2": 2, "9": 255},
    "label_reader": "index",
    "class_names": ["soil", "plant", "weed"],
    "palette": [[9, 8, 7], [0, 255, 0], [255, 0, 0]],
    "ignore_mask": "masks/{stem}.png",
    "random_scale": False,
}


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def described(root: Path, **changes) -> DatasetInfo:
    (root / "info.json").write_text(json.dumps(CAMERA | changes))
    return load_dataset(str(root / "info.json"))


@pytest.fixture
def camera(tmp_path) -> Domain:
    """Four images with random regions and labels: masks of some pixels, none, all, and most."""
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) < 0.3, np.zeros(SIZE, bool), np.ones(SIZE, bool), rng.random(SIZE)]
    masks[0][:9] = True  # most pixels of its upper regions
    masks[3] = masks[3] < 0.49
    for n, mask in enumerate(masks):
        blocks = rng.permutation(8).astype(np.uint8).reshape(2, 4) + 200
        save(tmp_path / f"img/{n}.png", rng.integers(0, 255, (*SIZE, 3), np.uint8))
        save(tmp_path / f"lab/{n}.png", rng.integers(0, 3, SIZE, np.uint8))
        save(tmp_path / f"superpixel/{n}.png", blocks.repeat(8, 0).repeat(8, 1))
        save(tmp_path / f"masks/{n}.png", mask.astype(np.uint8) * (n + 1))
    info = described(tmp_path)
    args = Namespace(trg_dataset=str(info.path), trg_data_dir=str(tmp_path), trg_datalist=None)
    args.relocate = ()
    return load_domain(args, "trg", "train", "image", "label", "superpixel").with_regions("train")


def pixels_of(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def counted(item: Item, root: str) -> dict[int, set[tuple[int, int]]]:
    """Region id -> its pixels that may be asked for, counted one by one."""
    mask = pixels_of(f"{root}/masks/{Path(item.image).name}")
    superpixels, area, left = pixels_of(item.superpixel), Counter(), {}
    for place in np.ndindex(*superpixels.shape):
        region = int(superpixels[place])
        area[region] += 1
        if mask[place] == 0:
            left.setdefault(region, set()).add(place)
    return {r: left[r] for r in sorted(left) if 2 * (area[r] - len(left[r])) <= area[r]}


def test_regions_and_budgets_are_those_of_a_count_by_hand(camera):
    expected = {
        item.superpixel: {
            region: len(places) for region, places in counted(item, camera.root).items()
        }
        for item in camera.items
    }
    assert camera.regions == expected
    first, second, third, fourth = map(len, expected.values())
    assert (second, third) == (8, 0) and 0 < first < 8 and 0 < fourth < 8
    assert camera.pixels == sum(sum(areas.values()) for areas in expected.values())
    check_maps(camera.items, camera.regions, camera.masks)
    with pytest.raises(UserError, match="regions are not those"):
        check_maps(camera.items, camera.regions)
    for item in camera.items:
        regions = read_regions(item.superpixel, camera.mask(item))
        for region, places in counted(item, camera.root).items():
            assert {tuple(place) for place in np.argwhere(regions == region).tolist()} == places


def test_no_masked_pixel_is_labelled_in_any_way(camera):
    oracle = GroundTruth(camera)
    for item in camera.items:
        places, label = counted(item, camera.root), pixels_of(item.label)
        expected = np.full(SIZE, 255)
        for place in (place for region in places.values() for place in region):
            expected[place] = label[place]
        assert oracle.labels(item, list(places)).tolist() == expected.tolist()
        data = TrainingSet([oracle.sample(item, list(places))], SIZE)
        for seed in range(3):  # turned over or not
            drawn = data[SeededIndex(0, seed)][1].numpy()
            assert drawn.tolist() in (expected.tolist(), expected[:, ::-1].tolist())


def test_regions_without_a_class_outside_of_their_mask_are_void(camera):
    item = camera.items[3]
    places = counted(item, camera.root)
    region, label = min(places), pixels_of(item.label).copy()
    for place in places[region]:
        label[place] = 9
    save(Path(item.label), label)
    counts = GroundTruth(camera).pixels_by_class((item.superpixel, r) for r in places)
    assert [key for key, n in counts.items() if not n[:-1].any()] == [(item.superpixel, region)]
    assert [int(n.sum()) for n in counts.values()] == [len(inside) for inside in places.values()]


@pytest.mark.parametrize("state", ["label", "ask"])
def test_reports_and_tables_of_regions_count_no_masked_pixel(camera, tmp_path, state):
    active = ActiveSet(camera.items, camera.items, camera.regions)
    everything = [(path, region) for path, areas in camera.regions.items() for region in areas]
    getattr(active, state)(everything)
    active.save(tmp_path / "datalist_00.pkl")
    target = Target(camera.info, camera.root)
    found, items = chosen_regions(tmp_path / "datalist_00.pkl", target)
    assert {(one.item.superpixel, one.region): one.pixels for one in found} == {
        (path, region): camera.regions[path][region] for path, region in everything
    }
    totals = np.zeros(4, int)
    for item in camera.items:
        places, label = counted(item, camera.root), pixels_of(item.label)
        for place in set().union(*places.values()):
            totals[label[place]] += 1
    assert target.class_totals(items).tolist() == totals.tolist()
    if state == "label":
        assert sum(one.by_class for one in found).tolist() == totals.tolist()


class Net(torch.nn.Module):
    """Features and logits of single pixels, at half of the size."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(3, FEATURES, 1)
        self.classifier = torch.nn.Module()
        self.classifier.final = torch.nn.Conv2d(FEATURES, 3, 1)

    def forward_features(self, images):
        features = self.features(images[..., ::2, ::2])
        return features, self.classifier.final(features)


@pytest.fixture
def table(camera, tmp_path):
    torch.manual_seed(0)
    options = PassOptions(SIZE, 3, 0, Runtime(torch.device("cpu")), tmp_path / "features")
    return measure("t", camera, Net(), Discriminator(3).eval(), options)


def test_masked_pixels_enter_no_feature(camera, table):
    torch.manual_seed(0)
    net, row = Net(), 0
    for number, item in enumerate(camera.items):
        mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        image = torch.from_numpy((pixels_of(item.image) / 255 - mean) / std).permute(2, 0, 1)
        with torch.no_grad():
            features, logits = net.forward_features(image.float()[None])
            features, prob = (
                F.interpolate(m, SIZE, mode="bilinear", align_corners=False)[0]
                for m in (features, logits)
            )
        for region, places in counted(item, camera.root).items():
            y, x = np.array(sorted(places)).T
            assert (table.image[row], table.region[row]) == (number, region)
            assert table.area[row] == table.pixels[row] == len(places)
            expected = (features[:, y, x].mean(1), prob.softmax(0)[:, y, x].mean(1))
            for ours, theirs in zip((table.feature[row], table.prob[row]), expected, strict=True):
                assert np.allclose(ours, theirs.numpy(), atol=1e-5)
            row += 1
    assert row == len(table)
    assert np.isfinite(table.target_prob).all()


def test_whole_images_that_are_masked_are_no_candidates(camera, table):
    scan = Candidates(table).per_image(np.ones(len(table), bool)).target
    assert scan.image.tolist() == [0, 1, 3]
    areas = [sum(camera.regions[item.superpixel].values()) for item in camera.items]
    assert scan.area.tolist() == [areas[i] for i in scan.image]
    for row, image in enumerate(scan.image):
        rows = table.image == image
        expected = np.average(table.feature[rows], axis=0, weights=table.pixels[rows])
        assert np.allclose(scan.feature[row], expected, atol=1e-5)
    assert areas_only(camera).area.sum() == camera.pixels


def test_shares_of_edges_are_those_of_pixels_without_a_mask(camera):
    rng, expected = np.random.default_rng(1), []
    for item in camera.items:
        edges = (rng.random(SIZE) < 0.4).astype(np.uint8) * 255
        save(edge_path(item, camera.root), edges)
        for places in counted(item, camera.root).values():
            expected.append(np.mean([edges[place] > 0 for place in places]))
    shares = region_edges(camera.items, camera.root, camera.regions, camera.masks)
    assert np.allclose(shares, expected)


def test_packages_ask_for_no_masked_pixel(camera, tmp_path):
    asked = {path: list(areas) for path, areas in camera.regions.items()}
    package = write_package(
        *(tmp_path / "out", camera.items, asked, camera.info, None),
        root=camera.root,
        masks=camera.masks,
    )
    assert package.pixels == camera.pixels
    assert [entry.key for entry in package.images] == ["img/0.png", "img/1.png", "img/3.png"]
    for entry in package.images:
        item = next(item for item in camera.items if item.image.endswith(entry.key))
        numbers = package.read_numbers(entry)
        for region, places in zip(entry.regions, counted(item, camera.root).values(), strict=True):
            assert set(map(tuple, np.argwhere(numbers == region.number).tolist())) == places
    asked[camera.items[2].superpixel] = [200]
    with pytest.raises(UserError, match="has no region 200, which was selected, or it is masked"):
        write_package(
            *(tmp_path / "more", camera.items, asked, camera.info, None),
            root=camera.root,
            masks=camera.masks,
        )


def test_reports_count_no_masked_pixel(camera):
    target = Target(camera.info, camera.root)
    domain = target.domain(camera.items)
    oracle = target.oracle(domain)
    for item in camera.items:
        places, label = counted(item, camera.root), pixels_of(item.label)
        found = target.measure(item, domain.mask(item), oracle, list(places))
        for region, (area, by_class) in found.items():
            values = Counter(int(label[place]) for place in places[region])
            assert area == sum(values.values()) == camera.regions[item.superpixel][region]
            assert by_class.tolist() == [values[0], values[1], values[2], 0]
    Path(camera.masks[camera.items[0].image]).unlink()
    domain = target.domain(camera.items)
    area, _ = target.measure(item, domain.mask(item), target.oracle(domain), list(places))[region]
    assert area == 64
    assert any("ignore masks cannot be read" in problem for problem in target.problems)


def test_a_masked_image_stays_in_the_lists(camera, tmp_path):
    active = ActiveSet(camera.items, camera.items, camera.regions)
    active.save(tmp_path / "datalist_00.pkl")
    again = ActiveSet.load(tmp_path / "datalist_00.pkl", camera.root, camera.root)
    assert again.target == camera.items
    assert again.pool == active.pool
    unmasked = replace(camera, masks={}).with_regions("train").regions
    published = ActiveSet(camera.items, camera.items, unmasked)
    masked = sum(map(len, unmasked.values())) - sum(map(len, camera.regions.values()))
    assert published.drop_unknown(camera.regions) == masked
    assert published.pool == active.pool


def test_without_a_mask_nothing_changes_and_only_the_target_has_one(camera, tmp_path):
    info = replace(camera.info, ignore_mask=None)
    assert find_masks(camera.items, camera.root, info) == {}
    path = camera.items[0].superpixel
    assert read_regions(path).dtype == np.uint8
    assert (read_regions(path) == pixels_of(path)).all()
    flags = {"dataset": str(camera.info.path), "data_dir": camera.root, "datalist": None}
    for prefix, columns, masked in (
        ("src", ("image", "label", "superpixel"), False),
        ("val", ("image", "label"), False),
        ("trg", ("image",), False),  # adaptation asks for nothing
        ("trg", ("image", "label"), True),
        ("trg", ("image", "superpixel"), True),
    ):
        args = Namespace(**{f"{prefix}_{k}": v for k, v in flags.items()}, relocate=())
        assert bool(load_domain(args, prefix, "train", *columns).masks) == masked


def test_a_continuation_notices_another_mask(camera):
    def record(masks) -> dict:
        columns = ("image", "label", "superpixel")
        return describe_data(camera.items, camera.root, camera.info, *columns, masks=masks)

    before, without = record(camera.masks), record({})
    check_data("trg", camera.items, record(camera.masks), before)
    mask = pixels_of(camera.masks[camera.items[1].image]).copy()
    mask[3, 3] = 255
    save(Path(camera.masks[camera.items[1].image]), mask)
    for now, then in (
        (record(camera.masks), before),
        (without, before),
        (record(camera.masks), without),
    ):
        with pytest.raises(UserError, match=r"superpixel map or ignore mask, is .*\.png"):
            check_data("trg", camera.items, now, then)


def test_masks_among_the_images_are_no_images(tmp_path):
    for name in ("a.png", "a_mask.png", "deep/b.png", "deep/b_mask.png", "hood.png"):
        save(tmp_path / name, np.zeros(SIZE, np.uint8))
    for template, expected in (
        ("{stem}_mask.png", ["a.png", "deep/b.png", "hood.png"]),
        ("hood.png", ["a.png", "a_mask.png", "deep/b.png", "deep/b_mask.png"]),
        ("deep/{stem}.png", ["a.png", "a_mask.png", "hood.png"]),
        ("deep/b.png", ["a.png", "a_mask.png", "deep/b_mask.png", "hood.png"]),
    ):
        info = described(tmp_path, image="{stem}.png", ignore_mask=template)
        found = scan(info, tmp_path, "train")
        assert sorted(item.image for item in found.items) == sorted(expected)


BLACK, WHITE = np.zeros(SIZE, np.uint8), np.full(SIZE, 255, np.uint8)
HALF = BLACK.copy()
HALF[:, :16] = 255


def mask_image(kind: str) -> Image.Image:
    """The left half masked, as drawing programs save it."""
    if kind in ("L", "1", "RGB", "RGBA", "LA"):
        return Image.fromarray(HALF).convert(kind)
    if kind == "turned":
        return Image.fromarray(np.rot90(HALF, 1).copy())
    if kind == "16 bits":
        return Image.fromarray(HALF.astype(np.uint16))
    image = Image.fromarray(HALF)
    if kind == "transparent":
        image = Image.merge("LA", (image, image))
    if kind in ("palette", "reversed palette"):
        image = Image.fromarray(HALF // 255, "P")
        image.putpalette([0, 0, 0, 200, 0, 0] if kind == "palette" else [255, 255, 255, 0, 0, 0])
    return image


@pytest.mark.parametrize("kind", ["L", "1", "RGB", "RGBA", "LA", "palette", "turned"])
def test_a_mask_is_what_is_not_black(kind, tmp_path):
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6  # to be turned clockwise
    mask_image(kind).save(tmp_path / "m.png", exif=exif)
    assert (read_mask(tmp_path / "m.png") == (HALF > 0)).all()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("transparent", "transparent pixels in a mask"),
        ("reversed palette", "another black than 0"),
        ("16 bits", "8-bit black-and-white PNG"),
        ("JPEG", "JPEG compression changes"),
        ("cut", "truncated|cut off|broken|Truncated"),
        ("text", "not a PNG"),
        ("none", "no such file"),
    ],
)
def test_bad_masks_are_one_line(kind, words, camera):
    path = Path(camera.masks[camera.items[3].image])
    if kind == "none":
        path.unlink()
    elif kind == "text":
        path.write_text("mask")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        mask_image(kind).save(path, "JPEG" if kind == "JPEG" else "PNG")
    with pytest.raises(UserError, match=words) as found:
        find_masks(camera.items, camera.root, camera.info)
    assert str(path) in str(found.value)


def test_masks_of_other_sizes_are_refused(camera, tmp_path):
    info = described(tmp_path, ignore_mask="hood.png")
    save(tmp_path / "hood.png", HALF)
    find_masks(camera.items, camera.root, info)
    save(Path(camera.items[2].image), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"hood\.png: ignore mask of 32 x 16 pixels, but .*2\.png has 8 x 8"
    ):
        find_masks(camera.items, camera.root, info)
    save(tmp_path / "hood.png", HALF[:, :20])
    with pytest.raises(UserError, match=r"20 x 16 pixels, but .* and 3 more; each image needs"):
        find_masks(camera.items, camera.root, info)


def test_inverted_and_empty_masks_are_told(camera, tmp_path, caplog):
    info = described(tmp_path, ignore_mask="hood.png")
    inverted = WHITE.copy()
    inverted[:1] = 0  # 94 %
    save(tmp_path / "hood.png", inverted)
    with pytest.raises(UserError, match=r"ignore_mask leaves out 93\.8 % .*inverted\?"):
        find_masks(camera.items, camera.root, info)
    inverted[:6] = 0
    save(tmp_path / "hood.png", inverted)
    find_masks(camera.items, camera.root, info)
    assert "leaves out 62.5 % of the pixels" in caplog.text and "inverted?" in caplog.text
    save(tmp_path / "hood.png", BLACK)
    find_masks(camera.items, camera.root, info)
    assert "leaves out 0.0 %" in caplog.text
    scattered = np.indices(SIZE).sum(0) % 5 > 1  # 60 % of every region
    save(tmp_path / "hood.png", scattered.astype(np.uint8))
    masked = replace(camera, info=info, masks=find_masks(camera.items, camera.root, info))
    with pytest.raises(UserError, match="ignore_mask leaves no region"):
        masked.with_regions("train")


def test_images_elsewhere_have_no_mask_of_a_template(camera, tmp_path):
    item = camera.items[0]._replace(image=str(tmp_path / "elsewhere.png"))
    with pytest.raises(UserError, match=r"elsewhere\.png: its ignore mask is not known"):
        find_masks([item], camera.root, camera.info)


def test_superpixel_gen_tells_what_masks_leave(camera, capsys):
    flags = ["--dataset", str(camera.info.path), "--datadir", camera.root, "--workers", "1"]
    superpixel_gen.main([*flags, "--preview", "4"])
    hatched = 0
    for path in Path(camera.root, "superpixel", "preview").rglob("*.png"):
        stripes = (np.asarray(Image.open(path)) == superpixel_gen.MASKED).all(2)
        (item,) = [i for i in camera.items if Path(i.superpixel).name == path.name]
        assert not stripes[read_regions(item.superpixel, camera.mask(item)) >= 0].any()
        hatched += stripes.sum()
    assert 0 < hatched < 4 * SIZE[0] * SIZE[1] - camera.pixels
    share = 100 - 100 * camera.pixels / (4 * SIZE[0] * SIZE[1])
    assert (
        f"ignore_mask: {share:.1f} % of the pixels are never asked for" in capsys.readouterr().out
    )
    Path(camera.masks[camera.items[0].image]).unlink()
    superpixel_gen.main(flags)  # images of a source need no mask
    out, err = capsys.readouterr()
    assert "no such file" in err and "as a target, train_ADA.py refuses it" in err
    assert "never asked" not in out

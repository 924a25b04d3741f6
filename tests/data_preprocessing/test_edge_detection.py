"""edge_detection.py, and what ReDAL reads of its maps."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_preprocessing import edge_detection
from dataloader.datalist import read_datalist
from dataloader.edges import edge_path, region_edges
from dataloader.images import read_superpixels
from dataloader.item import Item
from dataloader.regions import load_regions
from utils.errors import UserError
from utils.files import write_png


def detect(dataset, root):
    edge_detection.main(["--workers", "1", "--dataset", dataset, "--datadir", str(root)])


def test_edges_of_every_dataset(toy_city, tmp_path, capsys):
    """Blur and Canny as the paper's; kept when they are there; each region has its share."""
    toy_city = shutil.copytree(toy_city, tmp_path / "city")  # others have no edges
    for dataset, folder in (("cityscapes", "Cityscapes"), ("SYNTHIA", "SYNTHIA"), ("GTA5", "GTA5")):
        root = toy_city / folder
        detect(dataset, root)
        assert "6 edge maps" in capsys.readouterr().out
        items = read_datalist(root / "train.txt", root)
        maps = [np.asarray(Image.open(edge_path(item, root))) for item in items]
        for item, edges in zip(items, maps, strict=True):
            grey = cv2.cvtColor(cv2.imread(item.image), cv2.COLOR_BGR2GRAY)
            assert np.array_equal(edges, cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 50, 150))
        shares = iter(region_edges(items, root, load_regions(items, root, "train")))
        for item, edges in zip(items, maps, strict=True):
            superpixels = read_superpixels(item.superpixel)
            for region in np.unique(superpixels):
                assert np.isclose(next(shares), (edges[superpixels == region] > 0).mean())
        assert next(shares, None) is None
    paths = [edge_path(item, root) for item in items]
    assert all(path.is_relative_to(root / "edge") for path in paths)
    before = [path.stat().st_mtime_ns for path in paths]
    paths[0].write_bytes(paths[0].read_bytes()[:50])  # cut off
    image = Path(items[1].image)
    image.write_bytes(Path(items[2].image).read_bytes())  # another one of the same size
    detect("GTA5", root)
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[0] > before[0] and after[1] > before[1] and after[2:] == before[2:]
    assert np.array_equal(np.asarray(Image.open(paths[0])), maps[0])
    assert np.array_equal(np.asarray(Image.open(paths[1])), maps[2])


def test_only_edge_maps_are_kept_and_nothing_else_is_overwritten(script, tmp_path, tally):
    for folder in ("images", "labels", "edge"):
        write_png(tmp_path / folder / "00000.png", np.full((40, 80), 7, np.uint8))
    edge = tmp_path / "edge" / "00000.png"
    detect("GTA5", tmp_path)
    assert np.asarray(Image.open(edge)).max() == 7  # a map made elsewhere, of the image's size
    contents = {"photo": ("RGB", (80, 40)), "map of another size": ("L", (8, 8)), "text": None}
    for content in contents.values():
        Image.new(*content).save(edge) if content else edge.write_text("mine")
        before = edge.read_bytes()
        with pytest.raises(UserError, match=r"edge/00000\.png: an edge map would overwrite this"):
            detect("GTA5", tmp_path)
        assert edge.read_bytes() == before
        tally["bad inputs refused"] += 1
    command = f"data_preprocessing/edge_detection.py --dataset GTA5 --datadir {tmp_path}"
    assert "would overwrite this" in script(command, fails=True)


def test_two_images_do_not_share_an_edge_map(tmp_path):
    lines = ""
    for name, superpixel in (("a", "superpixel/a.png"), ("b", "a.png")):
        write_png(tmp_path / f"{name}_image.png", np.zeros((40, 80, 3), np.uint8))
        lines += f"{name}_image.png {name}_image.png {superpixel}\n"
    (tmp_path / "train.txt").write_text(lines)
    with pytest.raises(UserError, match=r"edge/a\.png: an edge map of 2 images"):
        detect("GTA5", tmp_path)


def test_a_root_that_goes_up_and_down_is_the_same_root(tmp_path):
    for folder in ("images", "labels"):
        write_png(tmp_path / folder / "00000.png", np.zeros((40, 80), np.uint8))
    detect("GTA5", tmp_path / "images" / "..")
    assert (tmp_path / "edge" / "00000.png").is_file()


def test_maps_that_are_edges_for_the_most_part_are_told_of(tmp_path, caplog):
    item = Item("a.png", "", "superpixel/a.png").below(tmp_path)
    write_png(Path(item.superpixel), np.array([[0, 0, 0, 1]], np.uint8))
    for edges, warned in (([0, 9, 9, 9], True), ([9, 0, 0, 0], False)):
        caplog.clear()
        write_png(edge_path(item, tmp_path), np.array([edges], np.uint8))
        region_edges([item], tmp_path, {item.superpixel: {0: 3, 1: 1}})
        assert (f"{tmp_path}/edge: 75 % of the pixels are edges" in caplog.text) == warned

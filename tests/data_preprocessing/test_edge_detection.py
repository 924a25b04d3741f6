"""edge_detection.py, and what ReDAL reads of its maps."""

import shutil

import cv2
import numpy as np
from PIL import Image

from dataloader.datalist import read_datalist
from dataloader.edges import edge_path, region_edges
from dataloader.images import read_superpixels
from dataloader.regions import load_regions

COMMAND = "data_preprocessing/edge_detection.py --workers 1 --dataset"


def test_edges_of_every_dataset(script, toy_city, tmp_path):
    """Blur and Canny as the paper's; kept when they are there; each region has its share."""
    toy_city = shutil.copytree(toy_city, tmp_path / "city")  # others have no edges
    for dataset, folder in (("cityscapes", "Cityscapes"), ("SYNTHIA", "SYNTHIA"), ("GTA5", "GTA5")):
        root = toy_city / folder
        out = script(f"{COMMAND} {dataset} --datadir {root}")
        assert "6 edge maps" in out
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
    script(f"{COMMAND} GTA5 --datadir {root}")
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[0] > before[0] and after[1:] == before[1:]
    assert np.array_equal(np.asarray(Image.open(paths[0])), maps[0])


def test_only_edge_maps_are_kept_and_nothing_else_is_overwritten(script, tmp_path):
    for folder in ("images", "labels", "edge"):
        (tmp_path / folder).mkdir()
        Image.new("L", (80, 40), 7).save(tmp_path / folder / "00000.png")
    edge = tmp_path / "edge" / "00000.png"
    script(f"{COMMAND} GTA5 --datadir {tmp_path}")
    assert np.asarray(Image.open(edge)).max() == 7  # a map made elsewhere, of the image's size
    for content in ("photo", "text"):
        edge.write_text("mine") if content == "text" else Image.new("RGB", (80, 40)).save(edge)
        before = edge.read_bytes()
        line = script(f"{COMMAND} GTA5 --datadir {tmp_path}", fails=True)
        assert "edge/00000.png: an edge map would overwrite this" in line
        assert edge.read_bytes() == before

"""Where target labels come from: only asked regions are revealed, and void ones are counted."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from active_selection import people
from active_selection.people import copy_answers, read_copy, warn_of_skipped
from dataloader.dataset_info import load_dataset
from dataloader.domain import Domain
from dataloader.images import digest
from dataloader.item import Item
from dataloader.oracle import Annotations, GroundTruth
from tests.ranks import BesideMadeUpRank
from utils.errors import UserError
from utils.files import locked_folder

SUPERPIXELS = np.repeat(np.arange(4, dtype=np.uint8), 5)[None].repeat(6, 0)  # 6 x 20, 4 regions
LABEL = np.full((6, 20), 7, np.uint8)  # road
LABEL[:, 5:10] = 0  # region 1 is void


@pytest.fixture
def domain(tmp_path) -> Domain:
    """One image with a label of twice its size."""
    item = Item(*(str(tmp_path / f"{name}.png") for name in ("image", "label", "map")))
    Image.fromarray(np.zeros((6, 20, 3), np.uint8)).save(item.image)
    Image.fromarray(LABEL.repeat(2, 0).repeat(2, 1)).save(item.label)
    Image.fromarray(SUPERPIXELS).save(item.superpixel)
    info = load_dataset("cityscapes")
    return Domain(info, str(tmp_path), [item], {item.superpixel: dict.fromkeys(range(4), 30)})


def test_only_asked_regions_are_revealed(domain):
    (item,) = domain.items
    labels = GroundTruth(domain).labels(item, [0, 1])
    expected = np.where((SUPERPIXELS == 0), 0, 255)
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected.tolist()


def test_pixels_of_regions_by_class(domain):
    (item,) = domain.items
    oracle = GroundTruth(domain)
    regions = [(item.superpixel, region) for region in (3, 1)]
    counts = oracle.pixels_by_class(regions)
    assert {region: np.flatnonzero(n).tolist() for region, n in counts.items()} == {
        regions[0]: [0],  # road
        regions[1]: [19],  # void
    }
    assert [n.sum() for n in counts.values()] == [30, 30]
    Path(item.label).unlink()
    assert oracle.pixels_by_class(regions).keys() == counts.keys()  # read once
    with pytest.raises(UserError, match="label"):
        oracle.pixels_by_class([(item.superpixel, 2)])
    assert oracle.labelled_pixels({item.superpixel: [0, 1]}) == 60


def test_answers_of_people_are_label_maps_and_a_status_a_region(domain, tmp_path, monkeypatch):
    (item,) = domain.items
    folder = tmp_path / "labels"
    folder.mkdir()
    Image.fromarray(LABEL).save(folder / "image.png")
    entry = {"status": "answered", "labelled": 21}
    content = {"images": {"image.png": {"label": "image.png", "regions": {"2": entry}}}}
    (folder / "answers.json").write_text(json.dumps(content))
    blind = Domain(domain.info, domain.root, [item._replace(label="")], domain.regions)
    oracle = Annotations(blind, folder)
    assert oracle.answers(item.superpixel) == {2: ("answered", 21)}
    assert oracle.labelled_pixels({item.superpixel: [2]}) == 21
    labels = oracle.labels(blind.items[0], [2])
    assert labels.tolist() == np.where(SUPERPIXELS == 2, 0, 255).tolist()
    run = SimpleNamespace(taken=folder, answers=tmp_path / "labels")
    none = SimpleNamespace(labelled_regions=set())
    same = read_copy(run, blind, none, BesideMadeUpRank(lambda ours: ours))
    assert same.state == oracle.state
    with pytest.raises(UserError, match="labels: rank 1 has other answers there than rank 0"):
        read_copy(run, blind, none, BesideMadeUpRank(lambda ours: ({}, ours[1])))
    none.labelled_regions.add((item.superpixel, 3))
    with pytest.raises(UserError, match="has no answers for 1 of 1 labelled regions"):
        read_copy(run, blind, none, BesideMadeUpRank(lambda ours: ours))
    run.annotation, run.taken = tmp_path, tmp_path / "taken"
    monkeypatch.setattr(people, "STORING_TAKES", 0)
    with (
        locked_folder(run.annotation, "-p"),
        pytest.raises(UserError, match="an import of answers is at work in it; wait"),
    ):
        copy_answers(run, blind)
    folder.rename(tmp_path / ".labels.old")  # an import was killed at its end
    copy_answers(run, blind)
    assert Annotations(blind, run.taken).answers(item.superpixel) == oracle.answers(item.superpixel)
    folder.mkdir(exist_ok=True)
    other_status = json.dumps(content).replace('"answered"', '"Answered"')  # edited by hand
    for damaged in ('{"images": 3}', '{"images": {"image.png": {}}}', "{", other_status):
        (folder / "answers.json").write_text(damaged)
        with pytest.raises(UserError, match=r"answers\.json: (is damaged|cannot be read)"):
            Annotations(blind, folder)


@pytest.fixture
def answered(domain, tmp_path):
    """A function that writes answers to region 2, with its status, and reads them."""
    folder = tmp_path / "labels"
    folder.mkdir()
    Image.fromarray(LABEL).save(folder / "image.png")

    def write(status: str, **more: str) -> Annotations:
        entry = {"status": status, "labelled": 30 * (status == "answered")}
        image = {"label": "image.png", "regions": {"2": entry}, **more}
        (folder / "answers.json").write_text(json.dumps({"images": {"image.png": image}}))
        return Annotations(domain, folder)

    return write


def test_answers_for_regions_of_another_superpixel_map_are_refused(domain, answered):
    (item,) = domain.items
    asked_by = digest(SUPERPIXELS)
    assert answered("answered", superpixel_sha256=asked_by).answers(item.superpixel)
    Image.fromarray(SUPERPIXELS[:, ::-1].copy()).save(item.superpixel)
    with pytest.raises(UserError, match=r"answers\.json: has answers for regions of another .*map"):
        answered("answered", superpixel_sha256=asked_by)


def test_labelled_regions_that_are_skipped_later_are_warned_of(domain, answered, caplog):
    (item,) = domain.items
    active_set = SimpleNamespace(labelled_regions={(item.superpixel, 2)})
    warn_of_skipped(active_set, answered("answered"))
    assert not caplog.text
    warn_of_skipped(active_set, answered("skipped"))
    assert "labels: 1 of 1 labelled regions were skipped since, the first in image" in caplog.text

"""The active set and its datalist file."""

import pickle

import numpy as np
import pytest

from dataloader.active_set import ActiveSet
from dataloader.item import Item
from utils.errors import UserError
from utils.safe_pickle import load_pickle

KEYS = {
    "src_label_im_idx",
    "trg_label_im_idx",
    "trg_pool_im_idx",
    "trg_label_suppix",
    "trg_pool_suppix",
}


def items(prefix, count):
    names = [[f"{prefix}/{kind}/{n}.png" for kind in ("i", "l", "s")] for n in range(count)]
    return [Item(*name).below("/data") for name in names]


@pytest.fixture()
def active_set():
    target = items("trg", 4)
    regions = {item.superpixel: [0, 1, 5] for item in target}
    active = ActiveSet(items("src", 2), target, regions)
    active.label([(target[2].superpixel, 5), (target[0].superpixel, 1)])
    active.label((target[2].superpixel, region) for region in (0, 1))
    return active


def assert_consistent(active, regions=(0, 1, 5)):
    for item in active.target:
        pool = active.pool[item.superpixel]
        labelled = active.labelled.get(item.superpixel, [])
        assert sorted(pool + labelled) == sorted(regions)


def test_labelling_moves_regions(active_set):
    target = active_set.target
    assert active_set.labelled == {target[2].superpixel: [5, 0, 1], target[0].superpixel: [1]}
    assert active_set.labelled_items == [target[0], target[2]]
    assert active_set.pool_items == [target[0], target[1], target[3]]
    assert_consistent(active_set)


def test_labelling_twice_is_an_error(active_set):
    with pytest.raises(ValueError):
        active_set.label([(active_set.target[0].superpixel, 1)])


def test_datalist_is_plain_pickle_with_the_published_keys(active_set, tmp_path):
    active_set.save(tmp_path / "datalist_00.pkl")
    data = pickle.loads((tmp_path / "datalist_00.pkl").read_bytes())
    assert set(data) == KEYS
    target = active_set.target
    assert data["src_label_im_idx"] == [list(item) for item in active_set.source]
    assert data["trg_label_im_idx"] == [list(target[0]), list(target[2])]
    assert data["trg_pool_im_idx"] == [list(target[i]) for i in (0, 1, 3)]
    assert data["trg_label_suppix"][target[0].superpixel] == [1]
    assert data["trg_pool_suppix"][target[0].superpixel] == [0, 5]
    assert type(data["trg_pool_suppix"][target[0].superpixel][0]) is int


def test_round_trip_keeps_order_and_state(active_set, tmp_path):
    active_set.save(tmp_path / "list.pkl")
    again = ActiveSet.load(tmp_path / "list.pkl", "/elsewhere", "/elsewhere")
    assert vars(again) == vars(active_set)
    assert list(again.labelled) == [i.superpixel for i in again.labelled_items]


def test_published_form_loads(tmp_path):
    """NumPy region ids, no key for a fully labelled image, absolute paths."""
    a, b = (["/d/a.png", "/d/la.png", "/d/sa.png"], ["/d/b.png", "/d/lb.png", "/d/sb.png"])
    data = {
        "src_label_im_idx": [["/s/i.png", "/s/l.png", "/s/s.png"]],
        "trg_label_im_idx": [b],
        "trg_pool_im_idx": [a],
        "trg_label_suppix": {"/d/sb.png": [np.int64(1), np.int64(0)]},
        "trg_pool_suppix": {"/d/sa.png": [0, 1]},
    }
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data, protocol=3))
    active = ActiveSet.load(tmp_path / "list.pkl", "/x", "/y")
    assert active.target == [Item(*a), Item(*b)]
    assert active.pool == {"/d/sa.png": [0, 1], "/d/sb.png": []}
    assert active.labelled == {"/d/sb.png": [1, 0]}
    assert type(active.labelled["/d/sb.png"][0]) is int


def test_relative_paths_lie_below_the_roots(tmp_path):
    entry = ["i.png", "l.png", "s.png"]
    data = {key: [] for key in KEYS} | {
        "src_label_im_idx": [entry],
        "trg_pool_im_idx": [entry],
        "trg_pool_suppix": {"s.png": [3]},
        "trg_label_suppix": {},
    }
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data))
    active = ActiveSet.load(tmp_path / "list.pkl", "/src", "/trg")
    assert active.source == [Item("/src/i.png", "/src/l.png", "/src/s.png")]
    assert active.pool == {"/trg/s.png": [3]}


def test_images_without_a_label_keep_none_and_odd_paths_are_refused(tmp_path):
    item = Item("/d/i.png", "", "/d/s.png")
    ActiveSet([item], [item], {"/d/s.png": [0]}).save(tmp_path / "list.pkl")
    data = pickle.loads((tmp_path / "list.pkl").read_bytes())
    assert data["trg_pool_im_idx"] == [["/d/i.png", "-", "/d/s.png"]]
    active = ActiveSet.load(tmp_path / "list.pkl", "/src", "/trg")
    assert active.source == active.target == [item]
    data["trg_pool_im_idx"] = [["/d/i.png", "/d/l.png", "-"]]
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data))
    with pytest.raises(UserError, match="no superpixel path"):
        ActiveSet.load(tmp_path / "list.pkl", "/src", "/trg")
    data["trg_pool_im_idx"] = [["/d/a\nb.png", "/d/l.png", "/d/s.png"]]
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(data))
    with pytest.raises(UserError, match=r"list\.pkl: /d/a\\nb\.png holds a control character"):
        ActiveSet.load(tmp_path / "list.pkl", "/src", "/trg")


def test_regions_that_the_maps_lack_are_dropped(active_set):
    regions = {path: {0: 9, 1: 9} for path in active_set.pool}  # no region 5
    assert active_set.drop_unknown(regions) == 4
    assert_consistent(active_set, (0, 1))
    assert active_set.drop_unknown(regions) == 0


def test_overlap_and_other_pickles_are_refused(active_set, tmp_path):
    path = tmp_path / "list.pkl"
    active_set.save(path)
    data = pickle.loads(path.read_bytes())
    data["trg_pool_suppix"][active_set.target[0].superpixel].append(1)
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(UserError, match=r"list\.pkl.*labelled and in the pool"):
        ActiveSet.load(path, "/", "/")
    regions = data["trg_pool_suppix"]
    for wrong in (
        *({**data, "trg_pool_suppix": {**regions, "s": [3, i]}} for i in ("5", 5.0, True, -1, 256)),
        *([1, 2], {"trg_pool_suppix": {}}, {**data, "trg_pool_im_idx": [["a", "b"]]}),
    ):
        path.write_bytes(pickle.dumps(wrong))
        with pytest.raises(UserError, match=r"list\.pkl"):
            ActiveSet.load(path, "/", "/")


@pytest.mark.parametrize("wrong", [4.0, "4", True, -1, 256, None])
def test_what_is_no_region_id_is_named(active_set, tmp_path, wrong):
    path = tmp_path / "list.pkl"
    active_set.save(path)
    data = pickle.loads(path.read_bytes())
    data["trg_label_suppix"] = {active_set.target[0].superpixel: [1, wrong]}
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(UserError, match=rf"trg_label_suppix: {wrong!r} of .*whole numbers \(int\)"):
        ActiveSet.load(path, "/", "/")


def test_labelled_regions_of_no_listed_image_are_warned_of(active_set, tmp_path, caplog):
    path = tmp_path / "list.pkl"
    active_set.save(path)
    data = pickle.loads(path.read_bytes())
    data["trg_pool_suppix"]["/d/other.png"] = [1]  # such as of images that were taken out
    data["trg_label_suppix"]["/d/other.png"] = []
    path.write_bytes(pickle.dumps(data))
    ActiveSet.load(path, "/", "/")
    assert not caplog.records
    image = active_set.target[0].image  # instead of its superpixel map
    data["trg_label_suppix"][image] = [5]
    path.write_bytes(pickle.dumps(data))
    ActiveSet.load(path, "/", "/")
    assert f"of no image in its lists, the first {image};" in caplog.text


class Hostile:
    def __reduce__(self):
        return print, ("this must not run",)


def test_nothing_in_a_pickle_runs(tmp_path, capsys):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps({"trg_pool_suppix": Hostile()}))
    with pytest.raises(UserError, match=r"names builtins\.print"):
        load_pickle(path)
    assert capsys.readouterr().out == ""


def test_regions_listed_twice_are_refused(active_set, tmp_path):
    path = tmp_path / "list.pkl"
    active_set.save(path)
    whole = pickle.loads(path.read_bytes())
    name = active_set.target[1].superpixel
    for key, regions in (
        ("trg_pool_suppix", {name: [3, 3]}),
        ("trg_label_suppix", {name: [5, 5]}),
        ("trg_pool_suppix", {name: [3], name.replace("/s/", "/./s/"): [4]}),
    ):
        path.write_bytes(pickle.dumps(whole | {"trg_pool_suppix": {}, key: regions}))
        with pytest.raises(UserError, match=r"list\.pkl: .*(twice|two ways)"):
            ActiveSet.load(path, "/", "/")

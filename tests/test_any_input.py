"""Whatever a list, datalist, flag or label holds: it is read right, or refused in one line."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import train_ADA
import warmup
from dataloader.active_set import LIST_KEYS, REGION_KEYS, ActiveSet
from dataloader.datalist import read_datalist, write_datalist
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from utils.errors import UserError
from utils.safe_pickle import load_pickle

inputs = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters="/"))
PATH = st.lists(NAME.filter(lambda n: n not in ("", ".", "..")), min_size=1, max_size=3).map(
    "/".join
)
IDS = st.lists(st.integers(0, 255), unique=True, max_size=6)


@pytest.fixture()
def check_line(tally):
    """An error's message is one line that names the file or flag."""

    def check(error: Exception, name: str) -> None:
        assert name in str(error)
        assert len(str(error).splitlines()) == 1
        tally["bad inputs refused"] += 1

    return check


ENTRY = st.tuples(PATH, PATH, PATH).filter(lambda entry: entry[2] not in entry[:2])


@inputs
@given(st.lists(ENTRY, min_size=1, unique_by=(lambda t: t[0], lambda t: t[2])))
@example([("0", "0", "\\")])  # with slashes for backslashes, a folder that exists
def test_lists_round_trip(tmp_path, monkeypatch, paths):
    (tmp_path / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "empty")  # a path that is in the working directory is found there
    items = [Item(*entry) for entry in paths]
    write_datalist(tmp_path / "list.txt", items)
    assert read_datalist(tmp_path / "list.txt", "/data") == [i.below("/data") for i in items]


@inputs
@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_as_a_list(tmp_path, check_line, content):
    (tmp_path / "list.txt").write_bytes(content)
    try:
        items = read_datalist(tmp_path / "list.txt", tmp_path)
    except UserError as error:
        check_line(error, "list.txt")
    else:
        assert items
        assert all(os.path.isabs(path) for item in items for path in item)  # noqa: PTH117


@inputs
@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=5))
def test_datalists_round_trip(tmp_path, regions):
    """Every pool and labelled set comes back, and plain pickle sees the same."""
    items = [Item(f"/d/i{n}", f"/d/l{n}", f"/d/s{n}") for n in range(len(regions))]
    pool = {f"/d/s{n}": ids for n, (ids, _) in enumerate(regions)}
    labelled = {
        f"/d/s{n}": [i for i in ids if i not in before] for n, (before, ids) in enumerate(regions)
    }
    active = ActiveSet(items[:1], items, pool, labelled)
    assume(active.pool_items or active.labelled_items)
    active.save(tmp_path / "list.pkl")
    again = ActiveSet.load(tmp_path / "list.pkl", "/", "/")
    named = {*active.pool_items, *active.labelled_items}
    assert again.target == [item for item in items if item in named]
    assert again.labelled == active.labelled
    assert {path: ids for path, ids in again.pool.items() if ids} == {
        path: ids for path, ids in active.pool.items() if ids
    }
    data = pickle.loads((tmp_path / "list.pkl").read_bytes())
    assert data["trg_pool_suppix"] == active.pool
    assert data["trg_label_suppix"] == active.labelled


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
        st.tuples(inner, inner, inner),
    ),
    max_leaves=8,
)


@inputs
@given(st.dictionaries(st.sampled_from(LIST_KEYS + REGION_KEYS), PLAIN), PLAIN)
def test_any_values_as_a_datalist(tmp_path, check_line, values, other):
    path = tmp_path / "list.pkl"
    whole = {key: [] for key in LIST_KEYS} | {key: {} for key in REGION_KEYS}
    for data in (whole | values, values, other):
        path.write_bytes(pickle.dumps(data))
        try:
            active = ActiveSet.load(path, "/", "/")
        except UserError as error:
            check_line(error, "list.pkl")
        else:
            assert active.source and active.target


@inputs
@given(st.data())
def test_damaged_datalists(tmp_path, check_line, data):
    """A byte changed, bytes missing: refused, or still a datalist; nothing else happens."""
    path = tmp_path / "list.pkl"
    item = Item("/d/i", "/d/l", "/d/s")
    ActiveSet([item], [item], {"/d/s": [0, 1, 2]}, {"/d/s": [7]}).save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] = data.draw(st.integers(0, 255))
    else:
        del content[place : place + data.draw(st.integers(1, 20))]
    path.write_bytes(content)
    try:
        load_pickle(path)
        ActiveSet.load(path, "/", "/")
    except UserError as error:
        check_line(error, "list.pkl")


NUMBERS = {  # flag: (kind, low, low allowed, high)
    "--active_selection_size": (float, 0, True, 1e9),
    "--alpha": (float, 0, True, 1e9),
    "--beta": (float, 0, True, 1e9),
    "--finetune_lr": (float, 0, False, 1e9),
    "--train_lr": (float, 0, False, 1e9),
    "--weight_decay": (float, 0, True, 1e9),
    "--init_iteration": (int, 0, True, 999),
    "--max_iterations": (int, 0, True, 999),
    "--finetune_itrs": (int, 1, True, 10**9),
    "--train_batch_size": (int, 1, True, 4096),
    "--val_batch_size": (int, 1, True, 4096),
    "--val_period": (int, 1, True, 10**9),
    "--save_period": (int, 1, True, 10**9),
    "--num_workers": (int, 0, True, 1024),
    "--num_classes": (int, 2, True, 254),
    "--seed": (int, 0, True, 2**32 - 1),
}
VALUE = st.one_of(st.integers(), st.integers(-3, 3), st.floats(), st.text(max_size=5))


@inputs
@given(st.sampled_from(sorted(NUMBERS)), VALUE)
def test_numeric_flags(check_line, flag, value):
    """A flag is taken exactly where its value is a number in its range."""
    kind, low, low_allowed, high = NUMBERS[flag]
    text = str(value)
    try:
        expected = kind(text)
        valid = (
            np.isfinite(float(expected))
            and (expected > low or (low_allowed and expected == low))
            and expected <= high
        )
    except (ValueError, OverflowError):
        valid = False
    command = ["--init_checkpoint", "x", f"{flag}={text}"]
    if valid:
        args = train_ADA.parser().parse_args(command)
        assert getattr(args, flag.removeprefix("--")) == expected
    else:
        with pytest.raises(UserError) as error:
            train_ADA.parser().parse_args(command)
        check_line(error.value, flag)


@inputs
@given(st.lists(st.integers(-5, 5000), max_size=3))
def test_image_sizes(check_line, size):
    command = ["--image_size", *map(str, size)]
    if len(size) == 2 and min(size) > 0:
        assert warmup.parser().parse_args(command).image_size == size
    else:
        with pytest.raises(UserError) as error:
            warmup.parser().parse_args(command)
        check_line(error.value, "--help")


@pytest.mark.parametrize("name", ["GTA5", "SYNTHIA", "cityscapes", "camvid"])
@inputs
@given(data=st.data())
def test_label_values(name, data):
    """Every value an 8 or 16-bit label can hold maps as the dataset's table says, or to 255."""
    info = load_dataset(name)
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    ids = data.draw(st.lists(st.integers(0, np.iinfo(dtype).max), min_size=1, max_size=30))
    mapped = info.train_ids(np.array([ids], dtype))
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == [[info.label_to_train.get(i, 255) for i in ids]]

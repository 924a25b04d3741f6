"""Columns of a region table on disk: taken up again, or made anew if they are not what was left."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from active_selection.table_files import ColumnFiles, _note_digest, feature_folder
from utils.checkpoint import digest
from utils.errors import UserError

TYPES = {"feature": (np.float32, (3,)), "pixels": (np.int64, ())}
BOUNDS = [0, 2, 4, 6]
ROWS = BOUNDS[-1]


@pytest.fixture()
def reopen(tmp_path):
    """A function that opens the columns of a pass of which 2 batches, 4 rows, are done."""

    def reopen(fingerprint: str = "a") -> ColumnFiles:
        return ColumnFiles(tmp_path / "features", "round00_target", BOUNDS, TYPES, fingerprint)

    files = reopen()
    assert files.open_batches == [0, 1, 2]
    files.columns["feature"][:] = np.arange(3 * ROWS).reshape(ROWS, 3)
    files.columns["pixels"][:] = np.arange(ROWS)
    files.finish(0)
    files.finish(1)
    files.save()
    reopen.path = lambda name: tmp_path / "features" / f"round00_target_{name}"
    return reopen


def assert_anew(files: ColumnFiles) -> None:
    assert files.open_batches == [0, 1, 2]
    for column, (dtype, shape) in TYPES.items():
        assert files.columns[column].dtype == dtype
        assert files.columns[column].shape == (ROWS, *shape)
        assert not files.columns[column].any()


def test_a_pass_goes_on_with_what_is_done(reopen):
    files = reopen()
    assert files.open_batches == [2]
    assert files.columns["feature"][:4].tolist() == np.arange(12.0).reshape(4, 3).tolist()
    files.columns["pixels"][4:] = 9
    files.finish(2)
    files.save()
    again = reopen()
    assert again.open_batches == []
    assert again.columns["pixels"].tolist() == [0, 1, 2, 3, 9, 9]


def test_rows_that_are_not_done_may_hold_anything(reopen):
    np.load(reopen.path("pixels.npy"), mmap_mode="r+")[4:] = -1
    assert reopen().open_batches == [2]


def test_columns_of_another_network_or_data_are_made_anew(reopen):
    assert_anew(reopen("b"))


def test_a_column_of_another_type_or_size_is_made_anew(reopen):
    np.save(reopen.path("feature.npy"), np.ones((ROWS, 3)))
    assert_anew(reopen())


@pytest.mark.parametrize("length", [0, 5, 100, 150, -4])
def test_a_column_that_was_cut_is_made_anew(reopen, length):
    path = reopen.path("feature.npy")
    path.write_bytes(path.read_bytes()[:length])
    assert_anew(reopen())


def test_a_column_that_is_gone_is_made_anew(reopen):
    reopen.path("pixels.npy").unlink()
    assert_anew(reopen())


@pytest.mark.parametrize("value", [0, 1e-3])
def test_rows_that_were_zeroed_or_changed_are_made_anew(reopen, value):
    """A crash of the machine can leave zeros; the note tells the digests of the rows."""
    np.load(reopen.path("feature.npy"), mmap_mode="r+")[3] = value
    assert_anew(reopen())


@pytest.mark.parametrize(
    "change",
    [
        {"batches": []},
        {"batches": {}},
        {"batches": None},
        {"batches": [None, 1, "a"]},
        {"batches": [None, None, None]},
        {"fingerprint": "b"},
    ],
)
def test_a_damaged_note_counts_as_none(reopen, change):
    note = json.loads(reopen.path("progress.json").read_text())
    reopen.path("progress.json").write_text(json.dumps(note | change))
    assert_anew(reopen())


def test_a_note_of_an_earlier_version_counts_as_none(reopen):
    note = {"images": 2, "rows": 4, "fingerprint": "a", "digests": {}}
    note["note"] = _note_digest(note)
    reopen.path("progress.json").write_text(json.dumps(note))
    assert_anew(reopen())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00" * 50])
def test_a_note_that_is_none_counts_as_none(reopen, text):
    reopen.path("progress.json").write_text(text)
    assert_anew(reopen())


def test_a_planted_link_is_not_followed(reopen, tmp_path):
    mine = tmp_path / "mine.npy"
    mine.write_bytes(b"mine")
    reopen.path("progress.json").unlink()
    for name in ("feature.npy", "progress.json"):
        reopen.path(name).unlink(missing_ok=True)
        reopen.path(name).symlink_to(mine)
    files = reopen()
    assert_anew(files)
    files.finish(0)
    files.save()
    assert mine.read_bytes() == b"mine"
    assert not reopen.path("feature.npy").is_symlink()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x: region features cannot be written .*--save_feat"):
        ColumnFiles(tmp_path / "file" / "x", "a", [0, 1], TYPES, "")


def test_a_fingerprint_tells_weights_and_facts_apart():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    prints = {digest(net, [1]), digest(net, [2])}
    net.weight.data[0, 0] += 1e-6
    prints.add(digest(net, [1]))
    prints.add(digest(nn.ModuleList([net]), [1]))
    assert len(prints) == 4
    assert digest(net, [1]) == digest(net, (1,))


def test_a_feature_folder_is_one_runs(tmp_path):
    features = tmp_path / "features"
    with feature_folder(features, tmp_path / "one"):
        (features / "round00_target_feature.npy").touch()
        with (
            pytest.raises(UserError, match="another run is at work"),
            feature_folder(features, tmp_path / "two"),
        ):
            pass
    with feature_folder(features, tmp_path / "one"):
        pass
    with (
        pytest.raises(UserError, match="holds features of another run"),
        feature_folder(features, tmp_path / "two"),
    ):
        pass
    (features / "round00_target_feature.npy").unlink()
    with feature_folder(features, tmp_path / "two"):
        pass


def test_a_run_that_was_moved_goes_on_with_its_own_features(tmp_path):
    for name in ("here", "there"):
        with feature_folder(tmp_path / name / "features", tmp_path / name):
            (tmp_path / name / "features" / "round00_target_feature.npy").touch()
        if name == "here":
            (tmp_path / "here").rename(tmp_path / "there")

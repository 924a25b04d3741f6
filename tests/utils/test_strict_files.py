"""Planted links, pipes, and JSON that is none: one line, and nothing else is touched."""

import fcntl
import logging
import os
from pathlib import Path

import pytest

from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from utils.common import training_parser
from utils.errors import UserError
from utils.files import locked_folder, read_json, remove_temporaries, write_text
from utils.logs import start_log
from utils.parser import count_or_all
from utils.recorder import Recorder, Step, read_metrics


@pytest.fixture()
def victim(tmp_path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def use_lock(path: Path) -> None:
    with locked_folder(path.parent, "-p"):
        pass


def use_log(path: Path) -> None:
    root = logging.getLogger()
    before, raises = root.handlers, logging.raiseExceptions
    root.handlers = []
    try:
        start_log(path)
        logging.getLogger("test").warning("a line")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers, logging.raiseExceptions = before, raises


def use_metrics(path: Path) -> None:
    Recorder(path).write("stage", Step(), name="a", seconds=1)


USES = {".lock": use_lock, "log_train.txt": use_log, "metrics.jsonl": use_metrics}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_planted_links_and_pipes_are_refused(name, kind, tmp_path, victim):
    path = tmp_path / "exp" / name
    path.parent.mkdir()
    path.symlink_to(victim) if kind == "link" else os.mkfifo(path)
    with pytest.raises(UserError, match=r"link|regular|[Nn]o such device"):
        USES[name](path)
    assert victim.read_text() == "precious"
    path.unlink()
    USES[name](path)
    assert path.exists() or name == ".lock"


READERS = {
    "list": lambda path: read_datalist(path, "/"),
    "description": lambda path: load_dataset(str(path)),
    "metrics": read_metrics,
    "JSON": lambda path: read_json(path, "remove it"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_pipe_is_never_read(reader, tmp_path):
    """Nobody writes into it, so that reading it would never end."""
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"pipe\.json"):
        reader(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"NaN", b"[-Infinity]", b'{"a": 1e999}', b"9" * 5000, b"[" * 100_000, b"", b"{"),
        *(b'"\xff"', '{"a": 1}'.encode("utf-16"), b"1 2"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: cannot be read \(.*\); remove it$"):
        read_json(path, "remove it")


def test_json_of_any_locale_and_editor(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + '{"ä": 1e308}'.encode())
    assert read_json(path, "") == {"ä": 1e308}


def test_temporaries_that_are_being_written_stay(tmp_path):
    ours, dead = tmp_path / ".a.json.12.tmp", tmp_path / ".b.json.12.tmp"
    dead.touch()
    with ours.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_temporaries(tmp_path)
        assert ours.exists()
        assert not dead.exists()
    remove_temporaries(tmp_path)
    assert not ours.exists()


def test_the_longest_name_that_a_file_may_have(tmp_path):
    path = tmp_path / ("ä" * 127)
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--total_itrs", "9" * 400),
        ("--train_batch_size", "999999999"),
        ("--val_batch_size", "4097"),
        ("--image_size", "100000"),
        ("--num_workers", "1000000"),
        ("--save_period", "1" + "0" * 9999),
    ],
)
def test_numbers_beyond_range(flag, value):
    words = [flag, value, value] if flag == "--image_size" else [flag, value]
    with pytest.raises(UserError, match=f"{flag}: .* at most") as error:
        training_parser("", ["a"], "warmup").parse_args(words)
    assert len(error.value.line) < 300


def test_all_regions_or_a_number_of_them():
    assert count_or_all("all") is None
    assert count_or_all("2") == 2

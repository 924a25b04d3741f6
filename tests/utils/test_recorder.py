"""metrics.jsonl: one line a measurement, the last of a step counts, damaged lines do not."""

import json
import math

import pytest

from utils.errors import UserError
from utils.recorder import Recorder, Step, read_metrics


def test_the_last_line_of_a_step_counts_and_takes_its_place(tmp_path):
    recorder = Recorder(tmp_path / "metrics.jsonl")
    recorder.write("train", Step(1, 100), loss=3.0)
    recorder.write("validation", Step(1, 100), mIoU=5.0)
    recorder.write("train", Step(1, 200), loss=2.0)
    recorder.write("stage", Step(1), name="finetune", seconds=4)
    recorder.write("stage", Step(1), name="select", seconds=5)
    recorder.write("train", Step(1, 100), loss=1.0)  # a continuation repeats it
    assert read_metrics(recorder.path) == [
        {"kind": "validation", "round": 1, "iteration": 100, "mIoU": 5.0},
        {"kind": "train", "round": 1, "iteration": 200, "loss": 2.0},
        {"kind": "stage", "round": 1, "iteration": None, "name": "finetune", "seconds": 4},
        {"kind": "stage", "round": 1, "iteration": None, "name": "select", "seconds": 5},
        {"kind": "train", "round": 1, "iteration": 100, "loss": 1.0},
    ]


@pytest.mark.parametrize(
    "torn", [b'{"kind": "train", "rou', b"\x00" * 30, b"[" * 5000, b"\xff\xfe"]
)
def test_a_torn_last_line_costs_no_other(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    Recorder(path).write("train", Step(None, 1), loss=1.0)
    with path.open("ab") as file:
        file.write(torn)
    Recorder(path).write("train", Step(None, 2), loss=2.0)
    assert [line["loss"] for line in read_metrics(path)] == [1.0, 2.0]


def test_lines_that_are_no_objects_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('3\n[1]\n\n"a"\nnull\n{"kind": "train"}\n')
    assert read_metrics(path) == [{"kind": "train"}]


def test_numbers_that_are_none_become_null(tmp_path):
    recorder = Recorder(tmp_path / "metrics.jsonl")
    recorder.write(
        "validation", Step(0, 0), mIoU=math.nan, IoU={"road": math.inf, "sky": 1.5}, lr=[-math.inf]
    )
    (line,) = recorder.path.read_text().splitlines()
    value = json.loads(line, parse_constant=pytest.fail)
    assert (value["mIoU"], value["IoU"], value["lr"]) == (None, {"road": None, "sky": 1.5}, [None])


def test_seconds_are_of_the_block_and_not_told_if_it_fails(tmp_path, monkeypatch):
    clock = iter([10.0, 12.5, 20.0])
    monkeypatch.setattr("utils.recorder.time.monotonic", lambda: next(clock))
    recorder = Recorder(tmp_path / "metrics.jsonl")
    with recorder.timed("select", Step(2)):
        pass
    with pytest.raises(ZeroDivisionError), recorder.timed("finetune", Step(2)):
        _ = 1 / 0
    (line,) = read_metrics(recorder.path)
    assert (line["name"], line["seconds"]) == ("select", 2.5)


def test_files_that_cannot_be_used_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        read_metrics(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"x/metrics\.jsonl: cannot be written"):
        Recorder(tmp_path / "x" / "metrics.jsonl").write("train", Step())

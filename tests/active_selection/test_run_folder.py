"""Which round a continuation takes up, for every situation that a kill can leave."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from active_selection.run_folder import RunFolder
from active_selection.strategies import STRATEGIES
from utils.errors import UserError
from utils.resume import RunSettings


@pytest.fixture()
def folder(tmp_path):
    """A function that gives the folder of a run of rounds ``first`` to ``last``."""

    def make(first: int = 0, last: int = 2, **flags: str) -> RunFolder:
        defaults = {"init_checkpoint": "warmup.tar", "datalist_path": None, "oracle": "files"}
        flags = defaults | flags
        return RunFolder(
            Namespace(
                model_save_dir=tmp_path,
                save_feat_dir=None,
                init_iteration=first,
                max_iterations=last,
                **flags,
            )
        )

    return make


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def finish(run: RunFolder, *rounds: int) -> None:
    """Write what rounds leave; a last one selects nothing."""
    for n in rounds:
        write(run.checkpoint(n))
        if n < run.args.max_iterations:
            write(run.datalist(n))
        write(run.record(n), json.dumps({"round": n}))


def test_the_open_round_is_the_first_without_record_or_datalist(folder):
    run = folder()
    for n in range(3):
        assert run.first_open_round() == n
        write(run.checkpoint(n))
        write(run.selection("density", n))
        if n < 2:
            write(run.datalist(n))
        assert run.first_open_round() == n  # its record is still to come
        finish(run, n)
    assert run.first_open_round() == 3  # all are done
    run.datalist(1).unlink()
    assert run.first_open_round() == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"round": 0}', '{"mIoU": 1}', "\x00", "[" * 100_000]
)
def test_a_damaged_record_is_none(folder, text):
    run = folder()
    finish(run, 0, 1, 2)
    write(run.record(1), text)
    assert run.read_record(1) is None
    assert run.first_open_round() == 1


def test_a_last_round_needs_no_datalist_until_it_is_last_no_more(folder):
    finish(folder(), 0, 1, 2)
    assert folder(last=2).first_open_round() == 3
    more = folder(last=3)
    assert more.first_open_round() == 2  # it has to select now
    assert not more.is_trained(2)  # its record does not say that it was the last
    write(more.datalist(2))
    write(more.record(2), json.dumps({"round": 2, "selection": []}))
    assert more.is_trained(2) and not more.is_trained(3)
    assert more.first_open_round() == 2  # killed before it recorded what it selected
    assert folder(first=2, last=3).first_open_round() == 2
    assert folder(first=1, last=1).first_open_round() > 1


def test_a_round_starts_from_the_one_before_it_and_the_first_from_the_flags(folder, tmp_path):
    run = folder()
    assert run.start_of(0) == (Path("warmup.tar"), None)
    assert run.start_of(2) == (run.checkpoint(1), run.datalist(1))
    later = folder(first=2, datalist_path="theirs.pkl")
    assert later.start_of(2) == (Path("warmup.tar"), Path("theirs.pkl"))
    assert later.start_of(3) == (tmp_path / "checkpoint02.tar", tmp_path / "datalist_02.pkl")


def test_packages_of_the_rounds_are_planned_where_people_are_asked(folder):
    for oracle, rounds in (("files", set()), ("people", {"round_01", "round_02", "round_03"})):
        run = folder(1, 3, oracle=oracle, datalist_path="datalist_00.pkl")
        planned = {path.name for path in run.planned() if path.parent == run.annotation}
        assert planned == rounds
    settings = RunSettings(run.args, "train_ADA", lambda name: None)
    for number in (12, 2):  # also of later rounds, which an import would take for the latest
        run.package(number).mkdir(parents=True)
        with pytest.raises(UserError, match=rf"already \(annotation/round_{number:02d}\)"):
            settings.check(False, run.planned())


def test_planned_are_all_results_of_the_rounds_and_none_of_others(folder):
    run = folder(first=1, last=2)
    names = {path.name for path in run.planned()}
    assert {path.name for path in (run.checkpoint(1), run.record(2), run.datalist(2))} <= names
    assert {f"{strategy}_selection_02.pkl" for strategy in STRATEGIES} <= names
    assert not any("00" in name or "03" in name for name in names)


def test_what_is_there_already_is_refused_but_for_what_the_first_round_takes_up(folder):
    """The checkpoint that it starts from, and the record of a round that was the last."""
    finish(folder(last=1), 0, 1)
    extended = folder(first=1, last=2)
    settings = RunSettings(extended.args, "train_ADA", lambda name: None)
    with pytest.raises(UserError, match=r"checkpoint01\.tar"):
        settings.check(False, extended.planned())
    extended.args.init_checkpoint = str(extended.checkpoint(1))
    assert settings.check(False, extended.planned()) is False
    write(extended.datalist(1))
    with pytest.raises(UserError, match=r"datalist_01\.pkl"):
        settings.check(False, extended.planned())


@pytest.mark.parametrize("kind", ["checkpoint", "datalist", "selection", "record"])
def test_later_rounds_of_an_older_run_are_refused(folder, kind):
    """A larger --max_iterations would make them those of the new run."""
    run = folder(last=1)
    settings = RunSettings(run.args, "train_ADA", lambda name: None)
    for name in ("run_2.json", "round_03_notes.json", "images_7.png"):  # of others
        write(run.path / name)
    assert settings.check(False, run.planned()) is False
    path = run.selection("BADGE", 12) if kind == "selection" else getattr(run, kind)(12)
    write(path)
    with pytest.raises(UserError, match=rf"already \((AL_record/)?{path.name}\)"):
        settings.check(True, run.planned())


def test_a_new_run_forgets_the_state_and_the_record_of_the_one_before(folder):
    finish(folder(last=1), 0, 1)
    run = folder(first=1, last=2)
    write(run.state(1).path)
    run.forget_open_round()
    assert not run.state(1).path.exists()
    assert not run.record(1).exists()
    assert run.record(0).is_file()


def test_half_written_files_are_removed_beside_results_alone(folder, tmp_path):
    run = folder()
    left = [path / ".a.json.12.tmp" for path in (tmp_path, run.features, tmp_path / "AL_record")]
    others = [tmp_path / "other" / ".a.json.12.tmp", tmp_path / "notes.tmp"]
    for path in (*left, *others):
        write(path)
    run.remove_temporaries()
    assert not any(path.exists() for path in left)
    assert all(path.is_file() for path in others)

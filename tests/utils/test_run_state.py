"""A run is continued with its own flags and from its own state, and with nothing else."""

import json
from argparse import Action, BooleanOptionalAction, Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

import train_ADA
import warmup
from dataloader.dataset_info import load_dataset
from dataloader.datasets import Sample, TrainingSet
from dataloader.item import Item
from dataloader.loaders import TrainingLoader, training_loader
from utils.errors import UserError
from utils.optim import segmentation_optimizer
from utils.resume import Progress, RunSettings, StateFile, random_cuda, set_random_cuda
from utils.resume_flags import CHANGES_ROUNDING, MAY_DIFFER, MovedSince
from utils.runtime import Runtime
from utils.steps import SupervisedStep
from utils.validation import Scores


def flags(folder, *more: str) -> Namespace:
    return warmup.parser().parse_args(["-p", str(folder), *more])


def settings(folder, *more: str) -> RunSettings:
    return RunSettings(flags(folder, *more), "warmup", warmup.parser().get_default)


def test_nothing_to_resume_is_a_start(tmp_path, caplog):
    assert settings(tmp_path).check(False, []) is False
    with caplog.at_level("INFO"):
        assert settings(tmp_path).check(True, [tmp_path / "checkpoint.tar"]) is False
    assert "nothing to resume" in caplog.text


@pytest.mark.parametrize("resume", [False, True])
def test_results_of_another_run_are_not_overwritten(tmp_path, resume):
    (tmp_path / "checkpoint.tar").touch()
    with pytest.raises(UserError, match=r"holds results already \(checkpoint\.tar\)"):
        settings(tmp_path).check(resume, [tmp_path / "x", tmp_path / "checkpoint.tar"])


def changed(action: Action) -> list[str]:
    """Words of a command line that give a flag another value than its default."""
    *_, last = action.option_strings
    if isinstance(action, BooleanOptionalAction):
        return [last if action.default else action.option_strings[0]]
    if action.nargs == 0:
        return [last]
    if action.choices:
        return [last, next(str(c) for c in action.choices if c != action.default)]
    return [last, *({"relocate": ["/a=/b"], "image_size": ["8", "16"]}.get(action.dest, ["7"]))]


@pytest.mark.parametrize("script", [warmup, train_ADA], ids=["warmup", "train_ADA"])
def test_every_flag_that_changes_a_result_must_be_the_same(script, tmp_path, caplog):
    """All others may differ between a run and its continuation."""
    required = ["-p", str(tmp_path), *(["--init_checkpoint", "x"] * (script is train_ADA))]

    def run(*more: str) -> RunSettings:
        parser = script.parser()
        return RunSettings(parser.parse_args([*required, *more]), name, parser.get_default)

    name = script.__name__
    free = MAY_DIFFER | ({"train_lr", "total_itrs", "train_lr_D"} if script is train_ADA else set())
    run().write()
    assert run().check(True, []) is True
    checked = 0
    for action in script.parser()._actions:
        if action.dest in ("help", "config", "model_save_dir", "ignore_idx"):
            continue
        given = changed(action)
        caplog.clear()
        if action.dest in free:
            assert run(*given).check(True, []) is True
            told = action.dest == CHANGES_ROUNDING
            assert ("not be the same to the last digit" in caplog.text) is told
        else:
            with pytest.raises(UserError, match=rf"--{action.dest} is .*, but the run") as error:
                run(*given).check(True, [])
            assert ("see --init_iteration" in str(error.value)) is (script is train_ADA)
        checked += 1
    assert checked > 35


def test_a_flag_that_was_not_there_then_counts_as_its_default(tmp_path):
    settings(tmp_path).write()
    path = tmp_path / "warmup_settings.json"
    value = json.loads(path.read_text())
    del value["flags"]["focal_gamma"]
    value["flags"]["of_a_later_version"] = "3"
    path.write_text(json.dumps(value))
    assert settings(tmp_path).check(True, []) is True
    with pytest.raises(
        UserError, match=r"--focal_gamma is 3\.0, but the run in .* had 2\.0; go on with"
    ):
        settings(tmp_path, "--focal_gamma", "3").check(True, [])


def test_flags_may_be_spelled_otherwise(tmp_path, monkeypatch):
    """Paths from another folder, with a slash at their end, percentages; not names of datasets."""
    monkeypatch.chdir(tmp_path)

    def run(data: str, size: str, dataset: str = "cityscapes") -> RunSettings:
        words = ["-p", "x", "--init_checkpoint", "w/c.tar", "--trg_data_dir", data]
        words += ["--active_selection_size", size, "--trg_dataset", dataset]
        parser = train_ADA.parser()
        return RunSettings(parser.parse_args(words), "train_ADA", parser.get_default)

    run("data/city", "1%").write()
    assert run(f"{tmp_path}/data/x/../city/", "1.0%").check(True, []) is True
    for other in (("data/city2", "1%"), ("data/city", "2%"), ("data/city", "1%", "./cityscapes")):
        with pytest.raises(UserError, match=r"--resume: --\w+ is"):
            run(*other).check(True, [])
    with pytest.raises(UserError, match=r"go on with that \(a link from there"):
        run("elsewhere/city", "1%").check(True, [])


def test_data_may_have_moved(tmp_path):
    """With the lists and info.json in their folder; no other file may differ."""

    def run(root: str, val_list: str = "a.txt", source: str = "/gta") -> RunSettings:
        words = ["-p", str(tmp_path), "--init_checkpoint", "c.tar", "--src_data_dir", source]
        words += ["--trg_data_dir", root, "--trg_dataset", f"{root}/info.json"]
        words += ["--val_data_dir", root, "--val_datalist", val_list]
        parser = train_ADA.parser()
        return RunSettings(parser.parse_args(words), "train_ADA", parser.get_default)

    def resumed(*given: str) -> list[MovedSince]:
        settings = run(*given)
        assert settings.check(True, []) is True
        settings.write({"trg": {}, "val": {}})
        return settings.moves

    run("/one", "/one/a.txt").write({"trg": {}, "val": {}})
    assert resumed("/one", "/one/a.txt") == []
    for other in (("/two", "/two/b.txt"), ("/one", "/one/a.txt", "/gta2")):
        with pytest.raises(UserError, match=r"--(val_datalist|src_data_dir) is"):
            resumed(*other)
    assert resumed("/two", "/two/a.txt") == [("trg", "/one", "/two"), ("val", "/one", "/two")]
    moved = resumed("/two/2", "/two/2/a.txt")
    assert moved == [("trg", "/two", "/two/2"), ("val", "/two", "/two/2")]


def test_a_checkpoint_and_a_datalist_may_have_moved_with_the_run(tmp_path):
    def run(place: Path, folder: str = "exp", name: str = "random") -> RunSettings:
        words = ["-p", str(place / "exp" / name), "--trg_data_dir", "/city"]
        words += ["--init_checkpoint", str(place / folder / "warm" / "checkpoint.tar")]
        words += ["--datalist_path", str(place / folder / "datalist_00.pkl")]
        words += ["--trg_datalist", str(place / folder / "half.txt"), "--active_method", name]
        parser = train_ADA.parser()
        return RunSettings(parser.parse_args(words), "train_ADA", parser.get_default)

    old, new = tmp_path / "old", tmp_path / "new"
    (old / "exp" / "random").mkdir(parents=True)
    run(old).write()
    old.rename(new)
    with pytest.raises(UserError, match=r"--(init_checkpoint|trg_datalist) is"):
        run(new, "other").check(True, [])
    assert run(new).check(True, []) is True
    (new / "exp" / "random").rename(new / "exp" / "RIPU")
    with pytest.raises(UserError, match="--active_method is RIPU"):  # also where -p is called so
        run(new, name="RIPU").check(True, [])


def test_one_of_two_domains_may_have_moved(tmp_path, monkeypatch):
    """Though both lay in one folder, which was given relative to another working directory."""
    (tmp_path / "x").mkdir()

    def run(trg: str, val: str) -> RunSettings:
        words = ["-p", str(tmp_path), "--init_checkpoint", "c.tar", "--src_data_dir", "/gta"]
        parser = train_ADA.parser()
        words += ["--trg_data_dir", trg, "--val_data_dir", val]
        return RunSettings(parser.parse_args(words), "train_ADA", parser.get_default)

    monkeypatch.chdir(tmp_path)
    run("city", "city").write({"src": {}, "trg": {}, "val": {}})
    assert run("./city/", str(tmp_path / "city")).check(True, []) is True
    monkeypatch.chdir(tmp_path / "x")
    settings = run("/fast", f"{tmp_path}/city")
    assert settings.check(True, []) is True
    assert settings.moves == [("trg", f"{tmp_path}/city", "/fast")]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"flags": 3}', "null"])
def test_damaged_settings_are_one_line(tmp_path, text):
    (tmp_path / "warmup_settings.json").write_text(text)
    with pytest.raises(UserError, match=r"warmup_settings\.json: .*remove it to start anew"):
        settings(tmp_path).check(True, [])


def test_a_run_goes_on_where_fewer_gpus_are_seen(monkeypatch):
    """On whichever GPU: the state kept is that of the one which the run was on."""
    states = {0: 5, 1: 7}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda s, device: states.update({device.index: s})
    )
    kept = random_cuda(torch.device("cuda:1"))
    assert kept == [7]
    set_random_cuda(kept, torch.device("cuda:0"))
    assert states == {0: 7, 1: 7}
    assert random_cuda(torch.device("cpu")) == []
    set_random_cuda(kept, torch.device("cpu"))


def data() -> TrainingLoader:
    info = load_dataset("cityscapes")
    samples = [Sample(Item(f"/d/{n}.png", "", ""), info) for n in range(5)]
    return training_loader(TrainingSet(samples, (8, 8)), 2, seed=3, num_workers=0)


def new_step(seed: int, loader: TrainingLoader | None = None) -> SupervisedStep:
    torch.manual_seed(seed)
    net = nn.Module()
    net.backbone, net.classifier = nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)
    optimizer = segmentation_optimizer(net, 0.1, 0.0)
    for parameter in net.parameters():  # momentum, as after a step
        optimizer.state[parameter]["momentum_buffer"] = torch.randn_like(parameter)
    step = SupervisedStep(
        net, optimizer, [], "cross_entropy", Runtime(torch.device("cpu"), amp="fp16")
    )
    step.loaders = [loader or data()]
    return step


def test_a_state_comes_back_whole(tmp_path):
    """Weights, momentum, loss scale, random state, scores, and where the data goes on."""
    saved, restored = new_step(1), new_step(2)
    saved.runtime.scaler.load_state_dict(saved.runtime.scaler.state_dict() | {"scale": 8.0})
    progress = Progress(7, validated=False, best=Scores(0.25, {"road": 0.5, "sky": float("nan")}))
    state_file = StateFile(tmp_path / "state.tar", "round 03")
    torch.manual_seed(5)
    state_file.save(saved, progress)
    drawn = torch.rand(4)

    found = state_file.restore(restored)
    assert torch.equal(torch.rand(4), drawn)
    assert (found.iteration, found.validated, found.best.miou) == (7, False, 0.25)
    assert found.best.iou["road"] == 0.5 and found.best.iou["sky"] != found.best.iou["sky"]
    assert restored.runtime.scaler.get_scale() == 8.0
    for name, value in saved.model.state_dict().items():
        assert torch.equal(restored.model.state_dict()[name], value)
    for ours, theirs in zip(restored.model.parameters(), saved.model.parameters(), strict=True):
        momenta = (
            s.optimizers[0].state[p]["momentum_buffer"]
            for s, p in ((restored, ours), (saved, theirs))
        )
        assert torch.equal(*momenta)
    (loader,) = restored.loaders
    assert next(iter(loader.batch_sampler)) == data().batch_sampler.batch(7)


def test_a_state_of_another_round_counts_as_none(tmp_path):
    path, step = tmp_path / "state.tar", new_step(1)
    assert StateFile(path, "round 01").restore(step) == Progress()
    StateFile(path, "round 01").save(step, Progress(9))
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    other = new_step(2)
    assert StateFile(path, "round 02").restore(other) == Progress()
    assert not torch.equal(other.model.classifier.weight, before["classifier.weight"])
    assert StateFile(path, "round 01").restore(other).iteration == 9
    StateFile(path, "round 01").remove()
    StateFile(path, "round 01").remove()
    assert StateFile(path, "round 01").restore(step) == Progress()


def test_other_threads_or_versions_are_warned_of(tmp_path, caplog):
    """Sums depend on them, so files may differ in their last digits."""
    settings(tmp_path).write()
    path = tmp_path / "warmup_settings.json"
    assert settings(tmp_path).check(True, []) is True
    assert not caplog.records
    before = json.loads(path.read_text())
    before["machine"]["threads"] = "99"
    path.write_text(json.dumps(before))
    assert settings(tmp_path).check(True, []) is True
    assert "threads" in caplog.text and "99" in caplog.text

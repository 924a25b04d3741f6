"""experiments/run.py and plot.py: stopped, taken up again, drawn."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label
from numpy.testing import assert_allclose
from PIL import Image

import experiments.run
from dataloader.active_set import ActiveSet
from experiments import run_results
from experiments.config import read_config
from experiments.plot import against_all_labels, against_first
from experiments.results import Curve, Results
from tests.experiment import NETWORK
from tests.in_process import call
from tests.processes import start
from utils.errors import UserError
from utils.safe_pickle import load_pickle

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def config(toy_city, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    network = (
        f"{NETWORK} --no-freeze_bn --train_batch_size 2 "
        "--src_data_dir {data}/GTA5 --trg_data_dir {data}/Cityscapes"
    )
    value = {
        "prepare": ["data_preprocessing/toy_city.py --root {data} --images 6 --size 64 128"],
        "network": [network, "--val_data_dir {data}/Cityscapes"],
        "warmup": "--warmup sup_warmup --backbone_weights none --total_itrs 2 --ramp_itrs 0",
        "bound": "--warmup target_supervised --total_itrs 2 --ramp_itrs 0",
        "rounds": "--max_iterations 2 --finetune_itrs 2 --active_selection_size 0.3",
        "seeds": SEEDS,
        "strategies": {"RIPU": "--active_method RIPU"},
        "controls": {"every": "--active_method random --active_selection_size 6"},
    }
    path.write_text(json.dumps(value))
    return path


def is_done(folder):
    path = folder / "run.json"
    return path.is_file() and json.loads(path.read_text())["done"]


class InProcess:
    """What stands for a process: a script that has run, in this one, when it is started."""

    def __init__(self, command, stdout=None, **_):
        ended = call(shlex.join(command[1:]))
        self.returncode = ended.code
        if stdout:
            stdout.write(ended.out + ended.err)

    def poll(self):
        return self.returncode

    wait = poll


def run_in_this_process(monkeypatch):
    """Have experiments/run.py run the scripts in this process, and wait for none."""
    processes = SimpleNamespace(**vars(subprocess) | {"Popen": InProcess})
    monkeypatch.setattr(experiments.run, "subprocess", processes)
    monkeypatch.setattr(experiments.run, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture()
def in_process(monkeypatch):
    """See :func:`run_in_this_process`."""
    run_in_this_process(monkeypatch)


def where(config, city):
    return f"--config {config} --data {city} --out {config.parent / 'exp'}"


@pytest.fixture(scope="module")
def stopped(config, toy_city):
    """An experiment of which a process was asked to stop in the rounds of the first seed.

    The runs before them were done in this process, and the data was there.
    """
    one, exp = config.parent / "one.json", config.parent / "exp"
    one.write_text(json.dumps({"like": config.name, "seeds": SEEDS[:1], "prepare": []}))
    settings = read_config(one, toy_city, exp)
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_in_this_process(monkeypatch)
        assert not experiments.run.run_all([settings.warmup(0), settings.bound(0)], 1)
    process = start(f"experiments/run.py {where(one, toy_city)} --jobs 2")
    first = exp / "seed0" / "RIPU" / "log_train.txt"
    while not first.is_file():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM
    return exp


def test_an_experiment_stopped_goes_on_and_is_drawn(stopped, script, config, toy_city, in_process):
    flags, exp = where(config, toy_city), stopped
    assert is_done(exp / "seed0" / "warmup")
    assert not is_done(exp / "seed0" / "RIPU")
    out = script(f"experiments/run.py {flags} --seeds 1 --strategies RIPU --jobs 2")
    assert "seed0" not in out and "seed1/every" not in out  # not asked for
    assert "seed1/RIPU: done" in out
    out = script(f"experiments/run.py {flags} --jobs 2")
    assert not re.search(r"seed0/warmup: |seed1/RIPU: ", out)  # done before
    assert "seed0/RIPU: done" in out and "seed1/every: done" in out
    assert "seed" not in script(f"experiments/run.py {flags}")

    to = config.parent / "results"
    script(f"experiments/plot.py {flags} --to {to}")
    results = json.loads((to / "tiny.json").read_text())
    last = []
    for seed, kept in results["seeds"].items():
        for name, run in kept["runs"].items():
            for number in range(3):
                path = exp / f"seed{seed}" / name / "AL_record" / f"round_{number:02d}.json"
                record = json.loads(path.read_text())
                assert run["mIoU"][number] == pytest.approx(record["mIoU"], abs=0.006)
                active = ActiveSet.load(path.parents[1] / "datalist_01.pkl", ".", ".")
            labelled = sum(map(len, active.labelled.values()))
            assert run["labelled_regions"][::2] == [0, labelled]
            best = np.max(run["validated_mIoU"], 1)
            assert_allclose(best, run["mIoU"][1:])
            shares = run["labelled_pixels_by_class_percent"]
            assert sum(shares.values()) == pytest.approx(100, abs=0.2)
        log = (exp / f"seed{seed}" / "bound" / "log_train.txt").read_text()
        best = float(re.findall(r"best mIoU ([\d.]+)", log)[-1])
        assert kept["bound"] == pytest.approx(best, abs=0.006)
        assert list(kept["runs"]) == ["RIPU", "every"]
        assert kept["runs"]["every"]["labelled_percent"][1] == 100
        last.append(kept["runs"]["RIPU"]["mIoU"][-1])
    assert list(results["seeds"]) == ["0", "1"]
    assert sum(results["target"].values()) == pytest.approx(100, abs=0.2)

    last = np.array(last)
    table = (to / "tiny.md").read_text()
    assert f"{last.mean():.2f} ± {last.std(ddof=1):.2f} |" in table
    assert "| every (control, 100 %) |" in table
    alone = f"experiments/plot.py {flags} --to {to} --strategies every"
    assert "no strategy (beside controls)" in script(alone, fails=True)
    for name in ("tiny_curve.png", "tiny_training.png", "tiny_classes.png"):
        with Image.open(to / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 10
        assert (to / name).stat().st_size < 200_000
    assert str(toy_city) not in "".join(path.read_text() for path in to.glob("tiny.[jm]*"))

    check_that_results_outlive_their_folders(script, flags, to, exp, config.parent / "gone")
    check_that_first_selections_are_replayed(script, config, flags, exp)

    # what started from a warm-up is not taken for what would start from another
    changed = json.loads(config.read_text())
    changed["warmup"] += " --train_lr 1e-3"
    (config.parent / "changed.json").write_text(json.dumps(changed))
    flags = flags.replace("tiny.json", "changed.json")
    refused = "seed0/{}: holds a run with other flags, or from another warm-up"
    assert refused.format("warmup") in script(f"experiments/run.py {flags}", fails=True)
    assert refused.format("warmup") in script(f"experiments/plot.py {flags}", fails=True)
    for seed in SEEDS:
        shutil.rmtree(exp / f"seed{seed}" / "warmup")
    assert refused.format("bound") in script(f"experiments/run.py {flags}", fails=True)


def check_that_results_outlive_their_folders(script, flags, to, exp, gone):
    """Seeds that ran on another machine stay in the tables, if their settings were the same."""
    kept, names = to / "tiny.json", ("tiny.json", "tiny.md")
    before = [(to / name).read_bytes() for name in names]
    script(f"experiments/plot.py {flags} --to {to} --seeds 0 --strategies RIPU")
    assert [(to / name).read_bytes() == b for name, b in zip(names, before, strict=True)] == [
        True,  # runs that are not shown are kept
        False,
    ]
    gone.mkdir()
    for seed in SEEDS:  # each on a machine of its own
        (exp / f"seed{seed}").rename(gone / f"seed{seed}")
    here, plot = gone / "here", f"experiments/plot.py {flags}"
    for seed in SEEDS:
        (gone / f"seed{seed}").rename(exp / f"seed{seed}")
        out = script(f"{plot} --to {here / str(seed)}")
        assert f"seeds [{seed}], not yet [{1 - seed}]" in out
        (exp / f"seed{seed}").rename(gone / f"seed{seed}")
    script(f"{plot} --to {here / '0'} --also {here / '1' / 'tiny.json'}")
    assert [(here / "0" / name).read_bytes() for name in names] == before
    for seed in SEEDS:
        (gone / f"seed{seed}").rename(exp / f"seed{seed}")

    def refused(change, named):
        value = json.loads(before[0])
        change(value, value["seeds"]["0"], value["seeds"]["0"]["runs"]["RIPU"])
        kept.write_text(json.dumps(value))
        line = script(f"{plot} --to {to}", fails=True)
        assert named in line
        assert json.loads(kept.read_text()) == value

    def set_warmup(_, seed, run):
        seed["warmup"] += 0.001  # less than what is shown
        run["mIoU"][0] = seed["warmup"]

    refused(set_warmup, "exp: warmup of seed 0 came to")
    refused(lambda v, s, r: s.update(bound=s["bound"] + 1), "exp: bound of seed 0 came to")
    refused(lambda v, s, r: v["flags"].update(rounds=["--max_iterations", "9"]), 'other "rounds"')
    refused(lambda v, s, r: r.update(flags=["--active_method", "CLUE"]), "RIPU of seed 0 has other")
    refused(lambda v, s, r: v.update(target={"road": 100}), "another target")
    for damage in (
        lambda v, s, r: r["mIoU"].pop(),
        lambda v, s, r: r["mIoU"].__setitem__(1, "20"),
        lambda v, s, r: r["mIoU"].__setitem__(1, 10**400),
        lambda v, s, r: r["mIoU"].__setitem__(2, r["mIoU"][2] + 1),  # no validation's
        lambda v, s, r: r["mIoU"].__setitem__(0, s["warmup"] + 1),  # another warm-up's
        lambda v, s, r: r["labelled_percent"].__setitem__(1, 101),
        lambda v, s, r: r["labelled_pixels_by_class_percent"].update(road=300),
        lambda v, s, r: r.pop("flags"),
        lambda v, s, r: v["seeds"].update({"01": s}),
        lambda v, s, r: v["target"].update(road="inf"),
        lambda v, s, r: v.pop("seeds"),
    ):
        refused(damage, f"{kept}: holds no results")
    kept.write_bytes(before[0])


def check_that_first_selections_are_replayed(script, config, flags, exp):
    """Chosen is what the run chose, and what is in it is what its labels say."""
    path = config.parent / "replayed.json"
    strategies = {name: f"--active_method {name}" for name in ("RIPU", "density", "AADA")}
    strategies["oas"] = "--active_method density --covariance oas"
    strategies["scan"] = "--active_method RIPU --active_mode scan"
    strategies["wider"] = "--active_method RIPU --train_batch_size 3"
    path.write_text(json.dumps({"like": config.name, "strategies": strategies}))
    flags = flags.replace(config.name, path.name) + " --seed 1 --strategies"

    def chosen(names):
        lines = script(f"experiments/replay.py {flags} {names}").splitlines()
        _, *rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
        assert " ".join(name for name, *_ in rows) == names
        return rows

    rows = chosen("RIPU density oas")
    assert rows[0][-1] == "100" and int(rows[1][-1]) < 100
    alone, shrunk = chosen("density oas")  # the same choice, compared with another
    assert alone[:-1] == rows[1][:-1] and shrunk[:-1] == rows[2][:-1] and shrunk[1:] != alone[1:]
    _, regions, void, right, classes, _ = rows[0]
    folder = exp / "seed1" / "RIPU"
    active = ActiveSet.load(folder / "datalist_00.pkl", ".", ".")
    reasons = json.loads((folder / "AL_record" / "RIPU_selection_00.json").read_text())
    entries = load_pickle(folder / "RIPU_selection_00.pkl")
    assert int(regions) == len(entries) == sum(map(len, active.labelled.values()))
    of_class, hits = np.zeros(20, int), 0
    for (_, paths, region), (predicted, *_) in zip(entries, reasons, strict=True):
        _, label, superpixel = paths.split(",")
        raw = np.asarray(Image.open(label))[np.asarray(Image.open(superpixel)) == region]
        ids = [id2label[i].trainId for i in raw]
        ids = np.array([19 if i in (-1, 255) else i for i in ids])
        of_class += np.bincount(ids, minlength=20)
        hits += (ids == predicted).sum()
    shares = of_class[:19][of_class[:19] > 0] / of_class[:19].sum()
    expected = (100 * of_class[19] / of_class.sum(), 100 * hits / of_class[:19].sum())
    assert_allclose([float(void), float(right)], expected, atol=0.051)
    assert float(classes) == pytest.approx(np.prod(shares**-shares), abs=0.0051)
    assert "AADA needs a discriminator" in script(f"experiments/replay.py {flags} AADA", fails=True)
    for names, why in (
        ("CLUE", "--strategies CLUE: not in the config"),
        ("every", "--strategies every: a control"),
        ("scan", "scan: selects whole images"),
        ("RIPU wider", "wider: has another --train_batch_size than RIPU"),
    ):
        assert why in script(f"experiments/replay.py {flags} {names}", fails=True)


def test_strategies_are_compared_with_the_first_from_the_same_warm_ups():
    """Round 0 has only the warm-up's mIoU and does not count."""
    curves = {
        "random": curve_of([[10.0, 20, 30], [50, 40, 50]]),
        "d2ada": curve_of([[10.0, 24, 32], [50, 39, 53]]),
        "BADGE": curve_of([[50.0, 41, 52]], [7]),
    }
    results = Results([4, 7], np.array([40.0, 60]), curves, {}, {}, {})
    lines = list(against_first(results))
    columns = "round 1 | round 2 | mean of rounds | last validation"
    assert lines[6] == f"| strategy | {columns} | seed 4 | seed 7 |"
    assert lines[8:-1] == [
        "| d2ada | +1.50 ± 2.50 | +2.50 ± 0.50 | +2.00 ± 1.00 | +1.25 ± 0.25 | +3.00 | +1.00 |",
        "| BADGE (seed 7) | +1.00 | +2.00 | +1.50 | +1.00 |  | +1.50 |",
    ]
    lines = list(against_all_labels(results))
    assert lines[4] == "| strategy | regions | of bound, % | of what bound adds, % |"
    assert lines[6:-1] == [
        "| random | 9 | 80 | 50 |",
        "| d2ada | 9 | 85 | 62 |",
        "| BADGE (seed 7) | 9 | 87 | 20 |",
    ]


def curve_of(miou, seeds=(4, 7)):
    """The very last validation has half of the best one's mIoU."""
    shape, validated = np.zeros((len(seeds), 3)), np.zeros((len(seeds), 2, 4))
    validated[:, -1, -1] = np.array(miou)[:, -1] / 2
    return Curve(list(seeds), shape, shape + 9, np.array(miou), validated)


def test_what_is_spent_is_looked_up_in_the_target_of_each_run(monkeypatch, tmp_path):
    """Strategies may have a target of their own, whose superpixel maps are other ones."""

    class Spender:
        everything = "all"

        def __init__(self, args: Namespace):
            self.place = args.trg_data_dir

        def shares(self, regions: str) -> str:
            return f"{regions} of {self.place}"

    def run(*flags: str) -> SimpleNamespace:
        command = ("train_ADA.py", "--init_checkpoint", "x", "--trg_data_dir", "a", *flags)
        return SimpleNamespace(is_done=True, command=command, folder=tmp_path)

    strategies = {"one": [], "other": ["--trg_data_dir", "b"], "again": []}
    config = SimpleNamespace(
        seeds=[0],
        strategies=strategies,
        controls={},
        flags={},
        folder=tmp_path,
        warmup=lambda seed: run(),
        bound=lambda seed: run(),
        rounds=lambda seed, name: run(*strategies[name]),
    )
    monkeypatch.setattr(run_results, "Spender", Spender)
    monkeypatch.setattr(run_results, "_best", lambda _: 50.0)
    monkeypatch.setattr(
        run_results, "_last_list", lambda _: SimpleNamespace(labelled_regions="labelled")
    )
    monkeypatch.setattr(run_results, "_rounds", lambda run, flags, spent: spent)
    kept = run_results.collect(config)
    assert kept.target == "all of a"
    found = [f"labelled of {place}" for place in ("a", "b", "a")]
    assert kept.seeds[0].runs == dict(zip(strategies, found, strict=True))


def test_a_run_that_fails_is_named_and_ends_nothing_else(
    script, config, toy_city, tmp_path, in_process
):
    value = json.loads(config.read_text())
    value |= {"seeds": [0], "strategies": {"AADA": "--active_method AADA"}, "controls": {}}
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(value))
    line = script(f"experiments/run.py {where(broken, toy_city)}", fails=True)
    assert "1 runs failed" in line and "seed0/AADA" in line
    assert is_done(tmp_path / "exp" / "seed0" / "bound")
    console = (tmp_path / "exp" / "seed0" / "AADA" / "console.txt").read_text()
    assert "no discriminator (model_D)" in console.splitlines()[-1]


def test_what_a_config_does_not_say_is_as_in_the_one_that_it_is_like(config, tmp_path):
    whole = json.loads(config.read_text()) | {"seeds": [5]}
    (config.parent / "five.json").write_text(json.dumps({"like": config.name, "seeds": [5]}))
    (tmp_path / "five.json").write_text(json.dumps(whole))
    ours, theirs = (
        read_config(folder / "five.json", Path("data"), Path("exp"))
        for folder in (config.parent, tmp_path)
    )
    assert ours == theirs
    (tmp_path / "lost.json").write_text('{"like": "nothing.json"}')
    with pytest.raises(UserError, match=r"nothing\.json"):
        read_config(tmp_path / "lost.json", Path("data"), Path("exp"))


def test_a_file_that_is_no_config_is_one_line(script, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text("{")
    assert str(path) in script(f"experiments/run.py --config {path} --data .", fails=True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": ["0"]}, "seeds"),
        ({"prepare": "ab"}, "prepare"),
        ({"prepare": [""]}, "prepare"),
        ({"prepare": ["x.py 'open"]}, "No closing quotation"),
        ({"strategies": {"bound": ""}}, "bound"),
        ({"strategies": {"../x": ""}}, "../x"),
        ({"strategies": 3}, "no attribute 'items'"),
        ({"controls": {"warmup": ""}}, "warmup"),
        ({"controls": {"replay": ""}}, "replay"),
    ],
)
def test_configs_that_make_no_sense_are_refused(config, tmp_path, change, named):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(UserError, match=r"bad\.json") as error:
        read_config(path, Path("data"), Path("exp"))
    assert named in error.value.line


def test_what_cannot_be_prepared_or_written_is_one_line(
    script, config, toy_city, tmp_path, in_process
):
    broken = tmp_path / "broken.json"
    value = json.loads(config.read_text()) | {"prepare": ["data_preprocessing/toy_city.py --x"]}
    broken.write_text(json.dumps(value))
    assert "toy_city.py --x: failed" in script(
        f"experiments/run.py {where(broken, toy_city)}", fails=True
    )
    (tmp_path / "file").touch()
    line = script(
        f"experiments/run.py --config {config} --data {toy_city} --out {tmp_path}/file/exp",
        fails=True,
    )
    assert "--out" in line


def test_nothing_is_drawn_over_the_config_nor_of_runs_that_are_not_done(script, config, toy_city):
    plot = f"experiments/plot.py --config {config} --data {toy_city} --out {config.parent}/none"
    assert "no bound of seed 0" in script(plot, fails=True)
    assert "would overwrite" in script(f"{plot} --to {config.parent}", fails=True)
    assert "--seeds 7" in script(f"{plot} --seeds 7", fails=True)
    assert "--strategies CLUE" in script(f"{plot} --strategies CLUE", fails=True)

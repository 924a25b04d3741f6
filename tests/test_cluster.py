"""The estimate of a cluster: its sums by hand, its waits by chance, and a run beside it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import cluster, cluster_check
from benchmarks.cluster import Experiment, Ranks, exposed, fits_of, gpu_costs, read_table, shares_of
from utils.distributed import World
from utils.errors import UserError

PLAN, COSTS = read_table(cluster.TABLE)


def experiment(ranks: int, **costs) -> Ranks:
    """One without what differs from step to step."""
    given = vars(gpu_costs(COSTS)) | {"spread": 1e-6, **costs}
    return Experiment(PLAN, SimpleNamespace(**given), ranks, list(fits_of(PLAN))).run()


def test_one_gpu_takes_the_sum_of_all_parts():
    forward = 1.263 / 40
    adversarial = 2 * 3 * forward + 8 * 0.124 / 40 + 0.005
    validation = 500 * (forward + 0.008)
    warmup = 3 + 100_000 * adversarial + 100 * (validation + 4.3 / 2) + 100 * 4.3
    finetune = 3 + 120_000 * (3 * forward + 0.005) + 40 * (validation + 4.3 / 2) + 120 * 4.3
    passes = 5 * (2 * 3.25 + 27_879 * (forward + 0.01))
    stages = experiment(1).stages
    expected = {"warmup": warmup, "validate": validation, "finetune": 5 * finetune, "pass": passes}
    for stage, seconds in expected.items():
        assert stages[stage] == pytest.approx(seconds, rel=1e-5)


def test_gpus_that_lose_nothing_are_as_many_times_as_fast():
    free = dict.fromkeys(("start_s", "save_s", "digest_s", "ranking_s", "gradient_mb"), 0)
    one, four = (experiment(n, **free, fit=lambda *_: 0).clocks.max() for n in (1, 4))
    assert one / four == pytest.approx(4, rel=2e-3)  # but for the last images of a pass


@pytest.mark.parametrize(("images", "block", "ranks"), [(500, 4, 8), (2975, 4, 3), (3, 4, 2)])
def test_images_are_divided_as_the_ranks_do(images, block, ranks):
    shares = [len(World(rank, ranks).shard(images, block)) for rank in range(ranks)]
    assert shares_of(images, block, ranks).tolist() == shares


def test_the_slowest_rank_sets_the_pace():
    ranks = Ranks(4)
    ranks.steps("training", 20_000, 2.0, 0.1, sent=0.5)
    drawn = np.random.default_rng(1).normal(2.0, 0.2, (20_000, 4)).max(1).mean()
    assert ranks.stages["training"] / 20_000 == pytest.approx(drawn + 0.5, rel=0.01)
    waited = ranks.lost["slowest rank of a step"] / 4 / 20_000
    assert waited == pytest.approx(drawn - 2, rel=0.05)
    ranks.work("passes", np.array([1.0, 4.0, 2.0, 1.0]), "shares")
    assert ranks.stages["passes"] == pytest.approx(4)
    assert ranks.lost["shares"] == pytest.approx(3 + 2 + 3)


def test_gradients_hide_behind_the_backward_pass():
    """250 MB at 10 GB/s around a ring of two take 25 ms, the last tenth of it in any case."""
    costs = SimpleNamespace(gradient_mb=250, link_gb_s=10, hidden_share=0.5, backward=0.04)
    assert exposed(costs, 2) == pytest.approx(0.025 - 0.02)
    costs.backward = 1
    assert exposed(costs, 2) == pytest.approx(0.0025)
    assert exposed(costs, 1) == 0


def test_fits_are_divided_by_their_cost():
    """Of 4, 3 and 2 ks, two ranks take 4 and 5; two threads of one rank the same."""
    fits = [(20, 1), (40, 1), (30, 1)]
    for ranks, threads, seconds in ((2, 1, [4000, 5000]), (1, 2, [5000]), (1, 1, [9000])):
        costs = SimpleNamespace(fit=lambda rows, components: 100 * rows, fit_threads=threads)
        assert Experiment(PLAN, costs, ranks, fits).fitting().tolist() == seconds


def test_the_table_says_what_stops_scaling_first(capsys):
    cluster.main(["--gpus", "1", "8", "--set", "link_gb_s=0.1"])
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "scaling stops first at: sending gradients"
    cluster.main(["--gpus", "1", "8", "--set", "save_s=60"])
    assert capsys.readouterr().out.splitlines()[-1] == "scaling stops first at: rank 0 saving"


def test_figures_of_a_gpu_take_the_place_of_assumed_ones(tmp_path, capsys):
    """In the faster arithmetic; what did not fit into memory counts for none."""
    figures = {
        "supervised step, float32": {"seconds": 1, "images": 1},
        "supervised step, bf16": {"seconds": 0.5, "images": 2},
        "adversarial step, float32": {"seconds": None, "images": 2},
        "adversarial step, bf16": {"seconds": 0.72, "images": 2},
        "validation, bf16": {"seconds": 0.4, "images": 4},
        "selection pass, bf16": {"seconds": 0.4, "images": 4},
    }
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"figures": figures}))
    free = "--set start_s=1e-9 save_s=1e-9 digest_s=1e-9 step_spread=1e-6"
    cluster.main(f"--gpus 1 --bench {path} {free}".split())
    hours = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:7]}
    assert float(hours["warmup"]) == pytest.approx((100_000 * 0.72 + 100 * 50) / 3600, abs=0.01)
    finetune = 120_000 * 0.25 + 40 * 50
    assert float(hours["finetune"]) == pytest.approx(5 * finetune / 3600, abs=0.01)
    assert float(hours["pass"]) == pytest.approx(5 * 27_879 * 0.1 / 3600, abs=0.01)
    del figures["validation, bf16"]
    for value in ({"figures": figures}, [], {"figures": {"validation, bf16": 3}}):
        path.write_text(json.dumps(value))
        with pytest.raises(UserError, match="not the figures of a GPU"):
            cluster.main(["--bench", str(path)])


def test_bad_tables_are_one_line(tmp_path, tally):
    table = json.loads(cluster.TABLE.read_text())
    del table["costs"]["save_s"]
    bad = {"save_s is missing": table, "plan is missing": [], "no \\[number": {**table}}
    bad["no \\[number"]["costs"] = table["costs"] | {"save_s": ["much", "assumed"]}
    for problem, value in bad.items():
        path = tmp_path / "costs.json"
        path.write_text(json.dumps(value))
        with pytest.raises(UserError, match=problem):
            cluster.main(["--costs", str(path)])
        tally["bad inputs refused"] += 1
    for setting, problem in (("speed=1", "no such cost"), ("save_s", "--set")):
        with pytest.raises(UserError, match=problem):
            cluster.main(["--set", setting])


def test_a_run_that_pauses_is_compared_with_its_simulation(script, toy_city, monkeypatch, capsys):
    monkeypatch.setattr(
        cluster_check, "draw_city", lambda _, folder: (folder / "city").symlink_to(toy_city)
    )
    monkeypatch.setattr(cluster_check, "python", lambda name, flags, *_: script(f"{name} {flags}"))
    flags = "--ranks 1 --images 6 --itrs 3 --training 0.02 --evaluation 0.01"
    cluster_check.main(flags.split())
    header, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[:2] == ["stage", "ranks"]
    figures = {line[0]: tuple(map(float, line[2:4])) for line in lines if len(line) == 5}
    assert set(figures) == {"warmup", "validate", "pass", "select", "finetune", "all"}
    assert all(measured >= simulated / 2 for measured, simulated in figures.values())

"""The benchmark runs, and its references agree with the project; the script of growth ends."""

import json

import pytest

from benchmarks.measure import Stage, measure, peak_mb

QUICK = ("round_robin",)


def test_stages_agree_with_their_references_and_are_written(script, tmp_path):
    out = script(
        f"benchmarks/bench.py --stages {' '.join(QUICK)} --json {tmp_path}/figures.json",
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == list(QUICK)
    for name, figure in figures.items():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ours=")]
        assert f"ratio={figure['ratio']:.3g} peak_mb=" in line
        assert figure["ratio"] == pytest.approx(figure["reference"] / figure["ours"])
    assert figures["round_robin"]["ratio"] > 5  # 20 and more by itself


def test_results_that_differ_stop_the_benchmark():
    def check(a, b):
        assert a == b

    stage = Stage(lambda: 1, lambda: 2, check)
    with pytest.raises(AssertionError):
        measure(stage)


def test_peak_memory_is_what_a_call_adds():
    stage = Stage(lambda: bytearray(50_000_000), lambda: bytearray(200_000_000), lambda a, b: None)
    peak = measure(stage)["peak_mb"]
    assert 40 < peak["ours"] < 70
    assert 180 < peak["reference"] < 230


def test_peak_memory_counts_what_freed_memory_could_serve():
    """The allocator keeps freed memory; a call that gets it needs it all the same."""
    pieces = [bytearray(100_000) for _ in range(700)]
    del pieces[:-1]  # the last one keeps the others' room from being given back
    assert 40 < peak_mb(lambda: bytearray(50_000_000)) < 70


def test_growth_ends_with_a_line_a_size(script):
    out = script("benchmarks/scale.py --regions 400 800 --active_method d2ada ReDAL")
    header, *lines = (line.split() for line in out.splitlines()[:5])
    assert header == ["active_method", "regions", "select_s", "us_per_region", "peak_mb"]
    sizes = ("400", "800")
    assert [line[:2] for line in lines] == [[m, n] for m in ("d2ada", "ReDAL") for n in sizes]


def test_fits_of_some_source_regions_are_compared_with_those_of_all(script):
    out = script("benchmarks/source_regions.py --regions 20000 --max_source_regions 99999 20")
    regions, _, *rest = out.splitlines()
    assert regions == "17880 source and 2120 target regions, 21 taken"
    lines = (line.split() for line in rest)
    same = {(count, seed): float(share) for count, seed, _, share in lines}
    assert same["all", "0"] == same["99999", "0"] == 100
    assert same["20", "0"] < 100

"""experiments/report.py and regions.py: their numbers against the run's files, and the page."""

import csv
import dataclasses
import json
import logging
import pickle
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_ADA
from annotation.package import Package
from dataloader.dataset_info import load_dataset
from dataloader.item import Item
from experiments.reporting import page
from experiments.reporting.chosen import ASKED, LABELLED, ChosenRegion, Selection
from experiments.reporting.numbers import class_pixels
from tests.experiment import ROUNDS, flags, load
from utils.metrics import ConfusionMatrix

INFO = load_dataset("cityscapes")


class Links(HTMLParser):
    """Every address that a page names."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "poster")]


def copied(experiment: Path, to: Path, *names: str) -> Path:
    """A folder with some of the experiment's files."""
    for name in names:
        for path in experiment.glob(name):
            target = to / path.relative_to(experiment)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return to


FILES = ("*.json", "*.jsonl", "*.pkl", "AL_record/*")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(entry: tuple) -> np.ndarray:
    """The train ids of a selected region, read the plain way."""
    _, paths, region = entry
    _, label, superpixel = paths.split(",")
    inside = np.asarray(Image.open(superpixel)) == region
    return INFO.train_ids(np.asarray(Image.open(label)))[inside]


def entries(experiment: Path) -> list[tuple[int, str, tuple]]:
    """(round, strategy, entry of its selection file) of all selected regions, in order."""
    return [
        (n, strategy, entry)
        for n in range(ROUNDS)
        for strategy in ("density", "softmax_entropy")
        for entry in load(experiment / f"{strategy}_selection_{n:02d}.pkl")
    ]


@pytest.fixture(scope="module")
def report(script, experiment, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "report"
    script(f"experiments/report.py -p {experiment} --out {out}")
    return out


def test_a_row_tells_what_a_region_is(script, experiment, tmp_path):
    lists = f"{experiment}/datalist_00.pkl {experiment}/datalist_01.pkl"
    script(f"experiments/regions.py {lists} --csv {tmp_path}/regions.csv")
    rows, selected = rows_of(tmp_path / "regions.csv"), entries(experiment)
    assert len(rows) == len(selected)
    features = experiment / "features"
    for row, (n, strategy, entry) in zip(rows, selected, strict=True):
        score, paths, region = entry
        classes = Counter(pixels_of(entry).tolist())
        void, pixels = classes.pop(255, 0), len(pixels_of(entry))
        assert (int(row["round"]), row["strategy"]) == (n, strategy)
        assert float(row["score"]) == score and int(row["region"]) == region
        assert paths.split(",")[0].endswith("/" + row["image"])
        assert (int(row["pixels"]), int(row["void_pixels"])) == (pixels, void)
        best = {INFO.class_names[c] for c, k in classes.items() if k == max(classes.values())}
        assert row["label_class"] in (best or {""})
    # predicted classes and ranks, from the features that the run kept
    for n in range(ROUNDS):
        prob = np.load(features / f"round{n:02d}_target_prob.npy")
        predicted = Counter(INFO.class_names[c] for c in prob.argmax(1))
        for strategy in ("density", "softmax_entropy"):
            of = [r for r in rows if (int(r["round"]), r["strategy"]) == (n, strategy)]
            seen: Counter = Counter()
            for row in of:
                seen[row["predicted_class"]] += 1
                assert int(row["rank"]) == seen[row["predicted_class"]]
                assert int(row["regions_in_class"]) <= predicted[row["predicted_class"]]
            if n == 0 and strategy == "density":
                for row in of:
                    assert int(row["regions_in_class"]) == predicted[row["predicted_class"]]


def test_datalists_of_the_release_are_read(script, experiment, toy_city, tmp_path):
    """Paths as the release gave them, relative to where it ran; nothing but pickles beside."""
    root = f"{toy_city}/Cityscapes"

    def moved(value):
        if isinstance(value, str):
            return value.replace(root, "./data/Cityscapes")
        if isinstance(value, dict):
            return {moved(k): moved(v) for k, v in value.items()}
        return type(value)(map(moved, value)) if isinstance(value, (list, tuple)) else value

    for path in experiment.glob("*.pkl"):
        (tmp_path / path.name).write_bytes(pickle.dumps(moved(load(path))))
    for name, where in (
        ("a", f"--trg_data_dir {root}"),
        ("b", f"--relocate ./data/Cityscapes={root}"),
    ):
        script(f"experiments/regions.py {tmp_path}/datalist_01.pkl --csv {tmp_path}/{name} {where}")
    script(f"experiments/regions.py {experiment}/datalist_01.pkl --csv {tmp_path}/ours")
    unknown = {"predicted_class": "", "rank": "", "regions_in_class": ""}
    ours = [{**row, **unknown, "experiment": str(tmp_path)} for row in rows_of(tmp_path / "ours")]
    assert rows_of(tmp_path / "a") == ours
    for row in ours:  # --relocate leaves the data root as it was, so that paths are whole
        row["image"] = f"{root}/{row['image']}"
    assert rows_of(tmp_path / "b") == ours
    # without the data, what the pickles say is there, and that the rest is missing is said
    said = script(
        f"experiments/regions.py {tmp_path}/datalist_01.pkl --csv {tmp_path}/c "
        f"--trg_data_dir {tmp_path}"
    )
    assert "superpixel maps cannot be read" in said and "--relocate" in said
    gone = rows_of(tmp_path / "c")
    assert [r["score"] for r in gone] == [r["score"] for r in ours]
    assert {r["pixels"] for r in gone} == {""}
    # rounds are told by the datalists where there is no selection file
    for path in tmp_path.glob("*_selection_*.pkl"):
        path.unlink()
    script(
        f"experiments/regions.py {tmp_path}/datalist_01.pkl --csv {tmp_path}/d "
        f"--trg_data_dir {root}"
    )
    by_round = Counter(r["round"] for r in rows_of(tmp_path / "d"))
    assert by_round == Counter(r["round"] for r in ours)
    (tmp_path / "datalist_00.pkl").unlink()
    script(
        f"experiments/regions.py {tmp_path}/datalist_01.pkl --csv {tmp_path}/d "
        f"--trg_data_dir {root}"
    )
    assert {r["round"] for r in rows_of(tmp_path / "d")} == {""}


def test_the_numbers_are_those_of_the_files(report, experiment, toy_city):
    (numbers,) = json.loads((report / "numbers.json").read_text())["experiments"]
    records = [
        json.loads((experiment / "AL_record" / f"round_{n:02d}.json").read_text())
        for n in range(ROUNDS + 1)
    ]
    assert [r["mIoU"] for r in numbers["rounds"]] == [r["mIoU"] for r in records]
    for name, change in numbers["IoU"]["classes"].items():
        first, last = records[0]["IoU"][name], records[-1]["IoU"][name]
        known = first is not None and last is not None
        assert change["change"] == (pytest.approx(last - first) if known else None)

    chosen = Counter()
    void, pixels = Counter(), Counter()
    for n, strategy, entry in entries(experiment):
        values = pixels_of(entry)
        chosen.update(values.tolist())
        void[n, strategy] += int((values == 255).sum())
        pixels[n, strategy] += len(values)
    target = Counter()
    for path in (toy_city / "Cityscapes" / "gtFine" / "train").rglob("*_labelIds.png"):
        target.update(INFO.train_ids(np.asarray(Image.open(path))).ravel().tolist())
    for key, counts in (("chosen", chosen), ("target", target)):
        named = numbers["pixels_by_class"][key]
        assert list(named.values()) == [counts[c] for c in [*range(19), 255]]
    for row in numbers["selections"]:
        key = row["round"], row["strategy"]
        assert row["pixels"] == row["counted_pixels"] == pixels[key]
        assert row["void_pixels"] == void[key]

    matrix = ConfusionMatrix(19)
    matrix.counts[:] = numbers["confusion"]["counts"]
    assert 100 * matrix.mean_iou() == pytest.approx(records[-1]["mIoU"])
    seconds = [stage["seconds"] for stage in numbers["stages"]]
    assert seconds == sorted(seconds, reverse=True)
    assert numbers["settings"]["train_ADA"]["active_method"] == "d2ada"


def test_the_page_opens_from_disk(report):
    text = (report / "index.html").read_text()
    links = Links(text).found
    assert len(links) > 20
    for link in links:
        assert not re.match(r"[a-z]+:|//", link)
        assert link.startswith("#") or (report / link).is_file(), link
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert "http" not in text and "@import" not in text
    assert all(re.search(r'alt="[^"]{10,}"', tag) for tag in re.findall("<img[^>]*>", text))
    for path in report.rglob("*.*"):
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as picture:
                assert np.asarray(picture.convert("L")).std() > 3, path
    size = sum(path.stat().st_size for path in report.rglob("*"))
    assert size / (ROUNDS + 1) < 2_000_000
    for n in range(ROUNDS):
        assert f"<strong>Round {n}</strong>" in text
    assert re.search(r"density, d\(z\) [-\d.e+]+; predicted \w+, number 1 of \d+", text)


def test_predictions_are_counted_of_the_regions_that_labels_are():
    """Of those answered while others are asked for; of all before any answer."""
    item = Item("image", "", "map")
    asked = ChosenRegion(item, "image", 1, ASKED, Selection(1), "road", 30)
    answer = np.array([5, 15, 0])
    answered = ChosenRegion(
        item, "image", 2, LABELLED, Selection(0), "car", 20, "car", by_class=answer
    )
    names = ["road", "car"]
    labels = {"road": 5, "car": 15, "void": 0}
    assert class_pixels([answered, asked], names, None) == (labels, None, {"car": 20})
    assert class_pixels([asked], names, None) == (None, None, {"road": 30})
    of_the_release = dataclasses.replace(answered, predicted=None, region=3)
    twice = {"road": 10, "car": 30, "void": 0}
    assert class_pixels([answered, of_the_release], names, None) == (twice, None, None)
    chosen, *_ = class_pixels([answered], ["void", "car"], None)
    assert chosen == {"void": 5, "car": 15, "void_": 0}


def test_several_experiments_of_any_kind(script, experiment, report, toy_city, tmp_path):
    """A warm-up alone, a run in progress, people who have not answered, and data that is gone."""
    warm = copied(experiment, tmp_path / "warm", "warmup_settings.json", "metrics.jsonl")
    lines = (warm / "metrics.jsonl").read_text().splitlines()
    (warm / "metrics.jsonl").write_text("\n".join(x for x in lines if '"round": null' in x))
    going = copied(experiment, tmp_path / "going" / "exp", *FILES)
    for path in ("AL_record/round_02.json", "datalist_01.pkl", "AL_record/round_01.json"):
        (going / path).unlink()
    people = copied(experiment, tmp_path / "people" / "exp", *FILES)
    for name in ("AL_record/round_01.json", "AL_record/round_02.json", "datalist_01.pkl"):
        (people / name).unlink()
    settings = json.loads((people / "train_ADA_settings.json").read_text())
    settings["flags"]["oracle"] = "people"
    (people / "train_ADA_settings.json").write_text(json.dumps(settings))
    datalist = load(people / "datalist_00.pkl")
    datalist["trg_asked_suppix"] = datalist["trg_label_suppix"]
    datalist["trg_label_suppix"] = {}
    (people / "datalist_00.pkl").write_bytes(pickle.dumps(datalist))
    (people / "metrics.jsonl").unlink()
    package = people / "annotation" / "round_00"
    where = f"--trg_data_dir {toy_city}/Cityscapes --format coco --no-prefill --round 0"
    script(f"annotation/export.py -p {experiment} {where} --out {package}")

    out = tmp_path / "out"
    folders = f"{warm} {going} {people}"
    script(f"experiments/report.py -p {folders} --out {out} --images 1")
    one, two, three = json.loads((out / "numbers.json").read_text())["experiments"]
    assert [n["name"] for n in (one, two, three)] == [
        f"{tmp_path.name}/warm",
        "going/exp",
        "people/exp",
    ]
    assert "No round is done yet" in one["state"] and one["confusion"]["round"] is None
    assert two["state"] == "Round 0 is done, of 2. Round 1 has reached iteration 6."
    assert "People are asked" in three["state"]
    assert three["pixels_by_class"]["chosen"] is None and three["pixels_by_class"]["predicted"]
    text = (out / "index.html").read_text()
    assert "not answered yet" in text and "≠ oracle" in text
    name, listed = re.search(
        r"; (\S+) in the labelling package</p>\s*<ol>(.*?)</ol>", text, re.DOTALL
    ).groups()
    numbers = re.findall(r"<b>(\d+)</b>.*; ([\d,]+) px", listed)
    (asked,) = [image for image in Package.load(package).images if image.name == name]
    assert [(int(n), int(px.replace(",", ""))) for n, px in numbers] == [
        (region.number, region.pixels) for region in asked.regions
    ]
    assert all(link.startswith("#") or (out / link).is_file() for link in Links(text).found)

    # labels that are gone: no classes, everything else, and it is said; the old report is replaced
    blind = shutil.copytree(toy_city / "Cityscapes", tmp_path / "blind")
    shutil.rmtree(blind / "gtFine")
    moved = f"--relocate {toy_city}/Cityscapes={blind}"
    said = script(f"experiments/report.py -p {going} --out {out} --images 1 {moved}")
    assert "labels cannot be read" in said
    (numbers,) = json.loads((out / "numbers.json").read_text())["experiments"]
    assert numbers["pixels_by_class"]["chosen"] is None
    assert not (out / "run2").exists() and list((out / "run1").glob("*.jpg"))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("report.py -p {tmp}/none --out {tmp}/r", "none: no such folder"),
        ("report.py -p {tmp}/empty --out {tmp}/r", "empty: holds no run"),
        ("report.py -p {exp} {exp}/. --out {tmp}/r", "is given twice"),
        ("report.py -p {exp} --out {exp}", "holds the experiment"),
        ("report.py -p {exp} --out {tmp}", "which is no part of a report"),
        ("report.py -p {exp} --out {tmp}/file", "is no folder"),
        ("report.py -p {exp} --out {tmp}/r --trg_dataset nowhere", "'nowhere' is unknown"),
        ("report.py -p {tmp}/damaged --out {tmp}/r", "round_00.json: is damaged"),
        ("report.py -p {tmp}/metrics --out {tmp}/r", "metrics.jsonl: a line is damaged"),
        ("regions.py {tmp}/no.pkl --csv {tmp}/x.csv", "no.pkl: no such file"),
        ("regions.py {tmp}/file --csv {tmp}/x.csv", "file: "),
        ("regions.py {exp}/density_selection_00.pkl --csv {tmp}/x.csv", "not a datalist"),
    ],
)
def test_bad_input_is_one_line(script, experiment, tmp_path, command, line):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("nothing")
    for name, text in (
        ("damaged/AL_record/round_00.json", '{"round": 0}'),
        ("metrics/metrics.jsonl", '{"kind": "stage", "name": "x"}\n'),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert line in script(f"experiments/{command.format(exp=experiment, tmp=tmp_path)}", fails=True)
    assert not (tmp_path / "r").exists()


def test_a_round_writes_its_report_and_no_fault_in_it_ends_the_run(
    script, experiment, toy_city, tmp_path, monkeypatch, caplog
):
    run = f"train_ADA.py {flags(toy_city)} --init_checkpoint {experiment}/checkpoint.tar --report"
    script(f"{run} -p {tmp_path}/a --max_iterations 0")
    assert (tmp_path / "a" / "report" / "index.html").is_file()

    (tmp_path / "b" / "report").mkdir(parents=True)
    (tmp_path / "b" / "report" / "mine.txt").write_text("keep")
    said = script(f"{run} -p {tmp_path}/b --max_iterations 0")
    assert "mine.txt, which is no part of a report" in said and "done: rounds 0 to 0" in said
    assert [path.name for path in (tmp_path / "b" / "report").iterdir()] == ["mine.txt"]
    assert (tmp_path / "b" / "AL_record" / "round_00.json").is_file()

    def fail(*_):
        raise ZeroDivisionError("anything")

    monkeypatch.setattr(page, "fill", fail)
    args = train_ADA.parser().parse_args(["-p", str(tmp_path / "a"), "--init_checkpoint", "x"])
    with caplog.at_level(logging.WARNING):
        train_ADA.report(args)
    assert "could not be written, the run goes on: ZeroDivisionError('anything')" in caplog.text
    assert (tmp_path / "a" / "report" / "index.html").is_file()
    assert not list((tmp_path / "a").glob(".report*"))

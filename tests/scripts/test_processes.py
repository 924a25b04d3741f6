"""Each script once as a process: one line and exit code 2 for bad input, 0 for a good run.

Good runs of warmup.py and train_ADA.py are in test_resume.py, and one of toy_city.py in
test_toy_city.py.
"""

import shutil

import pytest

from tests.experiment import NETWORK

BAD = {
    "warmup.py": "--src_data_dir nowhere",
    "train_ADA.py": "--init_checkpoint nowhere.tar",
    "inference.py": "--trained_model_path nowhere.tar",
    "evaluation.py": "--pred_dir x --root_dir nowhere",
    "data_preprocessing/toy_city.py": "--root x --size 1 1",
    "data_preprocessing/superpixel_gen.py": "--datadir nowhere",
    "data_preprocessing/make_datalist.py": "--datadir nowhere",
    "data_preprocessing/edge_detection.py": "--datadir nowhere",
    "experiments/run.py": "--config nowhere.json --data x",
    "experiments/plot.py": "--config nowhere.json --data x",
    "experiments/pictures.py": "compare --datadir nowhere --pred_dir x --out x.png",
}


STARTED_ANEW_BY_OTHER_TESTS = ("warmup.py", "train_ADA.py", "inference.py")  # imports take long


@pytest.mark.parametrize("name", BAD)
def test_bad_input(script, name):
    """The same line as from a call in this process."""
    command, forked = f"{name} {BAD[name]}", name in STARTED_ANEW_BY_OTHER_TESTS
    line = script(command, fails=True, process=not forked, forked=forked)
    assert line == script(command, fails=True)


def test_prediction_and_evaluation(script, experiment, toy_city, tmp_path):
    checkpoint, city = experiment / "checkpoint02.tar", toy_city / "Cityscapes"
    out = script(
        f"inference.py {NETWORK} --trained_model_path {checkpoint} --val_data_dir {city} "
        f"--save_dir {tmp_path}",
        process=True,
    )
    assert f"3 predictions in {tmp_path}" in out
    out = script(f"evaluation.py --root_dir {city} --pred_dir {tmp_path}", process=True)
    assert "mIoU" in out


def test_preparation_of_data(script, toy_city, tmp_path):
    city = shutil.copytree(toy_city / "Cityscapes", tmp_path / "city")
    for name in ("make_datalist", "superpixel_gen", "edge_detection"):
        more = f"--out {city}/copy.txt" if name == "make_datalist" else "--workers 2"
        script(
            f"data_preprocessing/{name}.py --dataset cityscapes --datadir {city} {more}",
            process=True,
        )
    assert len(list((city / "edge").rglob("*.png"))) == 6

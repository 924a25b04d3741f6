"""One experiment, run once for the tests of the scripts that look at it or go on from it."""

from pathlib import Path

import pytest

from tests.experiment import ROUNDS, SIZE, flags


@pytest.fixture(scope="session")
def experiment(script, toy_city, tmp_path_factory) -> Path:
    """UDA warm-up and rounds 0 to 2."""
    folder = tmp_path_factory.mktemp("exp")
    script(
        f"warmup.py -p {folder} {flags(toy_city)} --backbone_weights none --total_itrs 6 "
        "--ramp_itrs 2 --val_period 4 --train_lr 1e-2"
    )
    script(
        f"train_ADA.py -p {folder} {flags(toy_city)} --init_checkpoint {folder}/checkpoint.tar "
        f"--max_iterations {ROUNDS} --finetune_itrs 6 --val_period 5 --finetune_lr 5e-3 "
        f"--active_selection_size {SIZE} --keep_features"
    )
    return folder

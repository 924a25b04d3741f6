"""Flags that are given and not read are told of; those that are read are not."""

import re

import pytest

import inference
import train_ADA
import warmup
from utils.unused_flags import RULES, warn_of_unused_flags

SCRIPTS = {"warmup": warmup, "train_ADA": train_ADA, "inference": inference}
NEEDED = {
    "warmup": "-p x",
    "train_ADA": "-p x --init_checkpoint y",
    "inference": "--trained_model_path y",
}


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        ("warmup", "--focal_gamma 1 --train_lr_D 1 --backbone_weights none", ["focal_gamma"]),
        ("warmup", "--focal_gamma 1 --loss_type focal_loss", []),
        ("warmup", "--train_lr_D 1 --warmup sup_warmup", ["train_lr_D"]),
        ("warmup", "--backbone_weights none --init_checkpoint z", ["backbone_weights"]),
        (
            "train_ADA",
            "--total_itrs 4 --finetune_itrs 4 --train_lr_D 1",
            ["total_itrs", "train_lr_D"],
        ),
        ("train_ADA", "--alpha 1 --beta 1 --components 2 --no-class_balance", []),
        ("train_ADA", "--active_method density --alpha 1 --components 2", ["alpha"]),
        ("train_ADA", "--active_method BADGE --covariance oas", ["covariance"]),
        ("inference", "--val_datalist a.txt --val_data_dir b", []),
        ("inference", "--val_datalist a.txt --image_dir b", ["val_datalist"]),
        ("inference", "--val_data_dir a --image_dir b --val_dataset c", ["val_data_dir"]),
    ],
)
def test_what_has_no_effect_is_told(script, words, told, caplog):
    parser = SCRIPTS[script].parser()
    argv = f"{NEEDED[script]} {words}".split()
    warn_of_unused_flags(script, parser.parse_args(argv), parser.meant(argv))
    assert [record.args[0] for record in caplog.records] == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--backbone_weights none --total_itrs 200 --ramp_itrs 5", "--no-freeze_bn"),
        ("--backbone_weights none --no-freeze_bn --total_itrs 5000", None),
        ("--init_checkpoint z --backbone_weights none --total_itrs 5000", None),
        ("--total_itrs 200", "--ramp_itrs 5000: .* reach 1.1 % of --train_lr"),
        ("--train_lr 9e-7", "--train_lr 9e-07: is below .* counts as 1e-06"),
        ("--train_lr_D 9e-7", "--train_lr_D 9e-07: is below"),
        ("--train_lr 1e-6 --train_lr_D 9e-7 --warmup sup_warmup", None),
    ],
)
def test_warm_ups_that_cannot_learn_much_are_told(words, told, caplog):
    warmup.warn_of_start(warmup.parser().parse_args(words.split()))
    assert bool(caplog.text) is bool(told)
    assert re.search(told or "", caplog.text)


def test_rules_name_flags_of_their_script():
    for script, rules in RULES.items():
        parser = SCRIPTS[script].parser()
        known = vars(parser.parse_args(NEEDED[script].split()))
        assert all(flag in known for rule in rules for flag in rule.flags)

"""Command lines of the published release parse to the same values."""

import pytest
import torch

import evaluation
import inference
import train_ADA
import warmup
from data_preprocessing import superpixel_gen
from utils.parser import move
from utils.runtime import Runtime

SHARED = {
    "model_save_dir": "test",
    "model": "deeplabv3plus_resnet101",
    "separable_conv": False,
    "output_stride": 16,
    "freeze_bn": True,
    "src_dataset": "GTA5",
    "src_data_dir": "./data/GTA5",
    "src_datalist": None,
    "trg_dataset": "cityscapes",
    "trg_data_dir": "./data/Cityscapes",
    "trg_datalist": None,
    "val_dataset": "cityscapes",
    "val_data_dir": "./data/Cityscapes",
    "val_datalist": None,
    "ignore_idx": 255,
    "train_batch_size": 1,
    "val_batch_size": 4,
    "weight_decay": 5e-4,
    "total_itrs": 100_000,
    "val_period": 1000,
    "train_lr": 2.5e-4,
    "loss_type": "cross_entropy",
    "train_lr_D": 2.5e-4,
}
ACTIVE = {
    "active_mode": "region",
    "save_feat_dir": None,
    "datalist_path": None,
    "finetune_itrs": 120_000,
    "finetune_lr": 2.5e-4,
    "init_iteration": 0,
    "max_iterations": 5,
    "active_selection_size": 29,
    "alpha": 1.0,
    "beta": 1.0,
}


@pytest.mark.parametrize(
    ("script", "required", "defaults"),
    [
        (warmup, [], SHARED | {"warmup": "uda_warmup"}),
        (train_ADA, ["--init_checkpoint", "x"], SHARED | ACTIVE | {"init_checkpoint": "x"}),
        (
            inference,
            ["--trained_model_path", "x"],
            {
                "model": "deeplabv2_resnet101",
                "separable_conv": False,
                "output_stride": 16,
                "val_data_dir": "./data/Cityscapes",
                "val_datalist": None,
                "save_dir": "result",
            },
        ),
        (
            evaluation,
            ["--pred_dir", "x"],
            {
                "root_dir": "data/Cityscapes",
                "val_datalist_dir": "dataloader/init_data/cityscapes",
            },
        ),
        (superpixel_gen, ["--dataset", "GTA5", "--datadir", "x"], {"num_segments": 40}),
    ],
)
def test_published_defaults(script, required, defaults):
    flags = vars(script.parser().parse_args(required))
    for name, value in defaults.items():
        assert flags[name] == value or str(flags[name]) == value, name


def test_deterministic_asks_torch_for_kernels_that_repeat(monkeypatch):
    was = torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        for flags, wanted in (([], was), (["--deterministic"], True)):
            Runtime.from_args(warmup.parser().parse_args(["--device", "cpu", *flags]))
            assert torch.are_deterministic_algorithms_enabled() == wanted
            assert torch.backends.cudnn.benchmark == (not flags)  # trying kernels does not repeat
    finally:
        torch.use_deterministic_algorithms(was)


def test_relocation_takes_folders():
    assert move("/theirs/=/mine/") == ("/theirs", "/mine")

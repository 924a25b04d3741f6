"""What a machine has too little of is told in one line that names what helps."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data_preprocessing import superpixel_gen
from dataloader import images
from utils.errors import run
from utils.files import write_png
from utils.resources import resource_problem

CPU_FULL = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 1207959552 bytes. Error code 12 (Cannot allocate memory)"
)
GPU_FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
SHARED = (
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
    "last):\n  ...\nRuntimeError: unable to write to file </torch_12_34_0>: No space left on device"
)


FLAGS = {"--image_size", "--train_batch_size", "--val_batch_size", "--num_workers", "--amp"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError(GPU_FULL), ["GPU", "2.00 GiB", "--image_size", "--amp"]),
        (RuntimeError(CPU_FULL), ["machine is full", "1207959552 bytes", "--train_batch_size"]),
        (MemoryError(), ["machine is full", "--val_batch_size"]),
        (MemoryError("Unable to allocate 4.0 GiB for an array"), ["machine is full", "4.0 GiB"]),
        (RuntimeError("std::bad_alloc"), ["machine is full"]),
        (RuntimeError("could not create a primitive"), ["machine is full"]),
        (RuntimeError(SHARED), ["/dev/shm", "--num_workers 0"]),
        (RuntimeError("DataLoader worker is killed by signal: Bus error."), ["/dev/shm"]),
        (OSError(errno.EMFILE, "Too many open files"), ["open files", "--num_workers 0"]),
        (RuntimeError("received 0 items of ancdata"), ["open files"]),
        (RuntimeError("can't start new thread"), ["threads", "--num_workers 0"]),
        (OSError("AF_UNIX path too long"), ["TMPDIR", "--num_workers 0"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["machine is full"]),
    ],
)
def test_each_kind_names_what_helps(error, words):
    line = resource_problem(error, FLAGS | {"--resume"})
    assert "\n" not in line
    assert all(word in line for word in words)
    assert "--resume" in line
    assert "--device" not in line


@pytest.mark.parametrize(
    "error", [ValueError("Too many open files"), RuntimeError("sizes differ"), OSError("no")]
)
def test_other_errors_are_not_explained_away(error):
    assert resource_problem(error) is None


def full(*_):
    raise OSError(errno.EMFILE, "Too many open files")


def test_only_flags_of_the_script_are_named_and_full_machines_are_no_damaged_files(
    monkeypatch, tmp_path, capsys
):
    """superpixel_gen.py has other flags than training; the image itself needs no replacing."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "1.png", np.zeros((8, 8), np.uint8))
    command = f"superpixel_gen.py --dataset GTA5 --datadir {tmp_path} --workers 1"
    monkeypatch.setattr(sys, "argv", command.split())
    for module, name in ((images, "open_image"), (Path, "replace")):
        with monkeypatch.context() as context:
            context.setattr(module, name, full)
            with pytest.raises(SystemExit) as end:
                run(superpixel_gen.main, superpixel_gen.parser)
        assert end.value.code == 2
        assert capsys.readouterr().err == (
            "error: too many open files; use --workers 1 or a higher limit (ulimit -n)\n"
        )


def test_half_made_objects_do_not_complain_after_the_error_line(capfd):
    code = (
        "import utils.errors\n"
        "class Half:\n"
        "    def __del__(self): raise AttributeError('no workers yet')\n"
        "def main():\n"
        "    half = Half()\n"
        "    raise MemoryError\n"
        "utils.errors.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the memory of the machine is full; use a machine with more memory\n",
    )

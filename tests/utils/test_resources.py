"""What a machine has too little of is told in one line that names what helps."""

import errno

import pytest
import torch

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
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["machine is full"]),
    ],
)
def test_each_kind_names_what_helps(error, words):
    line = resource_problem(error)
    assert "\n" not in line
    assert all(word in line for word in words)
    assert "--resume" in line


@pytest.mark.parametrize(
    "error", [ValueError("Too many open files"), RuntimeError("sizes differ"), OSError("no")]
)
def test_other_errors_are_not_explained_away(error):
    assert resource_problem(error) is None

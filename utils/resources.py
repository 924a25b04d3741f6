"""Too little memory, shared memory, descriptors or threads: what it was, and which flags help."""

import errno
import re

SMALLER = "a smaller --image_size, --train_batch_size or --val_batch_size"
PROBLEMS = (
    (
        r"unable to open shared memory|unable to write to file </torch|unable to mmap|"
        r"unable to allocate shared memory|shm_open|out of shared memory|[Bb]us error",
        "the shared memory of data workers (/dev/shm) is full or cannot be used; use "
        "--num_workers 0, or enlarge it (in a container: --shm-size)",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory|MPS backend out of memory|"
        r"CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED",
        f"the memory of the GPU is full; use {SMALLER}, or --amp bf16",
    ),
    (
        r"DefaultCPUAllocator|can't allocate memory|[Cc]annot allocate memory|bad_alloc|"
        r"[Uu]nable to allocate|could not create a primitive|could not create a memory|"
        r"Insufficient memory|Failed to allocate",
        f"the memory of the machine is full; use {SMALLER}, or fewer --num_workers",
    ),
    (
        r"Too many open files|ancdata",
        "too many open files; use --num_workers 0, or raise the limit (ulimit -n)",
    ),
    (
        r"AF_UNIX path too long",
        "the path of temporary files is too long for the sockets of workers; set TMPDIR to a "
        "shorter one, such as /tmp, or use --num_workers 0",
    ),
    (
        r"can't start new thread|Resource temporarily unavailable",
        "no more threads or processes can be started; use --num_workers 0, or raise the limit "
        "(ulimit -u)",
    ),
)
"""What the libraries' messages look like, and the line that is told instead."""
ERRNOS = {
    errno.ENOMEM: "Cannot allocate memory",
    errno.EMFILE: "Too many open files",
    errno.ENFILE: "Too many open files",
    errno.EAGAIN: "Resource temporarily unavailable",
}


def resource_problem(error: BaseException) -> str | None:
    """One line on what the machine has too little of; None where that is not why it failed.

    Args:
        error: that ended a script, or one that a data worker raised.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        text += " Cannot allocate memory"
    if isinstance(error, OSError):
        text += " " + ERRNOS.get(error.errno, "")
    elif not isinstance(error, (MemoryError, RuntimeError)) and type(error).__name__ != "error":
        return None  # cv2.error is a kind of its own
    for pattern, line in PROBLEMS:
        if re.search(pattern, text):
            wanted = re.search(r"(?:[Tt]ried to allocate|allocate:?) ([\d.]+ ?\w+)", text)
            what = f" ({wanted[1]} more were asked for)" if wanted else ""
            first, _, remedy = line.partition("; ")
            return f"{first}{what}; {remedy}. A run that saved its state goes on with --resume"
    return None

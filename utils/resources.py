"""Too little memory, shared memory, descriptors or threads: what it was, and which flags help."""

import errno
import re
from collections.abc import Collection

from utils.resume_flags import MAY_DIFFER

SMALLER = (
    ("--image_size", "a smaller --image_size"),
    ("--train_batch_size", "a smaller --train_batch_size"),
    ("--val_batch_size", "a smaller --val_batch_size"),
)
NO_WORKERS = (("--num_workers", "--num_workers 0"), ("--workers", "--workers 1"))
Remedies = tuple[tuple[str, str], ...]
PROBLEMS: tuple[tuple[str, str, Remedies], ...] = (
    (
        r"unable to open shared memory|unable to write to file </torch|unable to mmap|"
        r"unable to allocate shared memory|shm_open|out of shared memory|[Bb]us error|"
        r"creating shared memory segment",
        "the shared memory of data workers (/dev/shm) is full or cannot be used",
        (*NO_WORKERS, ("", "more of it (in a container: --shm-size)")),
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory|Cuda failure.*out of memory|"
        r"MPS backend out of memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED",
        "the memory of the GPU is full",
        (*SMALLER, ("--amp", "--amp bf16"), ("--device", "--device cpu")),
    ),
    (
        r"DefaultCPUAllocator|can't allocate memory|[Cc]annot allocate memory|bad_alloc|"
        r"[Uu]nable to allocate|could not create a primitive|could not create a memory|"
        r"Insufficient memory|Failed to allocate",
        "the memory of the machine is full",
        (
            *SMALLER,
            ("--num_workers", "fewer --num_workers"),
            ("--workers", "fewer --workers"),
            ("", "a machine with more memory"),
        ),
    ),
    (
        r"Too many open files|ancdata",
        "too many open files",
        (*NO_WORKERS, ("", "a higher limit (ulimit -n)")),
    ),
    (
        r"AF_UNIX path too long",
        "the path of temporary files is too long for the sockets of workers",
        (*NO_WORKERS, ("", "a shorter TMPDIR, such as /tmp")),
    ),
    (
        r"can't start new thread|Resource temporarily unavailable",
        "no more threads or processes can be started",
        (*NO_WORKERS, ("", "a higher limit (ulimit -u)")),
    ),
)
"""What the libraries' messages look like, the line that is told instead, and what helps: a flag
of the script, or "" where none is needed, and the words for it."""
ERRNOS = {
    errno.ENOMEM: "Cannot allocate memory",
    errno.EMFILE: "Too many open files",
    errno.ENFILE: "Too many open files",
    errno.EAGAIN: "Resource temporarily unavailable",
}


def resource_problem(error: BaseException, flags: Collection[str] = ()) -> str | None:
    """One line on what the machine has too little of; None where that is not why it failed.

    Args:
        error: that ended a script, or one that a data worker raised.
        flags: those of the script, such as "--image_size"; no others are named.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        text += " Cannot allocate memory"
    if isinstance(error, OSError):
        text += " " + ERRNOS.get(error.errno, "")
    elif not isinstance(error, (MemoryError, RuntimeError)) and type(error).__name__ != "error":
        return None  # cv2.error is a kind of its own
    for pattern, problem, remedies in PROBLEMS:
        if re.search(pattern, text):
            wanted = re.search(r"(?:[Tt]ried to allocate|allocate:?) ([\d.]+ ?\w+)", text)
            what = f" ({wanted[1]} more were asked for)" if wanted else ""
            named = [(flag, words) for flag, words in remedies if not flag or flag in flags]
            if not named:
                return f"{problem}{what}"
            *others, last = (words for _, words in named)
            use = f"{', '.join(others)} or {last}" if others else last
            resume = ". A run that saved its state goes on with --resume"
            free = [flag for flag, _ in named if flag.removeprefix("--") in MAY_DIFFER]
            if 0 < len(free) < len(named):
                resume += f"; of these, {' and '.join(free)} may differ then"
            return f"{problem}{what}; use {use}{resume if '--resume' in flags else ''}"
    return None

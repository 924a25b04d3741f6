"""Whether the ranks of a job, which may run on several machines, see the same files."""

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from dataloader.item import Item
from utils.distributed import World
from utils.errors import UserError, shown

log = logging.getLogger(__name__)


def check_same_images(items: Sequence[Item], world: World) -> None:
    """Compare the sizes of image files.

    Raises:
        UserError: names the first image that is missing or another one on a rank.
    """
    if world.size == 1:
        return
    other = world.first_other([_size(item.image) for item in items])
    if other is None:
        return
    rank, theirs, ours = other
    item, size = next((i, t) for i, t, o in zip(items, theirs, ours, strict=True) if t != o)
    if size is None:
        raise UserError(
            f"{shown(item.image)}: is missing on rank {rank}; all machines need all images"
        )
    raise UserError(
        f"{shown(item.image)}: is another file on rank {rank} than on rank 0; all machines need "
        "the same images"
    )


def warn_of_other_folders(flag: str, file: Path, world: World) -> None:
    """Warn of ranks that do not see a file of rank 0, since what they write beside it stays there.

    Args:
        flag: that names the folder.
        file: that rank 0 has just written; it is opened, since to look at it might not ask a file
            server.
        world: the ranks.
    """
    world.barrier()
    first, *others = world.gather((_version(file), socket.gethostname()))
    for rank, (version, host) in enumerate(others, 1):
        if version != first[0]:
            message = "%s %s: is not shared; the files of rank %d stay on %s"
            log.warning(message, flag, file.parent, rank, host)


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _version(path: Path) -> tuple[int, int] | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

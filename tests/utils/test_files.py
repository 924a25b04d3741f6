"""Files are whole or absent, links are not followed, and a folder is one process's."""

import errno
import os
import secrets
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils import files
from utils.errors import UserError
from utils.files import (
    atomic_write,
    copy_file,
    locked_file,
    locked_folder,
    read_json,
    recover_folder,
    remove_temporaries,
    replace_folder,
    write_json,
    write_npz,
    write_png,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["b.txt"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail(error: BaseException):
        with atomic_write(path) as file:
            file.write(b"new")
            raise error

    for error in (KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)):
            fail(error)
    with pytest.raises(UserError, match=r"b\.txt: cannot be written \(No space left"):
        fail(OSError(28, "No space left on device"))
    with pytest.raises(UserError, match=r"\(Read-only file system\); .*a folder of links to"):
        fail(OSError(30, "Read-only file system"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_planted_links_are_not_followed(tmp_path, monkeypatch):
    """Of the name of the temporary file, were it known, or of the file itself."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    path = tmp_path / "b.txt"
    path.symlink_to(mine)
    write_text(path, "new")
    assert mine.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "new"
    monkeypatch.setattr(secrets, "randbits", lambda _: 5)
    (tmp_path / ".b.txt.5.tmp").symlink_to(mine)
    with pytest.raises(UserError, match=r"b\.txt: cannot be written"):
        write_text(path, "newer")
    assert mine.read_text() == "mine"
    assert names(tmp_path) == ["b.txt", "mine.txt"]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, synced = tmp_path / "b.txt", []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append((os.fstat(file).st_size, path.exists()))
    )
    write_text(path, "new")
    assert synced == [(3, False)]


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path):
    """On two machines they may be processes of the same number."""
    path = tmp_path / "b.txt"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
    assert path.read_bytes() == b"first"


def test_a_lock_of_another_user_and_one_that_is_held(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = tmp_path / ".lock"
    with locked_file(path) as is_locked:
        assert is_locked
        with pytest.raises(UserError, match=r"\.lock: locked by another run for 0 s"):
            locked_file(path, seconds=0).__enter__()
    monkeypatch.setattr(files, "open_to_append", refuse)
    with locked_file(path) as is_locked:
        assert is_locked
    with pytest.raises(UserError, match=r"none: cannot be opened"):
        locked_file(tmp_path / "none").__enter__()


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/b\.txt: cannot be written"):
        write_text(tmp_path / "file" / "b.txt", "")
    (tmp_path / "b.txt").mkdir()
    for name in ("b.txt", "x" * 300):
        with pytest.raises(UserError, match=f"{name}: cannot be written"):
            write_text(tmp_path / name, "")
    assert names(tmp_path) == ["b.txt", "file"]


def test_temporaries_of_killed_processes_are_removed_here_alone(tmp_path):
    (tmp_path / "below").mkdir()
    gone = [tmp_path / ".a.json.12.tmp", tmp_path / ".b.12.tmp"]
    kept = [
        tmp_path / "below" / ".a.json.12.tmp",
        tmp_path / ".a.json.x.tmp",
        tmp_path / "a.json.12.tmp",
        tmp_path / ".a.json.12",
    ]
    for path in (*gone, *kept):
        path.touch()
    remove_temporaries(tmp_path)
    remove_temporaries(tmp_path / "none")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def hold(folder: str, connection) -> None:
    """In another process: keep a folder until told to end."""
    try:
        with locked_folder(folder, "-p"):
            connection.send("")
            connection.recv()
    except UserError as error:
        connection.send(error.line)


@pytest.fixture()
def holder(tmp_path):
    """A function that starts a process which keeps the folder; (process, connection, answer)."""
    context = get_context("forkserver")
    processes = []

    def start():
        ours, theirs = context.Pipe()
        process = context.Process(target=hold, args=(str(tmp_path), theirs))
        process.start()
        processes.append(process)
        return process, ours, ours.recv()

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_folder_is_kept_from_other_processes(tmp_path, holder):
    first, connection, refused = holder()
    assert not refused
    _, _, refused = holder()
    assert refused == f"-p {tmp_path}: another run is at work in it; wait for it to end"
    with pytest.raises(UserError, match="another run is at work"), locked_folder(tmp_path, "-p"):
        pass
    connection.send("end")
    first.join()
    with locked_folder(tmp_path, "-p"):
        _, _, refused = holder()
        assert refused
    second, _, refused = holder()
    assert not refused
    os.kill(second.pid, signal.SIGKILL)  # what it held is free
    second.join()
    with locked_folder(tmp_path, "-p"):
        pass


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"--save_feat_dir .*file: cannot be used"),
        locked_folder(tmp_path / "file", "--save_feat_dir"),
    ):
        pass


def test_written_values_come_back(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]}, indent=1)
    assert read_json(tmp_path / "a.json", "") == {"a": [1, None]}
    write_npz(tmp_path / "a.npz", x=np.arange(3))
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    copy_file(tmp_path / "a.json", tmp_path / "b" / "c.json")
    assert (tmp_path / "b" / "c.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_png(tmp_path / "a.png", pixels, note="a note")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["Comment"] == "a note"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[" * 100_000])
def test_json_that_cannot_be_read_is_one_line_with_its_remedy(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: cannot be read .*; make it again$"):
        read_json(tmp_path / "a.json", "make it again")


def test_a_folder_is_put_back_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where it is replaced, the old one may be half removed when the program is killed."""
    folder, new = tmp_path / "labels", tmp_path / "new"

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    for path, content in ((folder, "old"), (new, "new")):
        path.mkdir()
        (path / "file").write_text(content)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        replace_folder(folder, new)
    assert (folder / "file").read_text() == "new"
    shutil.rmtree(folder)
    recover_folder(folder)
    assert not list(tmp_path.iterdir())

    folder.mkdir()
    (folder / "file").write_text("old")
    folder.rename(tmp_path / ".labels.old")  # killed between the two renames
    recover_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]
    assert (folder / "file").read_text() == "old"

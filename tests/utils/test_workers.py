"""Workers import from the project alone, wherever a script is started, and end with it."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_preprocessing.each_image import map_images
from tests.processes import ROOT
from utils.errors import UserError
from utils.workers import worker_context

SCRIPT = f"""
import multiprocessing, os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from data_preprocessing.each_image import map_images

def work(item):
    import dataloader.datasets, signal, socket, struct
    print(os.getpid(), os.getcwd(), dataloader.datasets.__file__, flush=True)
    time.sleep(600)

def load():
    import torch
    from dataloader.loaders import evaluation_loader
    return iter(evaluation_loader([(0, torch.ones(1), None, None)] * 2, 1, 1))

if __name__ == "__main__":
    batches = load()
    print(next(batches))
    print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
    map_images(work, [1, 2], 2, "numbers")
"""


def test_workers_import_from_the_project_alone_and_end_with_a_killed_main_process(tmp_path):
    """Where the script starts lie another checkout, and files named as Python's modules."""
    path, folder, mark = (tmp_path / n for n in ("script/script.py", "elsewhere", "executed"))
    (folder / "dataloader").mkdir(parents=True)
    for name in ("signal", "socket", "struct", "multiprocessing", "torch", "cv2", "utils"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})")
    for name in ("__init__", "datasets"):
        (folder / "dataloader" / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('d')")
    path.parent.mkdir()
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, path], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    batch, loader, *others = (process.stdout.readline() for _ in range(4))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert batch == "([0], tensor([[1.]]), None, [None])\n"
    expected = [str(folder), str(ROOT / "dataloader" / "datasets.py")]
    assert [line.split()[1:] for line in others] == [expected] * 2
    assert not mark.exists()
    workers = [int(line.split()[0]) for line in (loader, *others)]
    deadline = time.monotonic() + 60
    while any(map(_is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_too_few_files_are_one_line(monkeypatch):
    """The flag that helps is one of the script."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    with pytest.raises(UserError, match=r"only 20 files .* --num_workers 0, or raise"):
        worker_context()
    with pytest.raises(UserError, match=r"only 20 files .*; use --workers 1, or raise"):
        map_images(print, [1, 2], 2, "numbers")


def test_the_working_directory_and_ctrl_c_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    assert worker_context().get_start_method() == "forkserver"
    assert Path.cwd() == tmp_path
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_that_ends_at_once_says_nothing_of_its_semaphores():
    """As a rank does when another one has died; the tracker of its resources removes them."""
    code = (
        "import os; from utils.workers import worker_context; "
        "semaphore = worker_context().Semaphore(); print(os.environ.get('PYTHONWARNINGS'), "
        "flush=True); os._exit(2)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "None\n", "")

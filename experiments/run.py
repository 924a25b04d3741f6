"""Run strategies x seeds of one task by the project's scripts; see experiments/config.py.

What is done is skipped, and what was stopped goes on: the same command continues.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.config import Run, add_config_arguments, config_of
from utils.common import POSITIVE_INT, Parser
from utils.errors import UserError, run
from utils.stopping import STOP

ROOT = Path(__file__).resolve().parents[1]


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    add_config_arguments(result)
    result.add_argument("--jobs", type=POSITIVE_INT, default=1, help="runs at a time")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    config = config_of(args)
    STOP.listen()
    for command in config.prepare:
        print(" ".join(command), flush=True)
        prepare(command)
    failed = run_all(config.runs(), args.jobs)
    if failed:
        raise UserError(f"{len(failed)} runs failed, the first {failed[0]}; see its console.txt")


def prepare(command: Sequence[str]) -> None:
    """Run one command to its end, unless asked to stop.

    Raises:
        UserError: it failed; its own error line is above.
    """
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    try:
        while process.poll() is None:
            STOP.check()
            time.sleep(0.05)
    finally:
        end([process])
    STOP.check()
    if process.returncode:
        raise UserError(f"{' '.join(command)}: failed; mend the config or the data")


def run_all(runs: Iterable[Run], jobs: int) -> list[Path]:
    """Run what is not done, ``jobs`` at a time; the folders of runs that failed.

    Asked to stop, it has the scripts save their states, and ends when they have.
    """
    waiting = [run for run in runs if not run.is_done]
    running: dict[subprocess.Popen, Run] = {}
    failed: list[Path] = []
    try:
        while waiting or running:
            STOP.check()
            free = jobs - len(running)
            if free:
                ready = [run for run in waiting if run.after is None or run.after.is_done]
                if not running and not ready:
                    break  # what still waits, waits for what failed
                for run in ready[:free]:
                    waiting.remove(run)
                    running[start(run, jobs)] = run
            for process in [p for p in running if p.poll() is not None]:
                run = running.pop(process)
                print(f"{run.folder}: {'FAILED' if process.returncode else 'done'}", flush=True)
                if process.returncode:
                    failed.append(run.folder)
                else:
                    run.write_note(done=True)
            time.sleep(0.2)
    finally:
        end(running)
    return failed + [run.folder for run in waiting]


def start(run: Run, jobs: int) -> subprocess.Popen:
    """Start a run, or go on with it, on its share of the cores.

    Raises:
        UserError: its folder cannot be written.
    """
    print(f"{run.folder}: {' '.join(run.command)}", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        run.write_note(done=False)
        console = (run.folder / "console.txt").open("a")
    except OSError as error:
        raise UserError(
            f"--out: {run.folder} cannot be written ({error.strerror}); choose another"
        ) from error
    with console:
        return subprocess.Popen(
            [sys.executable, *run.command, "-p", str(run.folder), "--resume"],
            cwd=ROOT,
            env={"OMP_NUM_THREADS": str(threads)} | os.environ,
            stdout=console,
            stderr=console,
        )


def end(processes: Iterable[subprocess.Popen]) -> None:
    """Ask processes to stop, and wait until they have saved what they do."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


if __name__ == "__main__":
    run(main)

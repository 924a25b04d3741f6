"""Run strategies x seeds on one task with the project's scripts; see experiments/config.py.

The same command continues an experiment: finished runs are skipped, and stopped runs continue.
Several machines can divide the seeds (--seeds), each into its own --out: see experiments/plot.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from experiments.config import Run, add_choice_arguments, add_config_arguments, config_of, restrict
from utils.errors import UserError, run
from utils.parser import POSITIVE_INT, Parser
from utils.stopping import STOP

ROOT = Path(__file__).resolve().parents[1]


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    add_config_arguments(result)
    add_choice_arguments(result, "run")
    result.add_argument("--jobs", type=POSITIVE_INT, default=1, help="number of parallel runs")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    config = restrict(config_of(args), args.seeds, args.strategies)
    STOP.listen()
    for command in config.prepare:
        print(" ".join(command), flush=True)
        prepare(command)
    failed = run_all(config.runs(), args.jobs)
    if failed:
        raise UserError(f"{len(failed)} runs failed, the first {failed[0]}; see its console.txt")


def prepare(command: Sequence[str]) -> None:
    """Run one command to its end, unless a signal asks to stop.

    Raises:
        UserError: the command failed, after printing its own error line.
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
    """Run all runs that are not done, ``jobs`` at a time; return the folders of failed runs.

    When a signal asks to stop, the scripts save their states before this function ends.
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
                    break  # the remaining runs need a run that failed
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
    """Start or continue a run on its share of the cores.

    Raises:
        UserError: the folder of the run cannot be written.
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
    """Ask processes to stop, and wait until they have saved their states and ended."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


if __name__ == "__main__":
    run(main)

"""Measure each stage around the network against a plain reference with the same formulas.

Prints one line per stage; ratio is the reference's time divided by this project's. Every stage runs
in its own process, on one core or on the number of cores that it sets.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import torch

from benchmarks.measure import measure_stage
from benchmarks.stages import STAGES
from utils.errors import UserError, run
from utils.files import write_json
from utils.parser import Parser

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=list(STAGES),
        metavar="NAME",
        help="stages to measure",
    )
    result.add_argument("--json", type=Path, help="also write the figures to this file")
    result.add_argument(
        "--only", choices=STAGES, metavar="NAME", help="measure one stage in this process"
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the stages that the command line names."""
    args = parser().parse_args(argv)
    if args.only:
        print(json.dumps(measure_here(args.only)))
        return
    results, failed = {}, []
    for name in args.stages:
        try:
            results[name] = measure_apart(name)
        except subprocess.CalledProcessError:  # its process has said why
            failed.append(name)
            continue
        print(line(name, results[name]), flush=True)
        if args.json:
            write_json(args.json, results, indent=1)
    if failed:
        raise UserError(f"failed: {', '.join(failed)}; the reasons are above")


def measure_here(name: str) -> dict[str, Any]:
    """Measure a stage in this process, on as many cores as it may use."""
    stage = STAGES[name]
    cv2.setNumThreads(stage.cores)
    torch.set_num_threads(stage.cores)
    try:
        return measure_stage(stage)
    except ModuleNotFoundError as error:
        raise UserError(f"{name}: needs {error.name}, which `make bench` installs") from error


def measure_apart(name: str) -> dict[str, Any]:
    """Measure a stage in a process of its own, with as many threads as it may use."""
    environment = os.environ | dict.fromkeys(THREADS, str(STAGES[name].cores))
    command = [sys.executable, __file__, "--only", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(name: str, result: dict[str, Any]) -> str:
    """Format the figures of one stage."""
    peak = result["peak_mb"]
    memory = f"{peak['ours']:.0f}/{peak['reference']:.0f}" if peak else "-/-"
    return (
        f"{name} ours={result['ours']:.4g} reference={result['reference']:.4g} "
        f"ratio={result['ratio']:.3g} peak_mb={memory}"
        f"  # target ratio {result['target_ratio']:.3g}; {result['note']}"
    )


if __name__ == "__main__":
    run(main)

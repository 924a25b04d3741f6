"""Measure each stage around the network against a plain reference of the same formulas.

One line a stage; ratio is reference / ours, medians of several runs in turn. Each stage runs in a
process of its own, on one core unless it says otherwise.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import torch

from benchmarks.agreement import agreement
from benchmarks.measure import measure
from benchmarks.stages import STAGES
from utils.common import Parser
from utils.errors import UserError, run
from utils.files import write_json

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parser() -> Parser:
    """The command line of this script."""
    result = Parser(__doc__)
    result.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="NAME")
    result.add_argument("--json", type=Path, help="also write the figures to this file")
    result.add_argument("--only", choices=STAGES, help="measure one stage in this very process")
    result.add_argument(
        "--agreement",
        nargs=6,
        metavar=("CHECKPOINT", "MODEL", "DATASET", "ROOT", "H", "W"),
        help="instead: share of pixels that a trained network labels alike with --amp bf16",
    )
    return result


def main() -> None:
    args = parser().parse_args()
    if args.agreement:
        *where, height, width = args.agreement
        print(f"{100 * agreement(*where, (int(height), int(width))):.3f} % of pixels equal")
        return
    if args.only:
        build, cores = STAGES[args.only]
        cv2.setNumThreads(cores)
        torch.set_num_threads(cores)
        print(json.dumps(measure(build())))
        return
    results, failed = {}, []
    for name in args.stages:
        try:
            results[name] = measure_apart(name)
        except subprocess.CalledProcessError:  # its process has told why
            failed.append(name)
            continue
        print(line(name, results[name]), flush=True)
        if args.json:
            write_json(args.json, results, indent=1)
    if failed:
        raise UserError(f"failed: {', '.join(failed)}")


def measure_apart(name: str) -> dict[str, Any]:
    """Measure a stage in a process of its own, with as many threads as it may use."""
    environment = os.environ | dict.fromkeys(THREADS, str(STAGES[name][1]))
    command = [sys.executable, __file__, "--only", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(name: str, result: dict[str, Any]) -> str:
    """One stage's figures."""
    peak = result["peak_mb"]
    memory = f"{peak['ours']:.0f}/{peak['reference']:.0f}" if peak else "-/-"
    return (
        f"{name} ours={result['ours']:.4g} reference={result['reference']:.4g} "
        f"ratio={result['ratio']:.3g} peak_mb={memory}"
        f"  # aim {result['target_ratio']:.3g}; {result['note']}"
    )


if __name__ == "__main__":
    run(main)

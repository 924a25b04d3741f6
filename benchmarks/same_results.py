"""Compare the results of two commits, byte by byte, for every strategy on the toy city.

    python benchmarks/same_results.py --before COMMIT [--after COMMIT]

Each commit runs in its own worktree, on the same toy city with the same superpixels: an
adversarial warm-up, then two rounds of every strategy. Networks, datalists and selections must be
the same bytes, and the figures in the records must be equal; scores in selections may differ in
their last bits. The exit code is 1 if anything differs.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.safe_pickle import load_pickle

ROOT = Path(__file__).resolve().parents[1]
METHODS = (
    *("d2ada", "random", "density", "softmax_entropy", "softmax_confidence", "softmax_margin"),
    *("AADA", "CLUE", "BADGE", "ReDAL", "coreset", "RIPU"),
)
CITY = (
    ("toy_city.py", "--root {city} --images 12 --size 64 128 --quiet"),
    ("superpixel_gen.py", "--dataset GTA5 --datadir {city}/GTA5"),
    ("superpixel_gen.py", "--dataset cityscapes --datadir {city}/Cityscapes"),
    ("edge_detection.py", "--dataset cityscapes --datadir {city}/Cityscapes"),
)
NETWORK = (
    "-p {out} -m deeplabv3plus_mobilenet --image_size 64 128 --num_workers 0 --device cpu "
    "--no-freeze_bn --train_batch_size 2 --src_data_dir {city}/GTA5 "
    "--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes"
)
WARMUP = "--backbone_weights none --total_itrs 10 --ramp_itrs 2 --val_period 5 --train_lr 1e-2"
ROUNDS = (
    "--max_iterations 2 --finetune_itrs 6 --val_period 5 --finetune_lr 5e-3 "
    "--active_selection_size 0.3"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the commits that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True, metavar="COMMIT", help="the older commit")
    parser.add_argument("--after", default="HEAD", metavar="COMMIT", help="the newer commit")
    args = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        city = Path(folder) / "city"
        trees = {name: Path(folder) / name for name in ("before", "after")}
        for name, tree in trees.items():
            git("worktree", "add", "--detach", str(tree), getattr(args, name))
        try:
            for script, flags in CITY:
                run(trees["before"], f"data_preprocessing/{script}", flags.format(city=city))
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda tree: run_all(tree, city), trees.values()))
            different = compare(trees["before"] / "out", trees["after"] / "out")
        finally:
            for tree in trees.values():
                git("worktree", "remove", "--force", str(tree))
    sys.exit(1 if different else 0)


def git(*command: str) -> None:
    subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True)


def run(tree: Path, script: str, flags: str) -> None:
    """Run a script of a commit on one core."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, *flags.split()]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tree.name}: {script} {flags}\n{done.stderr}")


def run_all(tree: Path, city: Path) -> None:
    """Run a warm-up, then two rounds of every strategy from it, with the scripts of a commit."""
    out = tree / "out"
    run(tree, "warmup.py", f"{NETWORK.format(out=out, city=city)} {WARMUP}")
    for method in METHODS:
        flags = f"{NETWORK.format(out=out / method, city=city)} {ROUNDS} --active_method {method}"
        run(tree, "train_ADA.py", f"{flags} --init_checkpoint {out}/checkpoint.tar")


def compare(before: Path, after: Path) -> list[Path]:
    """Print a line per strategy, and return the files that differ."""
    different: list[Path] = []
    for folder in (".", *METHODS):
        names = sorted(
            path.relative_to(before)
            for pattern in ("*.tar", "*.pkl", "AL_record/*.json")
            for path in (before / folder).glob(pattern)
        )
        found = [name for name in names if not same(before / name, after / name)]
        what = f"DIFFERENT: {', '.join(map(str, found))}" if found else "the same"
        print(f"{'warm-up' if folder == '.' else folder:20s} {len(names):3d} files {what}")
        different += found
    return different


def same(before: Path, after: Path) -> bool:
    """Return True if two files have the same contents.

    Records must agree in the keys of the older one. Selections must agree in the regions and their
    order, and in the scores up to rounding.
    """
    if not after.is_file():
        return False
    if before.suffix == ".json":
        old, new = (json.loads(path.read_text()) for path in (before, after))
        return all(new.get(key) == value for key, value in old.items())
    if before.read_bytes() == after.read_bytes():
        return True
    if "_selection_" not in before.name:
        return False
    old, new = (load_pickle(path) for path in (before, after))
    return [entry[1:] for entry in old] == [entry[1:] for entry in new] and all(
        math.isclose(ours[0], theirs[0], rel_tol=1e-12)
        for ours, theirs in zip(old, new, strict=True)
    )


if __name__ == "__main__":
    main()

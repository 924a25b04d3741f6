"""Compare the simulation of cluster.py with runs of warmup.py and train_ADA.py on several ranks.

The runs are real ones, by torchrun and gloo, in which the network and the fits pause instead of
computing (paused.py): what is checked is the schedule, who works when and who waits for whom, not
the speed of a device. Prints the seconds of each stage by number of ranks.
"""

import os
import re
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cluster import Experiment
from benchmarks.inputs import ROOT
from utils.errors import UserError, run
from utils.parser import POSITIVE, POSITIVE_INT, Parser
from utils.recorder import read_metrics

SPREAD, FIT = 0.2, 0.01
BATCH = 2
FITS = re.compile(r": (\d+) target and (\d+) source regions, (\d+) components")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    ranks_help = "numbers of processes"
    result.add_argument("--ranks", type=POSITIVE_INT, nargs="+", default=[1, 2, 3], help=ranks_help)
    images_help = "training images of each domain"
    result.add_argument("--images", type=POSITIVE_INT, default=30, help=images_help)
    itrs_help = "iterations of the warm-up, and of fine-tuning, on one rank"
    result.add_argument("--itrs", type=POSITIVE_INT, default=60, help=itrs_help)
    pause_help = "seconds that a training image takes"
    result.add_argument("--training", type=POSITIVE, default=0.5, help=pause_help)
    pause_help = "seconds that an image takes in validation and selection"
    result.add_argument("--evaluation", type=POSITIVE, default=0.2, help=pause_help)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each stage and number of ranks."""
    args = parser().parse_args(argv)
    print("stage       ranks  measured_s  simulated_s  difference_%")
    with TemporaryDirectory() as name:
        folder = Path(name)
        draw_city(args.images, folder)
        for ranks in args.ranks:
            plan = plan_of(args, folder / "city")
            measured = run_stages(args, plan, folder, ranks)
            simulated = simulate(args, plan, folder / str(ranks), ranks)
            for stage, seconds in [*measured.items(), ("all", sum(measured.values()))]:
                expected = simulated[stage] if stage != "all" else sum(simulated.values())
                figures = (
                    f"{seconds:10.2f}  {expected:11.2f}  {100 * seconds / expected - 100:+12.1f}"
                )
                print(f"{stage:10s}  {ranks:5d}  {figures}", flush=True)


def draw_city(images: int, folder: Path) -> None:
    """Draw a toy city with superpixels."""
    flags = f"--root {folder}/city --images {images} --size 64 128 --quiet"
    python("data_preprocessing/toy_city.py", flags)
    for dataset, name in (("GTA5", "GTA5"), ("cityscapes", "Cityscapes")):
        flags = f"--dataset {dataset} --datadir {folder}/city/{name}"
        python("data_preprocessing/superpixel_gen.py", flags)


def python(script: str, flags: str, ranks: int = 1) -> None:
    """Run a script, on more than one rank by torchrun.

    Raises:
        UserError: it fails; what it said is printed.
    """
    starter = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command = [sys.executable, *(starter if ranks > 1 else []), script, *flags.split()]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise UserError(f"{script} failed; the reason is above")


def plan_of(args: Namespace, city: Path) -> Namespace:
    """Return the plan of an experiment on the toy city, of one round after the warm-up."""
    return Namespace(
        source_images=args.images,
        target_images=args.images,
        validation_images=len(list((city / "Cityscapes" / "leftImg8bit" / "val").rglob("*.png"))),
        warmup_itrs=args.itrs,
        finetune_itrs=args.itrs,
        rounds=1,
        val_period=args.itrs // 3,
        save_period=1000,
        val_batch_size=BATCH,
    )


def run_stages(args: Namespace, plan: Namespace, folder: Path, ranks: int) -> Counter[str]:
    """Run the experiment in ``folder/<ranks>``; return the seconds of its stages."""
    city, exp = folder / "city", folder / str(ranks)
    pauses = f"{args.training} {args.evaluation} {SPREAD} {FIT}"
    flags = (
        f"-p {exp} --image_size 32 64 --device cpu --num_workers 0 --val_batch_size {BATCH}"
        f" --src_data_dir {city}/GTA5 --trg_data_dir {city}/Cityscapes"
        f" --val_data_dir {city}/Cityscapes --val_period {max(1, plan.val_period // ranks)}"
    )
    itrs = -(-args.itrs // ranks)
    own = f"--warmup sup_warmup --backbone_weights none --total_itrs {itrs}"
    python("benchmarks/paused.py", f"{pauses} warmup.py {flags} {own}", ranks)
    own = f"--init_checkpoint {exp}/checkpoint.tar --max_iterations 1 --finetune_itrs {itrs}"
    python("benchmarks/paused.py", f"{pauses} train_ADA.py {flags} {own}", ranks)
    found = {
        entry["name"]: entry["seconds"]
        for entry in read_metrics(exp / "metrics.jsonl")
        if entry["kind"] == "stage"
    }
    passes = found.pop("pass_source") + found.pop("pass_target")
    return Counter(found) + Counter({"pass": passes, "select": -passes})


def simulate(args: Namespace, plan: Namespace, exp: Path, ranks: int) -> Counter[str]:
    """Simulate the same, with fits of the sizes that the run's log tells."""
    log = (exp / "log_train.txt").read_text()
    fits = []
    for target, source, components in (map(int, found) for found in FITS.findall(log)):
        fits += [(rows, components) for rows in (target, source) if rows >= 2]
    costs = SimpleNamespace(
        step=dict.fromkeys(("warmup", "finetune"), args.training),
        spread=SPREAD,
        image=dict.fromkeys(("validate", "pass"), args.evaluation),
        fit=lambda rows, components: FIT * rows * components,
        fit_threads=1,  # as torch has one in paused.py
        **dict.fromkeys(("backward", "gradient_mb", "hidden_share", "improving_share"), 0),
        **dict.fromkeys(("start_s", "save_s", "digest_s", "ranking_s"), 0),
        link_gb_s=1,
    )
    stages = Experiment(plan, costs, ranks, fits).run().stages
    selecting = stages.pop("fits") + stages.pop("ranking")
    return stages + Counter({"select": selecting})


if __name__ == "__main__":
    run(main, parser)

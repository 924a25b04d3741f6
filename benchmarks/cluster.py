"""Estimate a full experiment on several GPUs by a simulation of its ranks.

Reads what each part costs from a table (cluster.json), in which every figure says whether it was
measured, counted or assumed. Steps, validations, saved states, selection passes and fits then
happen in the order of warmup.py and train_ADA.py on ranks that wait for each other where those do.
Prints the hours of each part by number of GPUs, and what the GPUs wait for. Training sees equally
many images with any number of GPUs: with N of them a batch is N times as large, and --total_itrs,
--finetune_itrs and --val_period are an N-th; --save_period stays.
"""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from active_selection.density import components_of
from active_selection.fitting import divide
from utils.errors import UserError, run
from utils.files import read_json
from utils.parser import POSITIVE, POSITIVE_INT, Parser

TABLE = Path(__file__).with_suffix(".json")
BUCKET_MB = 25  # of gradients, which DistributedDataParallel sends together
FEATURES = 256


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument("--costs", type=Path, default=TABLE, help="JSON file of plan and costs")
    result.add_argument(
        "--gpus", type=POSITIVE_INT, nargs="+", default=[1, 4, 8], help="numbers of GPUs"
    )
    result.add_argument(
        "--set",
        type=setting,
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="costs to use in place of those of the table, such as gpu_tflops=8.4",
    )
    bench_help = "figures of your GPU, in place of assumed ones: a file of benchmarks/gpu.py --json"
    result.add_argument("--bench", type=Path, metavar="FILE", help=bench_help)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print the estimate."""
    args = parser().parse_args(argv)
    plan, costs = read_table(args.costs)
    for name, value in args.set:
        if name not in costs:
            raise UserError(
                f"--set {name}: no such cost; {args.costs} has {', '.join(vars(costs))}"
            )
        setattr(costs, name, value)
    fits, costs = list(fits_of(plan)), gpu_costs(costs)
    if args.bench:
        use_bench(costs, args.bench)
    jobs = {gpus: Experiment(plan, costs, gpus, fits).run() for gpus in args.gpus}
    print("\n".join(report(jobs)))


def setting(text: str) -> tuple[str, float]:
    """Parse ``NAME=VALUE`` (an argparse type)."""
    name, _, value = text.partition("=")
    return name, POSITIVE(value)


def read_table(path: Path) -> tuple[Namespace, Namespace]:
    """Return plan and costs of a table.

    Raises:
        UserError: it cannot be read, or lacks what the estimate needs.
    """
    remedy = f"see {TABLE.name}"
    table, needed = read_json(path, remedy), read_json(TABLE, remedy)
    for part in ("plan", "costs"):
        given = table.get(part) if isinstance(table, dict) else None
        if not isinstance(given, dict) or (lacking := needed[part].keys() - given.keys()):
            name = min(lacking) if isinstance(given, dict) else part
            raise UserError(f"{path}: {name} is missing in {part!r}; {remedy}")
    try:
        costs = {name: float(value) for name, (value, _) in table["costs"].items()}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a cost is no [number, source] ({error}); {remedy}") from error
    return Namespace(**table["plan"]), Namespace(**costs)


def gpu_costs(c: Namespace) -> SimpleNamespace:
    """Return what the parts of an experiment cost on one GPU, in seconds.

    A backward pass takes twice the operations of a forward pass. An adversarial step has two of
    each, and passes of the discriminator: forward and backward to its input for the first loss,
    all of it for each of the two domains.
    """
    forward = c.forward_tflop / c.gpu_tflops
    discriminator = (2 + 3 + 3) * c.discriminator_tflop / c.gpu_tflops
    cells = 4 * FEATURES**2 * 1e-12 / c.gpu_tflops_double  # distances, and the next covariance

    def step(passes: int, extra: float) -> float:
        loading = c.sample_core_s / c.cores
        return max(passes * 3 * forward + extra + c.step_overhead_s, loading)

    def image(beside: float) -> float:
        return max(forward + beside, c.evaluation_core_s / c.cores)

    def fit(rows: int, components: int) -> float:
        k_means = 1e-7 * c.k_means_us * rows * components
        return k_means + rows * components * iterations_of(rows) * cells

    return SimpleNamespace(
        step={"warmup": step(2, discriminator), "finetune": step(1, 0)},
        spread=c.step_spread,
        backward=2 * forward,
        image={"validate": image(c.validation_image_s), "pass": image(c.selection_image_s)},
        fit=fit,
        fit_threads=1,  # fits take turns on a GPU
        **{name: getattr(c, name) for name in ("gradient_mb", "link_gb_s", "hidden_share")},
        **{name: getattr(c, name) for name in ("start_s", "save_s", "digest_s", "ranking_s")},
        improving_share=c.improving_share,
    )


def use_bench(costs: SimpleNamespace, path: Path) -> None:
    """Replace what the network costs by what a GPU took, in its fastest arithmetic.

    Raises:
        UserError: the file cannot be read, or lacks a figure.
    """
    remedy = "make it with benchmarks/gpu.py --json"
    try:
        figures = read_json(path, remedy)["figures"]

        def each(work: str) -> float:
            """Seconds of an image; of a pair of images in an adversarial step."""
            found = [f for name, f in figures.items() if name.startswith(f"{work}, ")]
            found = [f["seconds"] / f["images"] for f in found if f["seconds"] is not None]
            return min(found) * (2 if work == "adversarial step" else 1)

        supervised = each("supervised step")
        costs.step = {"warmup": each("adversarial step"), "finetune": supervised}
        costs.image = {"validate": each("validation"), "pass": each("selection pass")}
        costs.backward = supervised * 2 / 3
    except (TypeError, LookupError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path}: not the figures of a GPU; {remedy}") from error


def iterations_of(rows: int) -> float:
    """Return how many iterations a fit takes, as measured (README, Growth)."""
    return float(np.interp(rows, [8_000, 16_000, 30_000, 50_000, 140_000], [3, 12, 27, 60, 200]))


class Ranks:
    """The clocks of ranks, what each did, and what it waited for.

    Attributes:
        clocks: (N,) seconds since the start.
        stages: wall-clock seconds by stage.
        lost: seconds of all ranks together that the GPUs did not compute, by reason.
    """

    def __init__(self, ranks: int, seed: int = 0):
        self.clocks = np.zeros(ranks)
        self.stages: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.clocks)

    def work(self, stage: str, seconds: np.ndarray, reason: str) -> None:
        """Let each rank work for its seconds (N,), and wait for the slowest."""
        before = self.clocks.max()
        self.clocks += seconds
        end = self.clocks.max()
        self.lost[reason] += float((end - self.clocks).sum())
        self.clocks[:] = end
        self.stages[stage] += float(end - before)

    def alone(self, stage: str, seconds: float, reason: str) -> None:
        """Let rank 0 do something for which the others, and its own GPU, wait."""
        self.clocks += seconds
        self.lost[reason] += seconds * len(self)
        self.stages[stage] += seconds

    def steps(self, stage: str, count: int, seconds: float, spread: float, sent: float) -> None:
        """Let ranks take steps together, each of which ends with gradients being sent.

        Args:
            stage: that the steps belong to.
            count: number of steps.
            seconds: of a step, on average.
            spread: standard deviation of a rank's step, as a share of it.
            sent: seconds of sending that are not hidden behind computing.
        """
        drawn = seconds * self.rng.gamma(1 / spread**2, spread**2, (count, len(self)))
        slowest = float(drawn.max(1).sum())
        self.lost["slowest rank of a step"] += float(len(self) * slowest - drawn.sum())
        self.lost["sending gradients"] += count * len(self) * sent
        self.clocks += slowest + count * sent
        self.stages[stage] += slowest + count * sent


class Experiment:
    """A warm-up and rounds, as warmup.py and train_ADA.py go.

    Args:
        plan: number of images, iterations and periods, as in the table.
        costs: see :func:`gpu_costs`.
        ranks: number of ranks.
        fits: rows and components of each mixture of a selection.
    """

    def __init__(self, plan: Namespace, costs: Any, ranks: int, fits: Sequence[tuple[int, int]]):
        self.plan, self.costs, self.fits = plan, costs, fits
        self.ranks = Ranks(ranks)

    def run(self) -> Ranks:
        """Simulate all of it."""
        plan = self.plan
        self.train("warmup", plan.warmup_itrs, 0)
        self.validate()
        for n in range(plan.rounds + 1):
            if n:
                self.train("finetune", plan.finetune_itrs, plan.finetune_itrs * 2 / 3)
            if n < plan.rounds:
                self.select()
        return self.ranks

    def train(self, kind: str, iterations: int, first_validation: float) -> None:
        """Train on as many images as one GPU would in ``iterations`` steps with its batch."""
        plan, c, ranks = self.plan, self.costs, self.ranks
        n = len(ranks)
        total, period = -(-iterations // n), max(1, plan.val_period // n)
        saves = plan.save_period
        sent = exposed(c, n)
        ranks.alone(kind, c.start_s, "starting loaders")
        done = 0
        while done < total:
            until = min((done // period + 1) * period, (done // saves + 1) * saves, total)
            ranks.steps(kind, until - done, c.step[kind], c.spread, sent)
            done = until
            if done == total or (done % period == 0 and done > first_validation / n):
                self.validate(kind)
                ranks.alone(kind, c.improving_share * c.save_s, "rank 0 saving")
            if done % saves == 0 or done == total:
                ranks.alone(kind, c.save_s, "rank 0 saving")

    def validate(self, stage: str = "validate") -> None:
        """Validate the network on each rank's share of the images."""
        self.divided(stage, self.plan.validation_images, self.costs.image["validate"])

    def divided(self, stage: str, images: int, seconds: float) -> None:
        """Let each rank pass over its share of the images."""
        shares = shares_of(images, self.plan.val_batch_size, len(self.ranks))
        self.ranks.work(stage, shares * seconds, "uneven shares of images")

    def select(self) -> None:
        """Measure both region tables, fit the mixtures on all ranks, and rank on rank 0."""
        plan, c, ranks = self.plan, self.costs, self.ranks
        for name in ("source", "target"):
            ranks.alone("pass", c.start_s + c.digest_s, "starting loaders")
            self.divided("pass", getattr(plan, f"{name}_images"), c.image["pass"])
        ranks.work("fits", self.fitting(), "uneven shares of fits")
        ranks.alone("ranking", c.ranking_s, "rank 0 ranking")

    def fitting(self) -> np.ndarray:
        """Seconds of each rank's fits, (N,), which are divided as in active_selection/fitting.py.

        Each rank takes its dearest first, ``fit_threads`` of them at a time.
        """
        costs = [rows * components for rows, components in self.fits]
        seconds = np.zeros((len(self.ranks), self.costs.fit_threads))
        for rank, share in enumerate(divide(costs, len(self.ranks))):
            for fit in share:
                thread = seconds[rank].argmin()
                seconds[rank, thread] += self.costs.fit(*self.fits[fit])
        return seconds.max(1)


def fits_of(plan: Namespace) -> Iterator[tuple[int, int]]:
    """Rows and components of each mixture of a selection."""
    for percent in plan.class_percent:
        rows = [
            int(percent / 100 * images * plan.regions_per_image)
            for images in (plan.target_images, plan.source_images)
        ]
        if rows[0] >= 2:
            components = components_of(rows[0])
            yield rows[0], components
            yield max(2, min(rows[1], plan.max_source_regions)), components


def shares_of(images: int, block: int, ranks: int) -> np.ndarray:
    """Images of each rank, (N,): contiguous, whole batches, as :meth:`World.shard` divides them."""
    blocks = -(-images // block)
    bounds = np.minimum(blocks * np.arange(ranks + 1) // ranks * block, images)
    return np.diff(bounds)


def exposed(c: Any, ranks: int) -> float:
    """Seconds of a step's all-reduce, by a ring, that the backward pass does not hide."""
    sent = 2 * (ranks - 1) / ranks * c.gradient_mb / 1000 / c.link_gb_s
    last = sent * BUCKET_MB / max(c.gradient_mb, BUCKET_MB)  # is full when the pass ends
    return max(last, sent - c.hidden_share * c.backward)


def report(jobs: Mapping[int, Ranks]) -> Iterator[str]:
    """Lines of the estimate: hours by part, then what the GPUs wait for."""
    first = next(iter(jobs.values()))
    yield f"{'hours':24s}" + "".join(f"{n:5d} GPU{'s' if n > 1 else ' '}" for n in jobs)
    for stage in first.stages:
        yield f"{stage:24s}" + "".join(f"{j.stages[stage] / 3600:9.2f}" for j in jobs.values())
    totals = [job.clocks.max() / 3600 for job in jobs.values()]
    yield f"{'all':24s}" + "".join(f"{hours:9.2f}" for hours in totals)
    alone = first.clocks.max() / 3600 * len(first)
    yield f"{'times as fast':24s}" + "".join(f"{alone / hours:9.2f}" for hours in totals)
    yield "% of the GPUs' time"
    reasons = sorted({reason for job in jobs.values() for reason in job.lost})
    last = jobs[max(jobs)]
    for reason in sorted(reasons, key=lambda name: -last.lost[name]):
        shares = (100 * j.lost[reason] / (len(j) * j.clocks.max()) for j in jobs.values())
        yield f"  {reason:22s}" + "".join(f"{share:9.2f}" for share in shares)
    worst = max(reasons, key=lambda name: last.lost[name])
    yield f"scaling stops first at: {worst}"


if __name__ == "__main__":
    run(main, parser)

"""Measure training, validation and selection on a GPU: `make bench-gpu`.

Prints a Markdown table with seconds and peak memory of each kind of training step, of validation,
of the network's bare forward passes and of the selection pass that contains them, and of fitting
mixtures. Images and features are made up; reading files is not part of it (see loader.py).
"""

import datetime
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.device_work import (
    Figure,
    fits,
    forward_pass,
    measured,
    selection_pass,
    training_step,
    validation,
)
from models import MODEL_NAMES
from utils.errors import UserError, run
from utils.files import write_json
from utils.parser import BATCH_SIZE, PIXELS, POSITIVE_INT, Parser, number
from utils.runtime import Runtime, get_device

ARITHMETIC = {
    "float32": {},
    "bf16": {"amp": "bf16", "channels_last": True},
    "fp16": {"amp": "fp16", "channels_last": True},
    "bf16-compiled": {"amp": "bf16", "channels_last": True, "compiled": True},
}
HEADER = ("work", "arithmetic", "images", "s", "s/image", "peak MB", "")


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument("--device", default="cuda", help="device to measure: cuda, cuda:N or cpu")
    result.add_argument(
        "-m", "--model", default="deeplabv3plus_resnet101", choices=MODEL_NAMES, help="network"
    )
    result.add_argument(
        "--image_size",
        type=PIXELS,
        nargs=2,
        default=[1024, 2048],
        metavar=("H", "W"),
        help="height and width of the images, in pixels",
    )
    result.add_argument(
        "--arithmetic",
        nargs="+",
        choices=ARITHMETIC,
        default=["float32", "bf16"],
        help="precisions to measure; bf16 and fp16 are --amp with --channels_last",
    )
    result.add_argument("--train_batch_size", type=BATCH_SIZE, default=1, help="images per batch")
    batch_help = "images per batch, in validation and selection"
    result.add_argument("--val_batch_size", type=BATCH_SIZE, default=4, help=batch_help)
    runs_help = "timed runs of each kind of work, of which the table shows the median"
    result.add_argument("--runs", type=POSITIVE_INT, default=7, help=runs_help)
    result.add_argument(
        "--regions",
        type=number(int, 100, 10**7),
        default=20_000,
        help="regions that the largest mixture is fitted to; a second one gets a tenth of them",
    )
    result.add_argument("--json", type=Path, help="also write the figures to this file")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, line by line as it is measured."""
    args = parser().parse_args(argv)
    device = device_of(args.device)
    torch.backends.cudnn.benchmark = True  # as scripts do without --deterministic
    about = description(args, device)
    print(f"{about}\n\n{line(HEADER)}\n{line(['---'] * len(HEADER))}", flush=True)
    results = {}
    for arithmetic in args.arithmetic:
        for name, figure in network_figures(args, Runtime(device, **ARITHMETIC[arithmetic])):
            results[f"{name}, {arithmetic}"] = figure
            print(row(name, arithmetic, figure), flush=True)
    for name, work in fits(args.regions, device):
        results[name] = measured(work, device, min(args.runs, 3))
        print(row(name, "float64", results[name]), flush=True)
    if args.json:
        figures = {name: figure._asdict() for name, figure in results.items()}
        write_json(args.json, {"measured_on": about, "figures": figures}, indent=1)


def device_of(name: str) -> torch.device:
    """Return the device to measure.

    Raises:
        UserError: it is not there.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"--device {name}: no GPU here, torch {torch.__version__} finds no CUDA device; "
            "BENCH_DEVICE=cpu measures the CPU"
        )
    return get_device(name)


def description(args: Namespace, device: torch.device) -> str:
    """Return a line about the machine and what it computes."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        where = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        where += f", cuDNN {torch.backends.cudnn.version()}"
    else:
        where = f"{device.type}, {torch.get_num_threads()} threads"
    height, width = args.image_size
    return (
        f"{where}, torch {torch.__version__}; {args.model} at {height} x {width}, frozen BatchNorm;"
        f" {datetime.date.today()}"
    )


def network_figures(args: Namespace, runtime: Runtime) -> Iterator[tuple[str, Figure]]:
    """Measure what the network does; yield the name and figure of each kind of work."""
    size, device = tuple(args.image_size), runtime.device
    for kind in ("supervised", "adversarial"):
        work = training_step(kind, args.model, size, args.train_batch_size, runtime)
        images = args.train_batch_size * (2 if kind == "adversarial" else 1)
        yield f"{kind} step", measured(work, device, args.runs, images)
        del work  # its memory is not that of what comes next
    batch, forward = args.val_batch_size, None
    for name, make in {
        "validation": validation,
        "forward pass": forward_pass,
        "selection pass": selection_pass,
    }.items():
        figure = measured(make(args.model, size, batch, runtime), device, args.runs, batch)
        if name == "forward pass":
            forward = figure
        elif name == "selection pass" and figure.seconds and forward.seconds:
            note = f"{figure.seconds / forward.seconds:.2f} times the forward pass"
            figure = figure._replace(note=note)
        yield name, figure


def row(name: str, arithmetic: str, figure: Figure) -> str:
    """Return the table's line of a figure."""
    if figure.seconds is None:
        return line([name, arithmetic, figure.images or "", "", "", "", figure.note])
    each = f"{figure.seconds / figure.images:.4g}" if figure.images else ""
    seconds, peak = f"{figure.seconds:.4g}", f"{figure.peak_mb:.0f}"
    return line([name, arithmetic, figure.images or "", seconds, each, peak, figure.note])


def line(cells: Sequence) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    run(main, parser)

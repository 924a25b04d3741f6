"""Active domain adaptation: rounds of fine-tuning, validation and selection of target regions.

The first round validates --init_checkpoint and selects regions. Each later round fine-tunes on the
source and all regions labelled so far, keeps its best checkpoint, and selects again. The last round
selects nothing. To continue an experiment at round X, use --init_iteration X --init_checkpoint
EXP/checkpoint0X.tar --datalist_path EXP/datalist_0{X-1}.pkl. To continue a run that was stopped,
use --resume. train_ADA.toml in -p repeats the run with --config.
"""

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import logging
from argparse import ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from active_selection.density import MAX_SOURCE_REGIONS
from active_selection.mixture import COVARIANCES
from active_selection.people import next_steps
from active_selection.phases import PhaseResult
from active_selection.region_table import UNCERTAINTIES
from active_selection.rounds import Experiment
from active_selection.run_folder import RunFolder
from active_selection.start_warnings import warn_of_other_data, warn_of_other_source
from active_selection.strategies import method_names
from active_selection.table_files import feature_folder
from annotation.classes import ClassList
from annotation.guesses import NetworkGuesses
from annotation.package import check_package, check_region_counts
from annotation.write import write_package
from dataloader.data_record import validation_digest
from dataloader.dataset_info import load_dataset
from dataloader.domain import agree_on_classes, check_and_describe
from models import MODEL_NAMES
from models.facts import take_facts
from utils.common import check_training, training_parser
from utils.distributed import World
from utils.errors import UserError, run, shown
from utils.files import locked_folder
from utils.job import joined
from utils.logs import start_log
from utils.optim import warn_of_low_rate
from utils.parser import NON_NEGATIVE, POSITIVE, POSITIVE_INT, Parser, count_or_all, number
from utils.resume import RunSettings
from utils.stopping import STOP
from utils.unused_flags import warn_of_unused_flags

log = logging.getLogger("train_ADA")

ROUND = number(int, 0, 999)


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = training_parser(__doc__, MODEL_NAMES, "train_ADA")
    add = result.add_argument_group("active rounds").add_argument
    add("--init_checkpoint", required=True, help="checkpoint that the first round starts from")
    datalist_help = "datalist_XX.pkl that the first round starts from (default: nothing labelled)"
    add("--datalist_path", help=datalist_help)
    add("--save_feat_dir", type=Path, help="folder for region features (default: features in -p)")
    keep_help = "keep the files of region features and mixtures after each round"
    add("--keep_features", action="store_true", help=keep_help)
    round_help = "number of the first round; X goes on with round X of another run, see above"
    add("--init_iteration", type=ROUND, default=0, help=round_help)
    add("--max_iterations", type=ROUND, default=5, help="number of the last round")
    add("--finetune_itrs", type=POSITIVE_INT, default=120_000, help="training iterations per round")
    rate_help = "learning rate of the backbone in rounds; the head's is 10 times as high"
    add("--finetune_lr", type=POSITIVE, default=2.5e-4, help=rate_help)
    size_help = "budget per round: pixels of N average target images, or N%% of all target pixels"
    add("--active_selection_size", type=size, default=29.0, metavar="N|N%", help=size_help)
    mode_help = "select single regions, or whole images (scan)"
    add("--active_mode", default="region", choices=("region", "scan"), help=mode_help)
    add("--active_method", default="d2ada", choices=method_names(), help="selection strategy")
    uncertainty_help = "uncertainty by which d2ada selects beside density"
    add("--uncertainty", default=UNCERTAINTIES[0], choices=UNCERTAINTIES, help=uncertainty_help)
    components_help = "components of each mixture (default: 1 to 10, by the number of regions)"
    add("--components", type=POSITIVE_INT, help=components_help)
    covariance_help = "estimate of the mixtures' covariances; oas shrinks those of few regions"
    add("--covariance", default="full", choices=COVARIANCES, help=covariance_help)
    add(
        "--max_source_regions",
        type=count_or_all,
        default=MAX_SOURCE_REGIONS,
        metavar="N|all",
        help="largest number of source regions per class, drawn at random, for fitting its mixture",
    )
    add(
        "--class_balance",
        action=BooleanOptionalAction,
        default=True,
        help="let density selection take regions from the classes in turn",
    )
    alpha_help = "share of the budget for density in the first selection (d2ada)"
    add("--alpha", type=NON_NEGATIVE, default=1.0, help=alpha_help)
    beta_help = "decay of that share: each selection multiplies it by 2^(-beta)"
    add("--beta", type=NON_NEGATIVE, default=1.0, help=beta_help)
    add_end_of_round_arguments(add)
    return result


def add_end_of_round_arguments(add: Callable[..., Any]) -> None:
    """Add the flags that say where labels come from, and whether a report is written."""
    add(
        "--oracle",
        default="files",
        choices=("files", "people"),
        help="where target labels come from: its label files, or people; with people a round ends "
        "with a labelling package, and --resume continues when it is answered",
    )
    add("--accept_partial", action="store_true", help="put unanswered regions back into the pool")
    report_help = "after each round, write a report with figures and pictures to -p/report"
    add("--report", action="store_true", help=report_help)


def size(text: str) -> float | str:
    """Parse a budget: a number of images, or a percentage, for example "1%" (an argparse type)."""
    try:
        if text.endswith("%"):
            number(float, 0, 100)(text[:-1])
            return text
        return NON_NEGATIVE(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(
            f"{text!r} is neither a number of images, such as 29, nor a percentage, such as 1%"
        ) from error


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    args = flags.parse_args(argv)
    check_arguments(args)
    given = flags.given(argv)
    with joined(args, parser) as world:
        args = world.complete_flags(complete, args, given)
        folder = RunFolder(args)
        STOP.listen()
        start_log(folder.log, silent=not world.is_main)
        warn_of_unused_flags("train_ADA", args, flags.meant(argv))
        warn_of_low_rate(args, "finetune_lr")
        with ExitStack() as folders:
            if world.is_main:
                folders.enter_context(locked_folder(folder.path, "-p"))
                folders.enter_context(feature_folder(folder.features, folder.path))
            run_rounds(args, folder, world)


def complete(args: Namespace, given: Collection[str]) -> Namespace:
    """Set the flags that the user left out from the checkpoint and the datasets."""
    adopted = RunFolder(args).checkpoint(args.init_iteration)  # a copy, if the original is gone
    start = args.init_checkpoint if Path(args.init_checkpoint).is_file() else adopted
    facts = take_facts(args, given, start)
    warn_of_other_source(args, facts)
    agree_on_classes(args, "src", "trg", "val", network=facts.get("class_names"))
    if args.oracle == "people":  # refused here, and not after the first selection
        ClassList.of_dataset(load_dataset(args.trg_dataset))
    return args


def run_rounds(args: Namespace, folder: RunFolder, world: World) -> None:
    """Run all rounds, or those that a stopped run has not finished."""
    settings = RunSettings(args, "train_ADA", parser().get_default, world.size)
    continued = world.on_main(lambda: settings.check(args.resume, folder.planned()))
    first_round = args.init_iteration
    if continued:
        first_round = world.on_main(folder.first_open_round)
    if first_round > args.max_iterations:
        if world.is_main:
            folder.clean_up()
        log.info("the rounds in %s are finished", folder.path)
        return
    log.info("flags beside the defaults: %s", parser().changed(args))
    experiment = Experiment(settings.with_moves(args, world), folder, first_round, world, continued)
    if args.oracle == "people":
        check_region_counts(experiment.target.regions)
    accept = args.accept_changed_data
    data = check_and_describe(experiment.domains, settings.data, world, accept)
    source = experiment.source.info
    experiment.validation_data = world.on_main(lambda: validation_digest(data["val"], source))
    if world.is_main:
        if not continued:
            folder.forget_open_round()
            warn_of_other_data(args, data)
        folder.remove_temporaries()
        folder.move_data(settings.moves)
        settings.write(data)
        parser().write_config(folder.path / "train_ADA.toml", args)
    for n in range(first_round, args.max_iterations + 1):
        experiment.take_answers(n)
        scores = experiment.train(n)
        results = experiment.select(n) if n < args.max_iterations else []
        if world.is_main:
            if experiment.active_set.asked:
                ask_people(args, experiment, n)
            experiment.record(n, scores, results)
            if args.report:
                report(args)
        if experiment.active_set.asked:
            if world.is_main:
                tell_next_steps(folder, n, results)
            return
    if world.is_main:
        folder.clean_up()
    log.info("done: rounds %d to %d in %s", args.init_iteration, args.max_iterations, folder.path)


def report(args: Namespace) -> None:
    """Write the report of the run so far. A fault in it is logged and never ends the run."""
    try:  # its imports, such as matplotlib, may fail as well
        from experiments.reporting.page import write_report
        from experiments.reporting.target import TargetFlags

        out, given = args.model_save_dir / "report", TargetFlags(moves=args.relocate)
        for problem in write_report([args.model_save_dir], out, given):
            log.warning("report: %s", problem)
        log.info("report: %s", out / "index.html")
    except Exception as error:
        why = shown(error if isinstance(error, UserError) else repr(error))
        log.warning("the report could not be written, the run goes on: %s", why)


def tell_next_steps(folder: RunFolder, n: int, results: Sequence[PhaseResult]) -> None:
    """Print what people are to do after a round that asked them."""
    regions, pixels = (sum(getattr(r, key) for r in results) for key in ("regions", "pixels"))
    print(next_steps(n, folder.package(n), regions, pixels, folder.path))


def ask_people(args: Namespace, experiment: Experiment, n: int) -> None:
    """Write the package of regions that people are to label, with the network's first guess."""
    folder = experiment.folder.package(n)
    target, asked = experiment.target, experiment.active_set.asked
    if folder.exists():  # of a run that was stopped after it: a package appears whole or not at all
        check_package(folder, target.items, asked, target.regions, target.root)
        return
    items = [item for item in target.items if item.superpixel in asked]
    guesses = NetworkGuesses(
        experiment.model, items, target.info, tuple(args.image_size), experiment.runtime
    )
    write_package(
        folder, target.items, asked, target.info, guesses, root=target.root, masks=target.masks
    )


def check_arguments(args: Namespace) -> None:
    """Raise a :class:`UserError` for flags that cannot be used together."""
    check_training(args)
    if args.init_iteration > args.max_iterations:
        raise UserError(
            f"--init_iteration {args.init_iteration}: beyond --max_iterations {args.max_iterations}"
        )
    if args.init_iteration and not args.datalist_path:
        raise UserError(
            f"--init_iteration {args.init_iteration}: name the datalist to continue from with "
            f"--datalist_path EXP/datalist_{args.init_iteration - 1:02d}.pkl"
        )


if __name__ == "__main__":
    run(main, parser)

"""Active domain adaptation: rounds of fine-tuning, validation and selection of target regions.

The first round adopts --init_checkpoint, validates it and selects; each later round fine-tunes on
the source and all regions labelled so far, keeps its best checkpoint, and selects; the last round
selects nothing. To continue an experiment at round X: --init_iteration X --init_checkpoint
EXP/checkpoint0X.tar --datalist_path EXP/datalist_0{X-1}.pkl. A run that was stopped goes on with
--resume.
"""

import logging
from argparse import BooleanOptionalAction, Namespace
from pathlib import Path

from active_selection.region_table import SCORES
from active_selection.rounds import (
    Experiment,
    clean_up,
    datalist_path,
    first_open_round,
    planned_files,
)
from active_selection.strategies import METHODS
from active_selection.table_files import lock_feature_folder
from models import MODEL_NAMES
from utils.common import (
    COUNT,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    Parser,
    check_training,
    number,
    start_log,
    training_parser,
)
from utils.errors import UserError, run
from utils.resume import RunSettings
from utils.stopping import STOP

log = logging.getLogger("train_ADA")


def parser() -> Parser:
    """The command line of this script."""
    result = training_parser(__doc__, MODEL_NAMES)
    group = result.add_argument_group("active rounds")
    group.add_argument("--init_checkpoint", required=True, help="network of the first round")
    group.add_argument("--datalist_path", help="datalist_XX.pkl to go on from")
    group.add_argument("--save_feat_dir", type=Path, help="features (default: below -p)")
    group.add_argument("--keep_features", action="store_true", help="keep features and mixtures")
    group.add_argument("--init_iteration", type=COUNT, default=0, help="first round")
    group.add_argument("--max_iterations", type=COUNT, default=5, help="last round")
    group.add_argument("--finetune_itrs", type=POSITIVE_INT, default=120_000, help="a round")
    group.add_argument("--finetune_lr", type=POSITIVE, default=2.5e-4, help="backbone; head is 10x")
    group.add_argument(
        "--active_selection_size",
        type=NON_NEGATIVE,
        default=29.0,
        help="images' worth of pixels a round",
    )
    group.add_argument("--active_mode", default="region", choices=("region", "scan"))
    group.add_argument("--active_method", default="d2ada", choices=METHODS)
    group.add_argument("--uncertainty", default=SCORES[0], choices=SCORES, help="of d2ada")
    group.add_argument(
        "--components", type=POSITIVE_INT, help="of every mixture (default: by regions, 1 to 10)"
    )
    group.add_argument(
        "--max_source_regions",
        type=number(int, 2),
        help="of a class, drawn by chance, that its source mixture is fitted to (default: all)",
    )
    group.add_argument(
        "--class_balance",
        action=BooleanOptionalAction,
        default=True,
        help="classes take turns in density selection",
    )
    group.add_argument("--alpha", type=NON_NEGATIVE, default=1.0, help="share of density at first")
    group.add_argument("--beta", type=NON_NEGATIVE, default=1.0, help="how fast that share falls")
    return result


def main() -> None:
    args = parser().parse_args()
    check_arguments(args)
    STOP.listen()
    folder = args.model_save_dir
    start_log(folder / "log_train.txt")
    settings = RunSettings(args, "train_ADA", parser().get_default, *planned_files(args))
    if settings.begin(args.resume) or first_open_round(args) > args.max_iterations:
        settings.finish()
        clean_up(args)
        log.info("the rounds in %s are finished", folder)
        return
    if args.save_feat_dir:
        lock_feature_folder(args.save_feat_dir, folder)
    log.info("%s", vars(args))

    experiment = Experiment(args)
    settings.write()
    for round_index in range(experiment.first_round, args.max_iterations + 1):
        experiment.begin(round_index)
        labelled = experiment.labelled_pixels()
        if round_index == args.init_iteration:
            miou = experiment.adopt(Path(args.init_checkpoint))
        else:
            miou = experiment.finetune()
        spent = []
        if round_index < args.max_iterations:
            spent = experiment.select()
            experiment.active_set.save(datalist_path(args, round_index))
        experiment.record(miou, labelled, spent)
    settings.finish()
    clean_up(args)
    log.info("done: rounds %d to %d in %s", args.init_iteration, args.max_iterations, folder)


def check_arguments(args: Namespace) -> None:
    """Refuse combinations of flags that make no experiment."""
    check_training(args)
    if args.init_iteration > args.max_iterations:
        raise UserError(
            f"--init_iteration {args.init_iteration}: beyond --max_iterations {args.max_iterations}"
        )
    if args.init_iteration and not args.datalist_path:
        raise UserError(
            f"--init_iteration {args.init_iteration}: name the datalist to go on from with "
            f"--datalist_path EXP/datalist_{args.init_iteration - 1:02d}.pkl"
        )


if __name__ == "__main__":
    run(main)

"""--config: the flags of four scripts in one file, and the files that runs write."""

import pytest

import evaluation
import inference
import train_ADA
import warmup
from utils.config_file import FLAGS, ONE_TIME
from utils.errors import UserError

SCRIPTS = (warmup, train_ADA, inference, evaluation)
REQUIRED = {train_ADA: ["--init_checkpoint", "a"], inference: ["--trained_model_path", "a"]}
GIVEN = {
    warmup: ["-p", "a b", "--image_size", "64", "128", "--no-freeze_bn", "--relocate", "/x=/y"],
    train_ADA: ["--active_selection_size", "1%", "--max_source_regions", "all", "--report"],
    inference: ["--save_dir", "x=y", "--overlay", "0.5", "--deterministic"],
    evaluation: ["--pred_dir", "p", "--json", "a.json", "--confusion", "a.png"],
}


@pytest.fixture
def config(tmp_path):
    """Called with a text, writes it as a config file and returns the words that name it."""

    def write(text: str) -> list[str]:
        (tmp_path / "own.toml").write_text(text)
        return ["--config", str(tmp_path / "own.toml")]

    return write


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_flag_of_a_script_may_stand_in_a_file(script):
    names = {action.dest for action in script.parser()._actions} - {"help", "config"}
    assert FLAGS[script.__name__] == names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_file_that_a_run_writes_repeats_it(script, tmp_path):
    argv = [*REQUIRED.get(script, []), *GIVEN[script]]
    args = script.parser().parse_args(argv)
    path = tmp_path / "written.toml"
    script.parser().write_config(path, args)
    again = vars(script.parser().parse_args(["--config", str(path)]))
    once = dict.fromkeys(ONE_TIME & again.keys(), False)
    assert again == vars(args) | once | {"config": path}


def test_the_command_line_wins_and_tables_count_for_one_script(config):
    words = config('seed = 1\nimage_size = [64, 128]\n[train_ADA]\nseed = 2\ninit_checkpoint = "a"')
    assert warmup.parser().parse_args(words).seed == 1
    args = train_ADA.parser().parse_args(words)
    assert (args.seed, args.image_size, args.init_checkpoint) == (2, [64, 128], "a")
    assert train_ADA.parser().parse_args([*words, "--seed", "3"]).seed == 3
    assert train_ADA.parser().given(words) >= {"seed", "image_size", "init_checkpoint"}
    assert "seed" not in train_ADA.parser().typed(words)


def test_home_folders_that_a_shell_leaves_as_they_are(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config('model_save_dir = "~/exp"\ntrg_data_dir = "./~/a~/b"')
    words = ["--config=~/own.toml", "--src_data_dir=~/x y", "--relocate", "/old=~/new"]
    args = warmup.parser().parse_args(words)
    home = str(tmp_path)
    assert (args.model_save_dir, args.src_data_dir) == (tmp_path / "exp", f"{home}/x y")
    assert (args.trg_data_dir, args.relocate) == ("./~/a~/b", [("/old", f"{home}/new")])
    assert warmup.parser().given(words) >= {"model_save_dir", "trg_data_dir", "src_data_dir"}


def test_flags_of_other_scripts_are_passed_over(config):
    words = config('finetune_itrs = 5\npred_dir = "x"')
    assert not hasattr(warmup.parser().parse_args(words), "finetune_itrs")


def test_evaluation_evaluates_what_inference_predicts(config):
    shared = 'val_dataset = "camvid"\nval_data_dir = "a"\nval_datalist = "b.txt"\n'

    def flags(text, *words):
        args = evaluation.parser().parse_args([*config(shared + text), *words])
        return [str(v) for v in (args.dataset, args.root_dir, args.val_datalist_dir, args.pred_dir)]

    predicted = '[inference]\nsave_dir = "out"\n'
    assert flags(predicted) == ["camvid", "a", "b.txt", "out"]
    assert flags(f'{predicted}val_data_dir = "c"') == ["camvid", "c", "b.txt", "out"]
    assert flags(predicted, "--root_dir", "d", "--pred_dir", "e") == ["camvid", "d", "b.txt", "e"]
    own = f'{predicted}[evaluation]\ndataset = "GTA5"\nroot_dir = "g"\n'
    default = str(evaluation.DEFAULT_LISTS)
    assert flags(own) == ["GTA5", "g", default, "out"]  # the list is of the other dataset
    assert flags(f'{own}pred_dir = "h"') == ["GTA5", "g", default, "h"]
    with pytest.raises(UserError, match="--pred_dir"):
        flags("")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--image-sise 64 128", "the nearest is --image_size; see"),
        ("--No-Freeze-BN", "the nearest is --no-freeze_bn"),
        ("--oracle=people", "--oracle is a flag of train_ADA.py"),
        ("--zzzz", "arguments: --zzzz; see"),
        ("own.toml", "arguments: own.toml; see"),
        ("--init_checkpoint=", "^--init_checkpoint: is empty; give a value, or leave it out"),
        ("-p exp\r --seed 1", "^exp: a carriage return follows this word; save the file"),
        ("-p exp \r", "^exp: a carriage return follows this word; save the file"),
        ("--seed 1 -p ", r"^-p: is empty; .*\(is a variable of the shell not set"),
    ],
)
def test_unknown_and_empty_flags_are_one_line(words, line):
    with pytest.raises(UserError, match=line):
        warmup.parser().parse_args(words.split(" "))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sede = 1", "sede: no script has such a flag; the nearest is seed"),
        ("[warmup]\nfinetune_itrs = 1", r"finetune_itrs: warmup.py has no .*\[train_ADA\]"),
        ("[warm_up]\nseed = 1", r"\[warm_up\] is not a script's table"),
        ("seed = ", "is not TOML"),
        ('seed = "many"', "seed"),
        ("seed = [1]", "must be a single value"),
        ("image_size = 64", r"must be a list in brackets: \[H, W\]"),
        ("src_dataset = own/info.json", r'needs quotes: src_dataset = "own/info\.json"'),
        ("seed = 1\nmodel = x  # y", 'line 2, .*text needs quotes: model = "x"'),
        ("active_selection_size = 1%", 'text needs quotes: active_selection_size = "1%"'),
        ("freeze_bn = False", "write freeze_bn = false"),
        ("seed = 1\nseed = 2", "is not TOML .*; see docs"),
        (r'src_data_dir = "C:\data"', r"Unescaped .*; write a path with \\ in single quotes, or "),
        (r'src_data_dir = "C:\Users"', r"; write a path with \\ in single quotes, or with /"),
        ("resume = 1", "must be true or false"),
        ("src_dataset = 3", "must be text in quotes"),
        ('amp = "fp64"', "amp"),
        ('val_datalist = ""', "val_datalist: is empty; give a value, or leave it out"),
    ],
)
def test_bad_files_are_one_line(config, text, line):
    with pytest.raises(UserError, match=line) as caught:
        warmup.parser().parse_args(config(text))
    assert "own.toml" in str(caught.value)
    assert "\n" not in caught.value.line


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_file_in_another_encoding_is_told_of(config, tmp_path, encoding):
    words = config("")
    (tmp_path / "own.toml").write_bytes("seed = 1\r\n".encode(encoding))
    with pytest.raises(UserError, match=r"own\.toml: is not TOML .*not text in UTF-8: save it"):
        warmup.parser().parse_args(words)

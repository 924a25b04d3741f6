"""Config files: the flags of several scripts in one TOML file, for ``--config``.

A key is the long name of a flag without its dashes. Keys above all tables count for every script
that has such a flag. Those in a table ``[warmup]``, ``[train_ADA]``, ``[inference]`` or
``[evaluation]`` count for that script alone, and more than those above.

``evaluation.py`` has names of its own for the validation data and the predictions. A file that does
not use them serves it, too: then it evaluates what ``inference.py`` predicts with this file.
"""

import json
import logging
import re
from argparse import Action
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli_w

from utils.errors import UserError
from utils.files import read_regular, write_text

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

log = logging.getLogger(__name__)

_MODEL = "model separable_conv output_stride num_classes"
_MACHINE = "device image_size num_workers seed amp channels_last compile deterministic"
_VALIDATION = "val_dataset val_data_dir val_datalist val_batch_size relocate"
_TRAINING = f"""{_MODEL} {_MACHINE} {_VALIDATION} model_save_dir init_checkpoint
    src_dataset src_data_dir src_datalist trg_dataset trg_data_dir trg_datalist
    resume accept_changed_data tensorboard save_period dist_timeout
    freeze_bn ignore_idx train_batch_size grad_accum
    weight_decay total_itrs val_period train_lr train_lr_D loss_type focal_gamma"""
FLAGS: dict[str, frozenset[str]] = {
    script: frozenset(names.split())
    for script, names in {
        "warmup": f"{_TRAINING} warmup backbone_weights ramp_itrs",
        "train_ADA": f"""{_TRAINING} datalist_path save_feat_dir keep_features init_iteration
            max_iterations finetune_itrs finetune_lr active_selection_size active_mode active_method
            uncertainty components covariance max_source_regions class_balance alpha beta oracle
            accept_partial report""",
        "inference": f"""{_MODEL} {_MACHINE} {_VALIDATION} trained_model_path image_dir save_dir
            label_ids overlay dist_timeout""",
        "evaluation": "root_dir pred_dir val_datalist_dir dataset json confusion relocate",
    }.items()
}
"""The flags of every script that reads config files. A script refuses keys that none of them has
without importing the others; a test compares this table with their parsers."""
EVALUATED = {
    "dataset": "val_dataset",
    "root_dir": "val_data_dir",
    "val_datalist_dir": "val_datalist",
}
"""The flags of evaluation.py for the data, and those of inference.py that name the same."""
SHORT_NAMES = {"p": "model_save_dir", "m": "model"}
ONE_TIME = {"config", "resume", "accept_changed_data", "accept_partial"}
"""Flags that belong to one command, not to the run that it starts or continues."""


def read_config(path: Path, script: str) -> dict[str, Any]:
    """Return the flags that a config file sets for one script, name -> TOML value.

    Args:
        path: the file.
        script: a key of :data:`FLAGS`.

    Raises:
        UserError: the file cannot be read, is not TOML, or has a key that no script has.
    """
    shared, tables = _read_tables(path)
    values = _values(shared, tables, script)
    if script == "evaluation":
        values = _of_inference(_values(shared, tables, "inference"), values) | values
    return values


def own_table(path: Path, script: str) -> dict[str, Any]:
    """Return the flags that stand in a script's own table of a config file, name -> TOML value."""
    return _read_tables(path)[1].get(script, {})


def _read_tables(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the flags above all tables, and those of each script's table."""
    try:
        text = read_regular(path).decode("utf-8-sig", "surrogateescape")  # file names may need it
        content = tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"--config {path}: cannot be read (nested too deeply)") from error
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        hint = _hint(text, str(error)) if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise UserError(
            f"--config {path}: is not TOML ({error}); {hint or 'see docs/pipeline.md'}"
        ) from error
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    for name in tables:
        if name not in FLAGS:
            names = ", ".join(f"[{known}]" for known in FLAGS)
            raise UserError(f"--config {path}: [{name}] is not a script's table; these are {names}")
    shared = {key: value for key, value in content.items() if key not in tables}
    _check_names(path, shared, frozenset().union(*FLAGS.values()), "no script has such a flag")
    for name, table in tables.items():
        _check_names(path, table, FLAGS[name], f"{name}.py has no such flag", f"[{name}] ")
    return shared, tables


def _hint(text: str, message: str) -> str:
    """Return what to do where encoding or quotes are the likely fault; else an empty text."""
    if text.startswith(("\udcff\udcfe", "\udcfe\udcff")) or "\0" in text:  # UTF-16
        return "it is not text in UTF-8: save it in that encoding"
    if re.match(r"Unescaped ['\"]\\|Invalid hex value", message):
        return "write a path with \\ in single quotes, or with /"
    place = re.match(
        r"(Invalid value|Expected newline or end of document).*\(at line (\d+)", message
    )
    lines = text.split("\n")
    line = lines[int(place[2]) - 1] if place and int(place[2]) <= len(lines) else ""
    found = re.match(r"\s*([\w-]+)\s*=\s*([^\s\"'\[{#][^#\"']*)", line)
    if not found:
        return ""
    key, value = found[1], found[2].strip()
    if value.lower() in ("true", "false"):
        return f"write {key} = {value.lower()}"
    return f'text needs quotes: {key} = "{value}"'


def _values(shared: Mapping[str, Any], tables: Mapping[str, Any], script: str) -> dict[str, Any]:
    values = {key: value for key, value in shared.items() if key in FLAGS[script]}
    return values | tables.get(script, {})


def _of_inference(inference: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the flags with which evaluation.py evaluates what inference.py predicts.

    Args:
        inference: the flags that the file sets for inference.py.
        given: names of those that it sets for evaluation.py; if the data are among them, none of
            inference.py's data are taken.
    """
    names = {"pred_dir": "save_dir"}
    if not EVALUATED.keys() & given:
        names |= EVALUATED | {"relocate": "relocate"}
    return {own: inference[name] for own, name in names.items() if name in inference}


def scripts_with(flag: str) -> list[str]:
    """Names of the scripts that read config files and have a flag."""
    return [script for script, flags in FLAGS.items() if flag in flags]


def _check_names(
    path: Path, values: Mapping[str, Any], known: Collection[str], problem: str, where: str = ""
) -> None:
    """Raise a :class:`UserError` for the first key that is not known, with the nearest name."""
    by_lower = {name.lower(): name for name in sorted(known)}
    for key, value in values.items():
        if isinstance(value, dict):
            raise UserError(f"--config {path}: {where}{key} is a table in a table; no flag is")
        if key not in known:
            (near,) = get_close_matches(key.lower().replace("-", "_"), by_lower, 1, cutoff=0)
            hint = f"the nearest is {SHORT_NAMES.get(key, by_lower[near])}"
            if scripts := scripts_with(key):
                tables = " or ".join(f"[{name}]" for name in scripts)
                hint = f"move it to {tables}, or above all tables"
            raise UserError(f"--config {path}: {where}{key}: {problem}; {hint}")


def command_words(action: Action, value: Any, text_only: bool) -> list[str]:
    """Return the words of a command line that give a flag a value of a config file.

    Args:
        action: the flag.
        value: its value, as TOML has it.
        text_only: whether a number must be refused, because the flag takes a text.

    Raises:
        UserError: the value's type is not the flag's.
    """
    flag = action.option_strings[-1]
    takes_list = action.nargs not in (None, 0) or isinstance(action.default, list)
    values = value if isinstance(value, list) else [value]
    types = (bool,) if action.nargs == 0 else (str,) if text_only else (str, int, float)
    if isinstance(value, list) != takes_list:
        wanted = "a list in brackets" if takes_list else "a single value, not a list"
        if isinstance(action.metavar, tuple):
            wanted += f": [{', '.join(action.metavar)}]"
    elif not all(isinstance(v, types) and isinstance(v, bool) == (bool in types) for v in values):
        wanted = {1: "text in quotes", 3: "a number, or text in quotes"}[len(types)]
        wanted = "true or false, without quotes" if bool in types else wanted
    elif any("\0" in v for v in values if isinstance(v, str)):
        wanted = "free of null characters"
    elif action.nargs == 0:
        return [action.option_strings[0] if value else flag]
    elif action.nargs is None:
        return [f"{flag}={_text(v)}" for v in values]
    else:
        return [flag, *map(_text, values)]
    raise UserError(f"{action.dest} = {_json(value)}: must be {wanted}")


def _text(value: str | float) -> str:
    """Return a value as a command line has it."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except ValueError:  # a hexadecimal number of thousands of digits
        return "a number beyond all bounds"


def write_config(path: Path, script: str, values: Mapping[str, Any]) -> None:
    """Write the config file that repeats a run.

    A file that is there and was not written by a run of the script is left as it is.

    Args:
        path: the file.
        script: a key of :data:`FLAGS`.
        values: all flags of the run, name -> TOML value; see :meth:`utils.parser.Parser.values`.
    """
    header = f"# Written by {script}.py; python {script}.py --config THIS_FILE repeats the run"
    try:
        foreign = not read_regular(path).startswith(header.partition(";")[0].encode())
    except FileNotFoundError:
        foreign = False
    except OSError:
        foreign = True
    if foreign:
        log.warning("%s: left as it is, since no run wrote it; this run's flags are not kept", path)
        return
    notes = ["# (with -p and another folder)"] if "model_save_dir" in values else []
    flags = {key: value for key, value in values.items() if key not in ONE_TIME}
    write_text(path, "\n".join([header, *notes, "", tomli_w.dumps(flags)]))

"""Reading ``info.json``: checked by a JSON Schema, and for what a schema cannot say.

Whatever is wrong ends in one :class:`UserError` line that names the file, the key and what is
expected there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from dataloader import path_templates
from utils.errors import UserError
from utils.files import read_regular
from utils.metrics import IGNORE
from utils.names import fold

SCHEMA = Path(__file__).parent / "info.schema.json"
MAX_BYTES = 1_000_000  # the largest description here has 3,000
MAX_LABEL_ID = 65535
MAX_RANGE = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_TEMPLATES = ("image", "label", "superpixel", "ignore_mask")
_EXAMPLE = path_templates.Names("stem", "group")

Problem = tuple[str, str]
"""A key of the file, and what is wrong there."""


def read_info(path: Path) -> dict[str, Any]:
    """The checked content of an ``info.json``.

    Raises:
        UserError: the file cannot be read, or is no valid description of a dataset.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: is too large for a dataset description (JSON)")
        text = read_regular(path).decode("utf-8-sig")
        if found := _first_problem(text):
            key, problem = found
            raise UserError(f"{path}: {key}{' ' if key else ''}{problem}")
        return _parse(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a dataset description") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8; save it in that encoding") from error
    except ValueError as error:
        reason = _short(str(error), 120)
        raise UserError(f"{path}: is not valid JSON ({reason}); mend it") from error


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_shown(twice)} is there twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


@lru_cache(maxsize=16)
def _first_problem(text: str) -> Problem | None:
    """The first thing that is wrong with a description; a script reads the same one many times."""
    return next(_problems(_parse(text)), None)


def _problems(info: Any) -> Iterator[Problem]:
    """What is wrong with a description; later checks rely on earlier ones."""
    errors = list(_validator().iter_errors(info))
    if errors:
        yield _schema_problem(min(errors, key=_importance))
    yield from _control_characters(info)
    yield from _splits(info["splits"])
    yield from _templates(info)
    yield from _classes(info)
    yield from _label_ids(info)
    yield from _label_colors(info)
    yield from _excluded(info.get("exclude", []))
    yield from _left_out(info)


@lru_cache(maxsize=1)
def _validator() -> Draft202012Validator:
    base = Draft202012Validator
    # JSON Schema calls 7.0 an integer; as an index it is none
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(base, type_checker=types)(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _importance(error: ValidationError) -> tuple[bool, bool]:
    """Sorts unknown keys (perhaps a slip of the pen) before those that are missing, then others."""
    at_top = not error.absolute_path
    unknown = at_top and error.validator == "additionalProperties"
    return (not unknown, not (at_top and error.validator == "required"))


def _schema_problem(error: ValidationError) -> Problem:
    """One error of the JSON Schema in the words of an error line."""
    properties = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        unknown = next(key for key in error.instance if key not in properties)
        return "", f"{_shown(unknown)} is no key of a dataset description{_nearest(unknown)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return "", f'"{missing}" is missing; expected {properties[missing]["description"]}'
    key = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    ).lstrip(".")
    expected = error.schema["description"]
    if "propertyNames" in error.absolute_schema_path:
        return key, f"has the key {_shown(error.instance)}; expected {expected}"
    return key, f"is {_shown(error.instance)}; expected {expected}"


def _nearest(key: str) -> str:
    near = get_close_matches(key.lower(), _validator().schema["properties"], 1)
    return f'; did you mean "{near[0]}"?' if near else "; see docs/datasets.md"


def _shown(value: Any) -> str:
    """A value as JSON, in ASCII and cut to what an error line can hold."""
    return _short(json.dumps(value), 60)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _control_characters(info: Mapping[str, Any]) -> Iterator[Problem]:
    """No text may hold what breaks a line of a list, a log or a table."""
    for key, value in info.items():
        texts = [value] if isinstance(value, str) else []
        if isinstance(value, Mapping):
            texts = [*value, *value.values()]
        elif isinstance(value, list):
            texts = value
        for text in texts:
            if isinstance(text, str) and _CONTROL.search(text):
                yield key, f"has a control character in {_shown(text)}; take it out"


def _splits(splits: Mapping[str, str]) -> Iterator[Problem]:
    for name, text in splits.items():
        try:
            if text:
                path_templates.check_relative(text)
        except ValueError as error:
            yield f"splits.{name}", f"{_shown(text)} {error}"


def _templates(info: Mapping[str, Any]) -> Iterator[Problem]:
    """Braces, placeholders and places of the path templates."""
    held = {}
    for key in _TEMPLATES:
        if key in info:
            try:
                held[key] = path_templates.placeholders(info[key])
            except ValueError as error:
                yield key, f"is {_shown(info[key])}: {error}"
    yield from _placeholders(info, held)
    for key in held:
        for split, text in info["splits"].items():
            yield from _place(key, info[key], split, text)
    for split, text in info["splits"].items():
        paths = {k: path_templates.fill(info[k], text, _EXAMPLE) for k in held}
        for key in held:
            for other in list(held)[: list(held).index(key)]:
                if paths[key] == paths[other]:
                    yield key, f"is the same file as {other} in split {split}; name different files"


def _placeholders(info: Mapping[str, Any], held: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Which template must hold which placeholder, so that each image has files of its own."""
    for key, names in held.items():
        shown = f"is {_shown(info[key])}"
        if names.count("stem") > 1 or ("stem" not in names and key != "ignore_mask"):
            yield key, f"{shown}; expected {{stem}} in it once"
        if "group" in names and "group" not in held["image"]:
            yield key, f"{shown}: {{group}} is known only where image holds it, too"
    image = info["image"]
    if "group" in held["image"]:
        if image.split("/").count("{group}") != 1 or held["image"].count("group") != 1:
            yield "image", f"is {_shown(image)}; expected {{group}} once, as a whole folder name"
        if "group" not in held["superpixel"]:
            yield "superpixel", "has no {group}, as image has; two images would share one map"
    if "split" not in held["image"] and len(set(info["splits"].values())) > 1:
        yield "image", "has no {split}, so that all splits would be the same images; put it in"


def _place(key: str, template: str, split: str, text: str) -> Iterator[Problem]:
    """A template filled in for one split must be a file below the root."""
    path = path_templates.fill(template, text, _EXAMPLE)
    try:
        path_templates.check_relative(path)
    except ValueError as error:
        where = f' ("{path}" in split {split})' if "{split}" in template else ""
        yield key, f"is {_shown(template)}{where}: {error}"
    suffix = Path(template).suffix
    if key in ("superpixel", "ignore_mask") and suffix != ".png":
        yield key, f"is {_shown(template)}; expected a path that ends in .png"
    if not re.fullmatch(r"\.[A-Za-z0-9]+", suffix):
        yield key, f"is {_shown(template)}; expected a path that ends in a suffix such as .png"


def _classes(info: Mapping[str, Any]) -> Iterator[Problem]:
    names, palette = info["class_names"], info["palette"]
    seen = {}
    for train_id, name in enumerate(names):
        first = seen.setdefault(fold(name), train_id)
        if first != train_id:
            yield "class_names", f"has {_shown(name)} twice, for train ids {first} and {train_id}"
    if len(palette) != len(names):
        counts = f"has {len(palette)} colours, class_names {len(names)} names"
        yield "palette", f"{counts}; each class needs a name and a colour"


def _label_ids(info: Mapping[str, Any]) -> Iterator[Problem]:
    count = len(info["class_names"])
    classes = {int(k): v for k, v in info["label_to_train"].items() if v not in (-1, IGNORE)}
    for label_id, train_id in classes.items():
        key = f"label_to_train.{label_id}"
        if train_id >= count:
            names = f"{count} names (train ids 0 to {count - 1})"
            yield key, f"is train id {train_id}, but class_names has {names}; 255 means ignored"
        if label_id < 0:
            yield key, f"is train id {train_id}, but no label file can hold -1; write 255"
        if label_id > 255 and info["label_reader"] == "red8":
            yield key, "can be in no label, as red8 reads values of 0 to 255"
    for key in ("label_to_train", "label_colors"):
        for label_id in info.get(key, {}):
            if int(label_id) > MAX_LABEL_ID:
                yield f"{key}.{label_id}", f"is beyond {MAX_LABEL_ID}, the last of a 16-bit label"
    if not classes:
        yield "label_to_train", "maps every label id to ignored; map some to a class"


def _label_colors(info: Mapping[str, Any]) -> Iterator[Problem]:
    """Colours are there for the reader that needs them, one for each label id, all different."""
    colors = info.get("label_colors")
    if info["label_reader"] != "rgb":
        if colors is not None:
            yield "label_colors", 'is read with label_reader "rgb" only; take it out or set that'
        return
    if colors is None:
        yield "label_colors", 'is missing; label_reader "rgb" needs a colour for each label id'
        return
    seen = {}
    for label_id, color in colors.items():
        first = seen.setdefault(tuple(color), label_id)
        if first != label_id:
            yield "label_colors", f"has {color} twice, for label ids {first} and {label_id}"
    for label_id in info["label_to_train"]:
        if label_id not in colors and label_id != "-1":
            yield "label_colors", f"has no colour for label id {label_id} of label_to_train"


def _excluded(entries: list[str]) -> Iterator[Problem]:
    for entry in entries:
        first, _, last = entry.partition("-")
        if not last:
            continue
        if last != str(int(last)).zfill(len(first)) or int(last) < int(first):
            expected = "the smaller number first, both with the digits of the file names"
            yield "exclude", f"has the range {_shown(entry)}; expected {expected}"
        if int(last) - int(first) >= MAX_RANGE:
            yield "exclude", f"has the range {_shown(entry)} of more than {MAX_RANGE:,} images"


def _left_out(info: Mapping[str, Any]) -> Iterator[Problem]:
    """Classes that means leave out must be classes, and others must be left."""
    count = len(info["class_names"])
    left = set(range(count))
    for key in ("missing_classes", "star_classes_without"):
        for train_id in info.get(key, []):
            if train_id >= count:
                yield key, f"has {train_id}, but the train ids are 0 to {count - 1}"
            left.discard(train_id)
        if not left:
            yield key, "leaves no class to average over; leave some class out of it"

"""Path templates of a dataset: where its images, labels and superpixel maps lie below the root.

A template is a relative path with placeholders: ``{split}`` is the text of the split, ``{group}``
one folder of any name (ACDC's weather conditions), and ``{stem}`` the rest of the name, which may
hold folders.
"""

import re
from functools import lru_cache
from pathlib import PurePosixPath
from string import Formatter
from typing import NamedTuple

PLACEHOLDERS = ("split", "group", "stem")
_WILD = {"group": "(?P<group>[^/]+)", "stem": "(?P<stem>.+)"}


class Names(NamedTuple):
    """What ``{stem}`` and ``{group}`` stand for in the paths of one image."""

    stem: str
    group: str = ""


def placeholders(template: str) -> list[str]:
    """The placeholders of a template, in order.

    Raises:
        ValueError: says what is wrong with the template's braces.
    """
    found = []
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if name not in PLACEHOLDERS or spec or conversion:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            text = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{text}}} is no placeholder; there are {known}")
        found.append(name)
    return found


def check_relative(path: str) -> None:
    """Make sure that a path stays below the root and is written in one way only.

    Raises:
        ValueError: says what is wrong with it.
    """
    if "\\" in path:
        raise ValueError('has a "\\"; folders are parted by "/"')
    if path.startswith(("/", "~")) or re.match("[A-Za-z]:", path):
        raise ValueError("is not relative to the data root")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(f'has the folder name "{part}"; name only folders below the data root')


def fill(template: str, split: str, names: Names) -> str:
    """The path of a valid template; ``split`` is the text that stands for ``{split}``."""
    return template.format(split=split, **names._asdict())


def parse(template: str, split: str, path: str, any_suffix: bool = False) -> Names | None:
    """The inverse of :func:`fill`: what the placeholders stand for in ``path``.

    Args:
        template: a valid one with ``{stem}``.
        split: the text that stands for ``{split}``.
        path: relative to the data root, with "/".
        any_suffix: whether the path may have another suffix than the template.

    Returns:
        None if the path is not one of the template's.
    """
    found = _pattern(template, split, any_suffix).fullmatch(path)
    return found and Names(**found.groupdict())


def static_folder(template: str, split: str) -> str:
    """The folder below the root in which all paths of a template lie; "" for the root itself."""
    head = fill(template, split, Names("\0", "\0")).partition("\0")[0]
    return head.rpartition("/")[0]


@lru_cache(maxsize=64)
def _pattern(template: str, split: str, any_suffix: bool) -> re.Pattern[str]:
    if any_suffix:
        template = template.removesuffix(PurePosixPath(template).suffix)
    expression = ""
    wild = {**_WILD, "split": re.escape(split)}
    for literal, name, _, _ in Formatter().parse(template):
        expression += re.escape(literal)
        if name is not None:
            expression += wild[name]
            if name != "split":
                wild[name] = f"(?P={name})"  # the same text again
    return re.compile(expression + (r"\.[^./]+" if any_suffix else ""), re.DOTALL)

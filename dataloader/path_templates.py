"""Path templates of a dataset: where its images, labels and superpixel maps lie below the root.

A template is a relative path with placeholders: ``{split}`` is the text of the split, ``{group}``
one folder of any name (ACDC's weather conditions), and ``{stem}`` the rest of the name, which may
hold folders.
"""

import re
from functools import lru_cache
from pathlib import PurePosixPath
from string import Formatter

PLACEHOLDERS = ("split", "group", "stem")
_WILD = {"group": "(?P<group>[^/]+)", "stem": "(?P<stem>.+)"}


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


@lru_cache(maxsize=64)
def pattern(template: str, split: str, any_suffix: bool = False) -> re.Pattern[str]:
    """What matches the paths of a template, with the groups ``stem`` and perhaps ``group``.

    Args:
        template: a valid one.
        split: the text that stands for ``{split}``.
        any_suffix: the paths may have another suffix than the template.
    """
    if any_suffix:
        template = template.removesuffix(PurePosixPath(template).suffix)
    expression = ""
    for literal, name, _, _ in Formatter().parse(template):
        expression += re.escape(literal)
        if name is not None:
            expression += re.escape(split) if name == "split" else _WILD[name]
    return re.compile(expression + (r"\.[^./]+" if any_suffix else ""), re.DOTALL)


def static_folder(template: str, split: str) -> str:
    """The folder below the root in which all paths of a template lie; "" for the root itself."""
    head = template.format(split=split, group="\0", stem="\0").partition("\0")[0]
    return head.rpartition("/")[0]

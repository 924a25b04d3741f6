"""Damaged files and made-up flags, from fixed seeds: each is read right, or refused in one line.

``python -m tests.fuzz`` (``make fuzz``) tries many and prints counts; the test suite tries a few of
each. All files lie in a temporary folder of this process, and no path is ever made up.
"""

import argparse
import json
import logging
import random
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz_targets import FLAG_PARSERS, TARGETS, Target
from utils.errors import UserError
from utils.parser import Parser

SECONDS = 30  # a case that takes longer hangs
RAW = ["NaN", "-Infinity", "1e999", "1" + "0" * 400, "9" * 5000, "[" * 100_000, '"\\ud800"']
"""Values that only the text of a JSON file can hold."""
VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    256,
    2**63,
    0.5,
    "",
    "x",
    "/",
    [],
    {},
    [0, 0],
    [[]],
    {"": 0},
]
TEXTS = [
    *map(str, VALUES),
    *RAW,
    "1e5",
    "1_000",
    "٣",
    "0x10",
    " 7",
    "+7",
    "nan",
    "inf",
    "7%",
    "all",
]


def damage(content: bytes, rng: random.Random) -> bytes:
    """Bytes of a file, as a disk or somebody's editor might leave them."""
    changed = bytearray(content)
    place = rng.randrange(len(content))
    kind = rng.randrange(7)
    if kind == 0:
        return bytes(changed[:place])
    if kind == 1:  # what a file system without a journal leaves
        changed[place:] = bytes(len(content) - place)
    elif kind == 2:
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del changed[place : place + rng.randint(1, 20)]
    elif kind == 4:
        changed[place:place] = rng.randbytes(rng.randint(1, 20))
    elif kind == 5:
        other = rng.randrange(len(content))
        changed[place : place + 16] = changed[other : other + 16]
    else:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def damage_json(content: bytes, rng: random.Random) -> bytes:
    """A JSON file in which one value is another, or its bytes are damaged."""
    kind = rng.randrange(4)
    if kind == 0:
        return damage(content, rng)
    if kind == 1:
        text = content.decode()
        return rng.choice([text.encode("utf-16"), b"\xef\xbb\xbf" + content, b"\xff" + content])
    value = json.loads(content)
    marker = "another value"
    new = rng.choice([*VALUES, *([marker] * len(RAW))])
    if not isinstance(value, (dict, list)) or rng.random() < 0.1:
        value = new
    else:
        _change(value, new, rng)
    text = json.dumps(value)
    return text.replace(json.dumps(marker), rng.choice(RAW)).encode()


def _change(value: Any, new: Any, rng: random.Random) -> None:
    """Replace, remove or double one value somewhere inside a container."""
    places = list(_places(value))
    if not places:
        return
    container, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.7:
        container[key] = new
    elif kind < 0.85:
        del container[key]
    elif isinstance(container, list):
        container.append(container[key])
    else:
        container[key + "x"] = container.pop(key)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


@contextmanager
def time_limit(case: str) -> Iterator[None]:
    """Raise an error in a case that hangs."""

    def end(*_: Any) -> None:
        raise TimeoutError(f"{case}: hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_one_line(error: UserError, name: str, case: str) -> None:
    """An error's line names the file or flag."""
    assert name in error.line, f"{case}: {error.line} does not name {name}"
    assert error.line.isprintable(), f"{case}: {error.line!r}"


def fuzz_file(target: Target, folder: Path, seed: int) -> str:
    """Damage a target's file, and read it: "refused", or "read" as what may be in such a file."""
    case, rng = f"{target.name}, seed {seed}", random.Random(f"{target.name} {seed}")
    paths = target.write(folder)
    path = rng.choice(paths)
    change = damage_json if target.is_json else damage
    path.write_bytes(change(path.read_bytes(), rng))
    with time_limit(case):
        try:
            value = target.read(folder)
        except UserError as error:
            assert_one_line(error, str(folder), case)
            return "refused"
    assert target.accept(value), f"{case}: read {value!r}"
    return "read"


def fuzz_flag(make_parser: Callable[[], Parser], script: str, seed: int) -> str:
    """Give a flag of a script a made-up value: "refused", or "read" as a number within limits."""
    rng = random.Random(f"{script} {seed}")
    parser = make_parser()
    required = [a for a in parser._actions if a.required]
    command = [word for action in required for word in (action.option_strings[0], "x")]
    action = rng.choice([a for a in parser._actions if a.option_strings and a.dest != "help"])
    case = f"{script} {action.option_strings[0]}, seed {seed}"
    count = action.nargs if isinstance(action.nargs, int) else 1
    flag, words = action.option_strings[0], [rng.choice(TEXTS)[:6000] for _ in range(count)]
    words = [f"{flag}={words[0]}"] if count == 1 else [flag, *words]
    with time_limit(case):
        try:
            value = getattr(parser.parse_args([*command, *words]), action.dest)
        except UserError as error:
            assert_one_line(error, "--", case)
            assert len(error.line) < 1000, case
            return "refused"
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, (int, float)):
            assert abs(number) <= 2**32, f"{case}: {number}"
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="of each kind of file and script")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of Pillow, on damaged files
    logging.getLogger().setLevel(logging.ERROR)  # readers warn of much that is in such files
    counts: Counter[str] = Counter()
    seeds = range(args.first, args.first + args.cases)
    for target in TARGETS:
        found = Counter()
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="d2ada-fuzz-") as folder:
                found[fuzz_file(target, Path(folder), seed)] += 1
        print(f"{target.name}: {found['refused']} refused, {found['read']} read")
        counts += found
    for script, make_parser in FLAG_PARSERS.items():
        found = Counter(fuzz_flag(make_parser, script, seed) for seed in seeds)
        print(f"flags of {script}: {found['refused']} refused, {found['read']} read")
        counts += found
    print(f"{counts.total()} cases: {counts['refused']} refused in one line, {counts['read']} read")


if __name__ == "__main__":
    main()

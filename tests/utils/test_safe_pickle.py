"""Data comes back as it is; hostile pickles run nothing and claim no memory."""

import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from utils.safe_pickle import load_pickle, save_pickle

ROOT = Path(__file__).parents[2]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_round_trips_in_every_protocol(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert load_pickle(path) == value
    save_pickle(path, value)
    assert load_pickle(path) == pickle.loads(path.read_bytes()) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a path"), "a path"),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.asfortranarray(np.arange(4.0).reshape(2, 2)), [[0, 1], [2, 3]]),
        (np.arange(3, dtype=">i4"), [0, 1, 2]),
        ({1, 2}, {1, 2}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
    ],
    ids=repr,
)
def test_numpy_values_and_containers_come_out_plain(tmp_path, value, expected, protocol):
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps({"key": [value, value]}, protocol=protocol))
    loaded = load_pickle(path)["key"]
    assert loaded == [expected, expected]
    assert type(loaded[0]) is type(expected) or isinstance(loaded[0], list)


def test_equal_values_give_equal_bytes(tmp_path):
    text, numbers = "a path", [1, 2]
    shared = {"x": [text, text], "y": (numbers, numbers), text: numbers}
    apart = {"x": ["a " + "path", "".join("a path")], "y": ([1, 2], [1, 2]), "a path": [1, 2]}
    for name, value in (("shared", shared), ("apart", apart)):
        save_pickle(tmp_path / name, value)
    assert (tmp_path / "shared").read_bytes() == (tmp_path / "apart").read_bytes()


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def g(module, name):
    return f"c{module}\n{name}\n".encode()


MEGABYTE = b"\x80\x04B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x01"
DTYPE = g("numpy", "dtype") + b"(X\x02\x00\x00\x00u1tRq\x02"
ARRAY = (
    g("numpy.core.multiarray", "_reconstruct") + b"(tR(K\x01(J\x00\x00\x10\x00th\x02I00\nh\x01tb"
)
HOSTILE = {
    "os.system": pickle.dumps(Call(os.system, "touch ran")),
    "subprocess": pickle.dumps(Call(subprocess.check_call, ["touch", "ran"])),
    "eval": pickle.dumps(Call(eval, "open('ran', 'w')")),
    "exec below data": pickle.dumps({"trg_pool_suppix": [Call(exec, "open('ran', 'w')")]}),
    "open": pickle.dumps(Call(open, "ran", "w")),
    "getattr": pickle.dumps(Call(getattr, "", "join")),
    "nested globals": b"\x80\x04\x8c\x08builtins\x8c\x0cstr.__mro__.x\x93.",
    "dotted global": b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.",
    "numpy load": g("numpy", "load") + b"(X\x03\x00\x00\x00ran\x85R.",
    "numpy file": g("numpy", "memmap") + b"(X\x03\x00\x00\x00ran\x85R.",
    "object array": g("numpy", "dtype") + b"(X\x02\x00\x00\x00O8tR.",
    "huge dtype": g("numpy", "dtype") + b"(X\x0c\x00\x00\x00V99999999999tR.",
    "array of petabytes": DTYPE
    + g("numpy.core.multiarray", "_reconstruct")
    + b"(tR(K\x01(I1000000000000000\nth\x02I00\nB\x00\x00\x00\x00tb.",
    "a thousand copies": MEGABYTE + b"0" + DTYPE + b"0(" + 1000 * ARRAY + b"l.",
    "memo of gigabytes": b"\x80\x04]r\xff\xff\xff\x7f.",
    "bytearray of exabytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "string of exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "hash that never ends": b"\x80\x04}K\x01" + b"2\x86" * 60 + b"K\x01s.",
    "hash that overflows the stack": b"\x80\x04})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "tuple in a set": b"\x80\x04\x8f()\x90.",
    "frozen set": b"\x80\x04(K\x01\x91.",
    "attributes of the reader": b"\x80\x04" + g("builtins", "set") + b"}b.",
    "persistent id": b"Pran\n.",
    "instance": b"(S'touch ran'\nios\nsystem\n.",
    "new object": g("numpy", "ndarray") + b")\x81.",
    "truncated": pickle.dumps({"a": list(range(1000))})[:-200],
    "empty": b"",
    "no pickle": b"\x89PNG\r\n\x1a\n",
    "endless digits": b"I" + b"9" * 100_000 + b"\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(name, tmp_path, monkeypatch, tally):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(UserError, match=r"hostile\.pkl: [^\n]+$"):
        load_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not (tmp_path / "ran").exists()
    assert peak < 200_000_000
    tally["hostile files refused"] += 1


def test_bomb_of_nested_lists_stays_small(tmp_path, tally):
    """A list of two references to a list of two references ...: 2^60 leaves in 300 bytes."""
    bomb: list = []
    for _ in range(60):
        bomb = [bomb, bomb]
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps({"src_label_im_idx": bomb}, protocol=4))
    code = (
        "import resource, sys, tracemalloc; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from dataloader.active_set import ActiveSet\n"
        "from utils.errors import UserError\n"
        "tracemalloc.start()\n"
        "try:\n    ActiveSet.load(sys.argv[1], '.', '.')\n"
        "except UserError:\n    print(tracemalloc.get_traced_memory()[1])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert int(result.stdout) < 10_000_000, result.stderr
    tally["hostile files refused"] += 1


def test_deeply_nested_list_is_no_crash(tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    code = (
        "import sys; from utils.safe_pickle import load_pickle\n"
        "load_pickle(sys.argv[1]); print('whole')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "whole", result.stderr

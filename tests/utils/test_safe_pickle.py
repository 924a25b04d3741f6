"""Data comes back as it is; hostile pickles run nothing and claim no memory."""

import gzip
import os
import pickle
import struct
import subprocess
import tracemalloc
from collections import OrderedDict, defaultdict
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from utils.safe_pickle import load_pickle, save_pickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_subnormal=False)
    | st.text(),
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
        (Path("/data/city", "a b.png"), "/data/city/a b.png"),
        (Path(), "."),
        (PureWindowsPath(r"D:\city\a.png"), r"D:\city\a.png"),
    ],
    ids=repr,
)
def test_numpy_values_and_containers_come_out_plain(tmp_path, value, expected, protocol):
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps({"key": [value, value]}, protocol=protocol))
    loaded = load_pickle(path)["key"]
    assert loaded == [expected, expected]
    assert type(loaded[0]) is type(expected) or isinstance(loaded[0], list)


@pytest.mark.parametrize(
    ("save", "remedy"),
    [
        (lambda path, value: path.write_bytes(gzip.compress(pickle.dumps(value))), "gzip: unpack"),
        (lambda path, value: torch.save(value, path), "if torch.save wrote it, use pickle.dump"),
    ],
)
def test_packed_pickles_are_told_apart_from_damaged_ones(tmp_path, save, remedy):
    save(tmp_path / "list.pkl", {"a": [1]})
    with pytest.raises(UserError, match=f"not a pickle of data .*{remedy}"):
        load_pickle(tmp_path / "list.pkl")


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


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def memo_graph(opcode):
    """A container of two references to a container of two references ...: 2^60 leaves.

    It is the value 60 of the memo, and the last of a tuple.
    """
    mark = b"(" if opcode == b"l" else b""
    steps = (mark + bytes([*b"h", n, *b"h", n, *opcode, *b"q", n + 1]) for n in range(60))
    return b"(K\x01q\x00" + b"".join(steps) + b"t"


def shaped(*shape):
    """An array without values."""
    numbers = b"".join(b"J" + struct.pack("<i", n) for n in shape)
    return DTYPE + RECONSTRUCT + b"(tR(K\x01(" + numbers + b"th\x02I00\nU\x00tb."


def integer(value):
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


MEGABYTE = b"\x80\x04B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x01"
LETTERS = text(b"a" * (1 << 20)) + b"q\x00"
DTYPE = g("numpy", "dtype") + b"(X\x02\x00\x00\x00u1tRq\x02"
TEXT_DTYPE = g("numpy", "dtype") + b"(X\x05\x00\x00\x00U1000tRq\x02"
RECONSTRUCT = g("numpy.core.multiarray", "_reconstruct")
ARRAY = RECONSTRUCT + b"(tR(K\x01(J\x00\x00\x10\x00th\x02I00\nh\x01tb"
SCALAR = g("numpy.core.multiarray", "scalar") + b"h\x02h\x01\x86R"
TEXTS = b"B" + struct.pack("<I", 4000) + b"a\0\0\0" * 1000 + b"q\x01"
COLLIDING = [integer(k * (2**61 - 1)) for k in range(1, 5000)]
HOSTILE = {
    "os.system": pickle.dumps(Call(os.system, "touch ran")),
    "subprocess": pickle.dumps(Call(subprocess.check_call, ["touch", "ran"])),
    "eval": pickle.dumps(Call(eval, "open('ran', 'w')")),
    "exec below data": pickle.dumps({"trg_pool_suppix": [Call(exec, "open('ran', 'w')")]}),
    "open": pickle.dumps(Call(open, "ran", "w")),
    "getattr": pickle.dumps(Call(getattr, "", "join")),
    "nested globals": b"\x80\x04\x8c\x08builtins\x8c\x0cstr.__mro__.x\x93.",
    "dotted global": b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.",
    "global of no name": b"\x80\x04" + memo_graph(b"\x86") + b"h\x3ch\x3c\x93\x86.",
    "numpy load": g("numpy", "load") + b"(X\x03\x00\x00\x00ran\x85R.",
    "numpy file": g("numpy", "memmap") + b"(X\x03\x00\x00\x00ran\x85R.",
    "object array": g("numpy", "dtype") + b"(X\x02\x00\x00\x00O8tR.",
    "huge dtype": g("numpy", "dtype") + b"(X\x0c\x00\x00\x00V99999999999tR.",
    "bytes of a number": g("__builtin__", "bytes") + b"(J\xff\xff\xff\x7ftR.",
    "array of petabytes": DTYPE
    + RECONSTRUCT
    + b"(tR(K\x01(I1000000000000000\nth\x02I00\nB\x00\x00\x00\x00tb.",
    "array of empty lists": shaped(100_000_000, 0),
    "array of nested empty lists": shaped(10_000, 10_000, 0),
    "array of a negative size": shaped(-1, 0),
    "array of a thousand axes": shaped(*[1] * 1000),
    "a thousand copies": MEGABYTE + DTYPE + b"(" + 1000 * ARRAY + b"t.",
    "a thousand texts": LETTERS
    + b"("
    + 1000 * (g("_codecs", "encode") + b"h\x00X\x06\x00\x00\x00latin1\x86R")
    + b"t\x86.",
    "a thousand paths": LETTERS
    + b"("
    + 1000 * (g("pathlib", "PosixPath") + b"h\x00\x85R")
    + b"t\x86.",
    "path of a number": g("pathlib", "PosixPath") + b"K\x01\x85R.",
    "texts of a thousand letters": TEXT_DTYPE + TEXTS + b"(" + 5000 * SCALAR + b"t\x87.",
    "memo of gigabytes": b"\x80\x04]r\xff\xff\xff\x7f.",
    "memo of gigabytes, as text": b"(lp2000000000\n.",
    "bytearray of exabytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "string of exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "string of gigabytes": b"\x80\x02X\xff\xff\xff\x7fa.",
    "number of gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7fa.",
    "number of 100 kB": b"\x80\x02\x8b" + struct.pack("<I", 100_000) + 100_000 * b"\x7f" + b".",
    "hash that never ends": b"\x80\x04" + memo_graph(b"\x86") + b"}h\x3cK\x01s\x86.",
    "hash by copies of the stack": b"\x80\x04}K\x01" + b"2\x86" * 60 + b"K\x01s.",
    "hash that overflows the stack": b"\x80\x04})" + b"\x85" * 120_000 + b"K\x01s.",
    "tuples that overflow the stack": b"\x80\x04)" + b"\x85" * 120_000 + b".",
    "lists that overflow the stack": b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "dictionaries that overflow the stack": 20_000 * b"}U\x00" + b"N" + 20_000 * b"s" + b".",
    "depth by sharing": b"\x80\x02(]q\x00" + 300 * b"]h\x00aq\x00" + b"l.",
    "a megabyte in 50,000 places": b"\x80\x02(" + LETTERS + b"(" + 50_000 * b"h\x00" + b"ll.",
    "list within itself": b"\x80\x02]q\x00h\x00a.",
    "dictionary within itself": b"\x80\x02}q\x00U\x01ah\x00s.",
    "graph of tuples": b"\x80\x02" + memo_graph(b"\x86") + b".",
    "graph of lists": b"\x80\x02" + memo_graph(b"l") + b".",
    "keys that collide": b"\x80\x02}(" + b"K\x01".join(COLLIDING) + b"K\x01u.",
    "members that collide": b"\x80\x04\x8f(" + b"".join(COLLIDING) + b"\x90.",
    "set of numbers that collide": g("builtins", "set") + b"((" + b"".join(COLLIDING) + b"ltR.",
    "ordered keys that collide": g("collections", "OrderedDict")
    + b"(("
    + b"".join(key + b"K\x01\x86" for key in COLLIDING)
    + b"ltR.",
    "key of a megabyte": b"\x80\x02}" + LETTERS + b"K\x01s.",
    **{
        f"key {key!r}": pickle.dumps({key: 1})
        for key in (1.0, True, None, b"a", (), ("a", "b"), -1, 4096)
    },
    "tuple in a set": b"\x80\x04\x8f()\x90.",
    "frozen set": b"\x80\x04(K\x01\x91.",
    "attributes of the reader": b"\x80\x04" + g("builtins", "set") + b"}b.",
    "call of a text": b"\x80\x02U\x01a)R.",
    "call of a list": g("__builtin__", "list") + b")R.",
    "items of a text": b"\x80\x02U\x01aU\x01bK\x01s.",
    "append to a tuple": b"\x80\x02)K\x01a.",
    "keys without values": b"\x80\x02}(U\x01aK\x01U\x01bu.",
    "text of Python 2": b"\x80\x02U\x02\xc3\xa9.",
    "persistent id": b"Pran\n.",
    "persistent tuple": b"\x80\x02U\x07storage\x85Q.",
    "instance": b"(S'touch ran'\nios\nsystem\n.",
    "new object": g("numpy", "ndarray") + b")\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "buffer": b"\x80\x05\x97.",
    "only marks": b"(" * 20_000 + b".",
    "only lists": b"]" * 20_000 + b".",
    "only sets": b"\x80\x04" + b"\x8f" * 20_000 + b".",
    "nothing to pop": b"\x80\x02\x87.",
    "no mark": b"\x80\x02t.",
    "two values": b"\x80\x02K\x01K\x02.",
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
    assert peak < 1_000_000 + 300 * len(HOSTILE[name])
    tally["hostile files refused"] += 1


def test_pipe_is_refused(tmp_path, tally):
    """Nobody writes to it: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(UserError, match=r"pipe\.pkl: .*no regular file"):
        load_pickle(tmp_path / "pipe.pkl")
    tally["hostile files refused"] += 1


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pkl"):
        with pytest.raises(UserError, match=path.name):
            load_pickle(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x80\x02]q\x01(U\x01aq\x02h\x02e.", ["a", "a"]),  # Python 2 counts from 1
        (b"(lp0\nS'a'\np1\nag1\naI01\naL5L\na.", ["a", "a", True, 5]),
        (b"(dp0\nVkey\n(I1\nF2.5\nNts.", {"key": (1, 2.5, None)}),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x7f]\x94.", []),  # a frame that lies
        (pickle.dumps(np.array(0.5)), [0.5]),
        (pickle.dumps(np.zeros((2, 0)), protocol=2), [[], []]),
        (pickle.dumps(b"", protocol=2), b""),
        (pickle.dumps(bytearray(b"ab"), protocol=5), bytearray(b"ab")),
        (g("collections", "OrderedDict") + b"((U\x01aK\x01\x86ltR.", {"a": 1}),
        (pickle.dumps([[[1, 2]] * 3] * 2), [[[1, 2]] * 3] * 2),
    ],
    ids=range(10),
)
def test_unusual_forms_load(tmp_path, content, expected):
    path = tmp_path / "form.pkl"
    path.write_bytes(content)
    loaded = load_pickle(path)
    assert loaded == expected and type(loaded) is type(expected)

"""Checkpoints come back as they were written; hostile ones run nothing and claim no memory."""

import argparse
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections import Counter, OrderedDict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from utils.checkpoint import (
    load_discriminator,
    load_model,
    load_weights,
    read_checkpoint,
    read_plain,
    require_keys,
    save_checkpoint,
)
from utils.errors import UserError

NETWORK = {
    "model": "deeplabv2_resnet101",
    "output_stride": 8,
    "separable_conv": False,
    "class_names": ["road", "sky"],
    "palette": [[128, 64, 128], [70, 130, 180]],
    "image_size": [64, 128],
    "dataset": "cityscapes",
    "versions": {"torch": "2.4"},
}


def small_net(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))


def trained_step(net):
    """SGD with momentum, after one step."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.ones(2, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    return optimizer


def assert_equal(ours, theirs):
    """The same values, types of containers aside."""
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_equal(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_torch_writes_is_read(tmp_path, legacy, protocol):
    """The same as ``torch.load`` gives, for all dtypes and kinds of views."""
    net = small_net()
    base = torch.arange(24.0)
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.int64, torch.int32)
    value = {
        "net": net.state_dict(),
        "optimizer": trained_step(net).state_dict(),
        "adam": torch.optim.Adam(net.parameters()).state_dict(),
        "dtypes": [torch.arange(5).to(d) for d in (*dtypes, torch.uint8, torch.int16, torch.int8)],
        "views": [base, base[3:7], base.view(4, 6).T, base[::5], base.view(2, 3, 4)[1]],
        "shapes": [torch.zeros(0), torch.zeros(3, 0, 2), torch.tensor(4), torch.ones(1, 1, 1)],
        "last": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.ones(2)),
        "random": torch.get_rng_state(),
        "plain": [None, True, 1, -(2**40), 2.5, "text", (1, (2, [3])), {"a": {0: 1}}],
    }
    path = tmp_path / "file.tar"
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    ours = read_plain(path)
    assert_equal(ours, torch.load(path, weights_only=False))
    assert ours["views"][2].stride() == (1, 6) and ours["last"].stride() == (60, 1, 15, 3)
    ours["views"][0][4] = 100
    assert ours["views"][1][1] == 100  # they share memory, as before


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.5), [0.5]),
        (np.arange(4.0).reshape(2, 2), [[0, 1], [2, 3]]),
        (argparse.Namespace(lr=0.1, path=Path("a/b"), size=torch.Size([1, 2])), {}),
        (Counter({"a": 2}), {"a": 2}),
        (OrderedDict(a=np.float64(1)), {"a": 1}),
        (torch.float16, "torch.float16"),
        (torch.device("cuda", 0), "cuda"),
        (timedelta(hours=1), (0, 3600, 0)),
        (date(2026, 1, 2), (b"\x07\xea\x01\x02",)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("legacy", [False, True])
def test_values_beside_the_tensors_are_no_damage(tmp_path, value, expected, legacy):
    net = small_net()
    state = {"model_state_dict": net.state_dict(), "best": value}
    torch.save(state, tmp_path / "file.tar", _use_new_zipfile_serialization=not legacy)
    assert read_checkpoint(tmp_path / "file.tar")["best"] == expected
    load_model(tmp_path / "file.tar", small_net())


class Call:
    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def archive(path, data, storages=(), method=zipfile.ZIP_STORED):
    """A file as torch.save lays it out."""
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", data)
        for name, values in dict(storages).items():
            file.writestr(f"archive/data/{name}", values)
        file.writestr("archive/version", "3\n")


def tensor(size, stride, offset=0, length=4, name="0", kind="FloatStorage"):
    """The pickle of one tensor."""

    def plain(value):
        return pickle.dumps(value, protocol=2)[2:-1]

    storage = b"(" + plain("storage") + f"ctorch\n{kind}\n".encode()
    storage += b"".join(map(plain, (name, "cpu", length))) + b"tQ"
    numbers = b"".join(map(plain, (offset, size, stride, False, None)))
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + b"tR."


def memo_graph():
    """Tuples of two references to tuples of two references ...: the value 60 of the memo."""
    steps = (bytes([*b"h", n, *b"h", n, *b"\x86q", n + 1]) for n in range(60))
    return b"\x80\x02(K\x01q\x00" + b"".join(steps) + b"t"


COLLIDING = b"K\x01".join(
    b"\x8a\x10" + (k * (2**61 - 1)).to_bytes(16, "little") for k in range(1, 3000)
)
FLOATS = struct.pack("<4f", 1, 2, 3, 4)
PICKLES = {  # contents of data.pkl; the archive holds one storage of four floats
    "hash that never ends": memo_graph() + b"}h\x3cK\x01s\x86.",
    "hash that overflows the stack": b"\x80\x02})" + b"\x85" * 120_000 + b"K\x01s.",
    "keys that collide": b"\x80\x02}(" + COLLIDING + b"K\x01u.",
    "graph of tuples": memo_graph() + b".",
    "list within itself": b"\x80\x02]q\x00h\x00a.",
    "storage beyond the file": tensor((4,), (1,), length=1 << 40),
    "storage cut short": tensor((5,), (1,), length=5),
    "storage longer than told": tensor((3,), (1,), length=3),
    "storage that is missing": tensor((4,), (1,), name="1"),
    "storage of a negative size": tensor((), (), length=-1),
    "view beyond its storage": tensor((2, 2), (3, 1)),
    "view past its storage": tensor((4,), (1,), offset=1),
    "view before its storage": tensor((1,), (1,), offset=-1),
    "one value repeated for ever": tensor((1 << 40,), (0,)),
    "backwards": tensor((4,), (-1,), offset=3),
    "size of truth": tensor((True,), (1,)),
    "size of floats": tensor((2.0,), (1,)),
    "sizes without strides": tensor((2, 2), (1,)),
    "a thousand dimensions": tensor((1,) * 1000, (1,) * 1000),
    "another storage's name": tensor((4,), (1,), name="../version"),
    "complex values": tensor((2,), (1,), length=2, kind="ComplexFloatStorage"),
    "quantised values": tensor((4,), (1,), kind="QInt8Storage"),
    "tensor of a text": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(U\x01aK\x00))\x89NtR.",
    "call of a tensor": tensor((4,), (1,))[:-1] + b")R.",
    "items of a tensor": tensor((4,), (1,))[:-1] + b"K\x00K\x01s.",
    "persistent number": b"\x80\x02K\x01Q.",
    "persistent file": b"\x80\x02(U\x06modulectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ.",
    "torch.load itself": b"\x80\x02ctorch.serialization\nload\nU\x03ran\x85R.",
    "unknown storage": b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x03ran\x85R.",
    "numbers of gigabytes": b"\x80\x02cnumpy\nzeros\nJ\xff\xff\xff\x7f\x85R.",
    "no pickle": b"text",
    "empty pickle": b"",
}


def refused(path, tally, allowed):
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{path.name}: [^\n]+$") as error:
        read_plain(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + allowed
    tally["hostile files refused"] += 1
    return str(error.value)


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles_in_checkpoints(name, tmp_path, tally):
    archive(tmp_path / "file.tar", PICKLES[name], {"0": FLOATS})
    refused(tmp_path / "file.tar", tally, 300 * len(PICKLES[name]))


def test_the_builder_of_hostile_tensors_builds_right_ones(tmp_path):
    archive(tmp_path / "file.tar", tensor((2, 2), (2, 1)), {"0": FLOATS})
    assert read_plain(tmp_path / "file.tar").tolist() == [[1, 2], [3, 4]]


def compressed(path):
    archive(path, b"\x80\x02].", {"0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)


def overlapping(path):
    """Many entries of the directory point at the same megabyte."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02].")
        file.writestr("archive/data/0", bytes(1 << 20))
        for n in range(1, 100):
            entry = zipfile.ZipInfo(f"archive/data/{n}")
            other = file.getinfo("archive/data/0")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(entry, field, getattr(other, field))
            file.filelist.append(entry)


def changed_values(path):
    """A bit of a weight has flipped."""
    torch.save({"a": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<3f", 1, 1, 1)) + 2] ^= 1
    path.write_bytes(content)


def cut(legacy):
    def write(path):
        torch.save({"a": torch.ones(1000)}, path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[:-500])

    return write


def legacy_of(value, names, machine=None, protocol=1001):
    def write(path):
        machine_ = machine or {"little_endian": True}
        head = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
        parts = (pickle.dumps(part, protocol=2) for part in (protocol, machine_))
        path.write_bytes(head + b"".join(parts) + value + pickle.dumps(names, protocol=2))

    return write


def saved(value):
    return lambda path: torch.save(value, path)


def quietly(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


SPARSE = torch.eye(3).to_sparse()
QUANTISED = quietly(lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))
NESTED = quietly(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
FILES = {
    "compressed entries": compressed,
    "overlapping entries": overlapping,
    "flipped bit": changed_values,
    "cut": cut(legacy=False),
    "cut, old format": cut(legacy=True),
    "code": saved({"model_state_dict": Call(os.system, "touch ran")}),
    "code, old format": lambda path: torch.save(
        Call(os.system, "touch ran"), path, _use_new_zipfile_serialization=False
    ),
    "code as a pickle": lambda path: path.write_bytes(pickle.dumps(Call(os.system, "touch ran"))),
    "whole network": saved(small_net()),
    "sparse tensor": saved({"a": SPARSE}),
    "compressed sparse tensor": saved({"a": quietly(SPARSE.to_sparse_csr)}),
    "meta tensor": saved({"a": torch.ones(3, device="meta")}),
    "quantised tensor": saved({"a": QUANTISED}),
    "nested tensor": saved({"a": NESTED}),
    "conjugate tensor": saved({"a": torch.ones(3, dtype=torch.complex64).conj()}),
    "script": lambda path: quietly(lambda: torch.jit.script(small_net())).save(path),
    "archive of other things": lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "text"),
    "old format, storages beyond the file": legacy_of(tensor((), (), length=1 << 40), ["0"]),
    "old format, storages that never come": legacy_of(tensor((4,), (1,)), []),
    "old format, unknown storages": legacy_of(b"\x80\x02].", ["0"]),
    "old format, names without names": legacy_of(b"\x80\x02].", [[]]),
    "old format, other machine": legacy_of(b"\x80\x02].", [], {"little_endian": False}),
    "old format, other version": legacy_of(b"\x80\x02].", [], protocol=7),
    "old format, no machine": legacy_of(b"\x80\x02].", [], "here"),
    "old format, hash": legacy_of(memo_graph() + b"}h\x3cK\x01s\x86.", []),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "nothing": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("text"),
    "picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_checkpoints(name, tmp_path, monkeypatch, tally):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.tar"
    quietly(lambda: FILES[name](path))
    refused(path, tally, 0)
    assert not (tmp_path / "ran").exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.tar: cannot be read \(No such file"):
        read_plain(tmp_path / "none.tar")


def test_other_byte_order_is_refused(tmp_path, tally):
    with zipfile.ZipFile(tmp_path / "file.tar", "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02].")
        file.writestr("archive/byteorder", "big")
    assert "big-endian" in refused(tmp_path / "file.tar", tally, 0)


def test_checkpoint_round_trip(tmp_path):
    net, other = small_net(), small_net(1)
    optimizer = trained_step(net)
    network = NETWORK | {"image_size": (64, 128), "versions": {"torch": torch.__version__}}
    save_checkpoint(tmp_path / "c.tar", net, optimizer, other, network)
    state = read_checkpoint(tmp_path / "c.tar")
    assert state["network"] == NETWORK | {"versions": {"torch": str(torch.__version__)}}
    assert_equal(state["opt_state_dict"], optimizer.state_dict())
    first, second = small_net().requires_grad_(False), small_net(1).requires_grad_(False)
    for module in (first, second):
        for value in module.state_dict().values():
            value.zero_()
    load_model(tmp_path / "c.tar", first)
    load_discriminator(tmp_path / "c.tar", second)
    assert_equal(first.state_dict(), net.state_dict())
    assert_equal(second.state_dict(), other.state_dict())
    trained_step(first.requires_grad_(True)).load_state_dict(state["opt_state_dict"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"output_stride": "8"}, "'output_stride' is not 8 or 16"),
        ({"output_stride": 4}, "'output_stride'"),
        ({"separable_conv": 1}, "'separable_conv'"),
        ({"model": ["deeplabv2"]}, "'model'"),
        ({"class_names": "road"}, "'class_names'"),
        ({"class_names": ["road"]}, "1 class names but 2 colours"),
        ({"palette": [[1, 2], [3, 4]]}, "'palette'"),
        ({"palette": [[1, 2, 300], [3, 4, 5]]}, "'palette'"),
        ({"image_size": [64]}, "'image_size'"),
        ({"image_size": [64, 0]}, "'image_size'"),
        ({"image_size": torch.ones(2)}, "'image_size'"),
        ({"dataset": None}, "'dataset'"),
        ({"versions": ["2.4"]}, "'versions'"),
    ],
)
def test_networks_that_cannot_be_are_refused(tmp_path, change, named):
    state = {"model_state_dict": small_net().state_dict(), "network": NETWORK | change}
    torch.save(state, tmp_path / "c")
    with pytest.raises(UserError, match=rf"c: [^\n]*{named}[^\n]*$"):
        read_checkpoint(tmp_path / "c")
    torch.save(state | {"network": "deeplabv3"}, tmp_path / "c")  # of another program
    assert set(read_checkpoint(tmp_path / "c")) == {"model_state_dict"}


def test_part_of_a_network_is_told(tmp_path):
    state = {"model_state_dict": small_net().state_dict(), "network": {"model": "x", "more": 1}}
    torch.save(state, tmp_path / "c.tar")
    assert read_checkpoint(tmp_path / "c.tar")["network"] == {"model": "x", "more": 1}


def below(*wrappers):
    def wrap(state):
        for wrapper in reversed(wrappers):
            if wrapper.endswith("."):
                state = {wrapper + key: value for key, value in state.items()}
            else:
                state = {wrapper: state, "epoch": 3}
        return state

    return wrap


@pytest.mark.parametrize(
    "wrap",
    [
        below(),
        below("module."),
        below("model_state_dict", "module."),
        below("model_state_dict", "_orig_mod."),
        below("state_dict", "model."),
        below("model"),
        below("model_state"),
        below("model", "state_dict", "module.", "net."),
        below("ema"),
        below("params", "module."),
    ],
)
def test_weights_of_other_programs_load(tmp_path, wrap):
    torch.save(wrap(small_net().state_dict()), tmp_path / "c.tar")
    net = small_net()
    for value in net.state_dict().values():
        value.zero_()
    load_model(tmp_path / "c.tar", net)
    assert_equal(net.state_dict(), small_net().state_dict())


def test_two_networks_below_unknown_keys_are_no_weights(tmp_path):
    torch.save(
        {"student": small_net().state_dict(), "teacher": {"a": torch.ones(2)}}, tmp_path / "c"
    )
    with pytest.raises(UserError, match="no 'model_state_dict' of tensors in it, nor one network"):
        read_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("counters", [True, False])
def test_two_networks_in_one_state_dict_are_refused(tmp_path, counters):
    student, teacher = small_net().state_dict(), small_net().state_dict()
    if not counters:
        del teacher["1.num_batches_tracked"]
    both = below("student.")(student) | below("teacher.module.")(teacher)
    torch.save(both, tmp_path / "c.tar")
    load_model(tmp_path / "c.tar", small_net())  # one network by two names
    both["teacher.module.2.bias"] += 1
    torch.save(both, tmp_path / "c.tar")
    with pytest.raises(
        UserError, match=r"two networks, .*begin with 'student\.' and 'teacher\.mod"
    ):
        load_model(tmp_path / "c.tar", small_net())


def test_an_average_of_weights_beside_the_network_is_told_of(tmp_path, caplog):
    net = small_net()
    save_checkpoint(tmp_path / "own.tar", net, trained_step(net), small_net(5))
    load_model(tmp_path / "own.tar", small_net())
    assert not caplog.records
    weights = net.state_dict()
    torch.save({"model_ema": below("module.")(weights), "model": weights}, tmp_path / "c.tar")
    load_model(tmp_path / "c.tar", small_net())
    assert "holds two networks, model and model_ema; model is taken" in caplog.text


def test_half_precision_and_counters_load():
    """A counter beyond 65,504 is infinite in half precision; older files have none."""
    whole = small_net().state_dict()
    halved = {key: value.half() for key, value in whole.items()}
    halved["1.num_batches_tracked"] = torch.tensor(70_000).half()
    for state in (halved, {key: value for key, value in halved.items() if value.ndim}):
        net = small_net()
        load_weights("file", state, net, "remedy")
        assert torch.equal(net[0].weight, halved["0.weight"].float())
        assert net[1].num_batches_tracked.dtype == torch.int64


def test_counts_of_a_profiler_beside_the_weights_are_left_out_with_a_warning(caplog):
    net, counts = small_net(), {"total_ops": torch.ones(1), "0.total_ops": torch.ones(1)}
    load_weights("file", {k: v + 1 for k, v in net.state_dict().items()} | counts, net, "remedy")
    assert "file: 2 tensors of no layer of this network are left out, the first total_ops" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, r"0\.weight is missing, expected \(4, 2, 3, 3\)"),
        ({"0.weight": torch.ones(4, 2, 1, 1)}, r"0\.weight is \(4, 2, 1, 1\), expected \(4, 2, 3"),
        ({"0.bias": torch.ones(4, dtype=torch.int64)}, r"0\.bias is \(4,\) of integers, expected"),
        ({"3.weight": torch.ones(1)}, r"3\.weight is \(1,\), unexpected"),
        ({"0.lora_A": torch.ones(2, 4)}, r"0\.lora_A is \(2, 4\), unexpected"),
    ],
)
def test_weights_of_another_network_are_refused(change, message):
    net = small_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {key: value + 1 for key, value in net.state_dict().items()} | change
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(
        UserError, match=rf"file: {message}.*; checkpoint of another network: remedy$"
    ):
        load_weights("file", state, net, "remedy")
    assert_equal(net.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["2.bias", "1.running_var", "0.weight"])
def test_weights_that_are_not_finite_are_refused(tmp_path, name, value):
    net = small_net()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state[name].view(-1)[-1] = value
    torch.save({"model_state_dict": state, "model_D": state}, tmp_path / "c.tar")
    for load in (load_model, load_discriminator):
        with pytest.raises(UserError, match=rf"c\.tar: {name} holds NaN or infinite [^\n]*$"):
            load(tmp_path / "c.tar", net)
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


def test_missing_discriminator_is_named(tmp_path):
    torch.save({"model_state_dict": small_net().state_dict()}, tmp_path / "c.tar")
    with pytest.raises(UserError, match=r"c\.tar: no discriminator"):
        load_discriminator(tmp_path / "c.tar", small_net())


def test_states_must_have_their_keys():
    keys = {"name": str, "progress": dict, "best": (int, float)}
    right = {"name": "warm-up", "progress": {}, "best": 1.5}
    require_keys("state.tar", right, keys, "remove it")
    for wrong, named in (
        ([1], "holds no dictionary"),
        ({"name": "warm-up", "best": 1}, "no 'progress' in it"),
        (right | {"progress": [1]}, "'progress' is of the wrong type"),
    ):
        with pytest.raises(UserError, match=rf"state\.tar: .*{named}.*; remove it$"):
            require_keys("state.tar", wrong, keys, "remove it")

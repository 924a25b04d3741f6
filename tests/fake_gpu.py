"""A GPU that computes nothing, to count what a real one would be asked to do.

Tensors of ``torch.empty(..., device="cuda")`` have a shape, a type and a device, but no values;
operations on them give the shapes of their results, check that devices agree, and are counted.
"""

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
FREE = {
    "aten.empty.memory_format",
    "aten.empty_strided.default",
    "aten.new_empty.default",
    "aten.detach.default",
    "aten.lift_fresh.default",
    "aten._unsafe_view.default",
    "prim.device.default",
}
"""Operations that launch nothing, beside those that return views."""
READS = {
    "item": torch.Tensor.item,
    "tolist": lambda tensor: (
        (tensor == 0).tolist() if tensor.dtype == torch.bool else tensor.tolist()
    ),
    "cpu": torch.Tensor.cpu,
    "numpy": torch.Tensor.numpy,
    "__bool__": lambda tensor: True,
    "__int__": int,
    "__float__": float,
    "__index__": int,
}
"""Methods that read a tensor's values, and what they give of zeros; of truth values, True."""


class Operations(TorchDispatchMode):
    """Counts operations, copies from the device, and the memory of tensors that are in use.

    A number that is read from the device (``item``, ``if tensor``) counts as a copy, and is
    ``number`` where the device is fake.

    Attributes:
        launches: operation -> number of launches; views launch nothing.
        copies: number of copies from the device to the host.
        live, peak: bytes of the tensors on the device, now and at most.
    """

    def __init__(self, number: float = 0):
        super().__init__()
        self.number = number
        self.launches: Counter[str] = Counter()
        self.copies = self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        on_device = args and isinstance(args[0], torch.Tensor) and args[0].device.type != "cpu"
        if operation is aten._local_scalar_dense.default and on_device:
            self.copies += 1
            return type_of(args[0])(self.number)
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if on_device and any(tensor.device.type == "cpu" for tensor in tensors):
            self.copies += 1
        elif not operation.is_view and str(operation) not in FREE:
            self.launches[str(operation)] += 1
        for tensor in tensors:
            self._remember(tensor)
        return result

    def _remember(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    @property
    def total(self) -> int:
        """The number of all launches."""
        return sum(self.launches.values())


def type_of(tensor: torch.Tensor) -> type:
    """Return the Python type of a tensor's numbers."""
    if tensor.dtype == torch.bool:
        return bool
    return float if tensor.is_floating_point() else int


class HostReads(TorchFunctionMode):
    """Counts reads of tensors that are not on the CPU, each of which waits for the device.

    A read is one of whatever size; it gives zeros, or True, since the tensors have no values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in READS and isinstance(args[0], torch.Tensor) and args[0].device.type != "cpu":
            self.count += 1
            return READS[name](torch.zeros(args[0].shape, dtype=args[0].dtype, device="cpu"))
        return function(*args, **(kwargs or {}))


@contextmanager
def fake_gpu(number: float = 0) -> Iterator[Operations]:
    """Within the block, new tensors are fake; as NumPy arrays they are zeros. Yields the counts."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        real = torch.Tensor.numpy

        def numpy(tensor: torch.Tensor) -> np.ndarray:
            if isinstance(tensor, FakeTensor):
                return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))
            with _disable_current_modes():
                return real(tensor)

        with patch.object(torch.Tensor, "numpy", numpy), Operations(number) as operations:
            yield operations

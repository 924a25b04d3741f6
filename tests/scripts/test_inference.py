"""Labels at an image's own size, without all classes' maps at that size in memory."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from inference import enlarged_argmax


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("size", [(7, 11), (8, 16), (64, 120), (301, 97), (5, 300), (1, 1)])
@pytest.mark.parametrize("classes", [1, 2, 19])
def test_enlarging_class_by_class_gives_the_same_labels(classes, size):
    rng = torch.Generator().manual_seed(0)
    for logits in (torch.randn(classes, 8, 16, generator=rng), torch.zeros(classes, 8, 16)):
        for values in (logits, logits.round()):  # equal logits: the first class
            expected = F.interpolate(values[None], size, mode="bilinear")[0].argmax(0)
            with LargestTensor() as largest:
                labels = enlarged_argmax(values, size)
            assert labels.dtype == torch.uint8
            assert torch.equal(labels.long(), expected)
            assert largest.elements <= max(size[0] * size[1], logits.numel())

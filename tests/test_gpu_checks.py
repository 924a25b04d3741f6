"""The quick ones of the checks of `make test-gpu`, on the CPU, which shows that they run."""

import pytest
import torch

from tests.gpu.test_kernels import (  # noqa: F401
    test_badge_draws_the_cpus_regions,
    test_coreset_takes_the_cpus_regions,
    test_fast_arithmetic_gives_nearly_the_cpus_features,
    test_mixtures_in_double_precision_are_the_cpus,
    test_region_means_are_the_cpus,
)
from tests.gpu.test_steps import (  # noqa: F401
    test_a_resumed_training_goes_on_as_if_unbroken,
    test_a_training_step_is_the_cpus,
    test_deterministic_training_is_twice_alike,
)


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu")

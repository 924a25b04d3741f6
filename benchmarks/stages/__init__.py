"""The stages of the benchmark, each beside its reference: the published formulas, step by step.

A reference is neither optimised nor made slow on purpose.
"""

from benchmarks.stage import Stage
from benchmarks.stages import data, evaluation, mixtures, passes, pooling, selection

STAGES: dict[str, Stage] = {
    name: value
    for module in (pooling, passes, mixtures, selection, evaluation, data)
    for name, value in vars(module).items()
    if isinstance(value, Stage)
}
"""Every stage by its name, which is that of the decorated function."""

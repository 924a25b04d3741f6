"""A few cases of each kind of :mod:`tests.fuzz`; ``make fuzz`` tries many."""

import pytest

from tests.fuzz import fuzz_file, fuzz_flag
from tests.fuzz_targets import FLAG_PARSERS, TARGETS

CASES = 60


@pytest.mark.filterwarnings("ignore")  # of Pillow, on damaged files
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files(target, tmp_path, tally):
    for seed in range(CASES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        tally[f"fuzzed files {fuzz_file(target, folder, seed)}"] += 1


@pytest.mark.parametrize("script", FLAG_PARSERS)
def test_made_up_flags(script, tally):
    for seed in range(CASES):
        tally[f"fuzzed flags {fuzz_flag(FLAG_PARSERS[script], script, seed)}"] += 1

"""The table at a round's end."""

import re

import numpy as np

from active_selection.round_table import labelled_by_class, round_table

NAMES = ["road", "sky", "pole"]


def test_regions_count_for_their_majority_and_pixels_for_their_own_class():
    counts = [[70, 20, 0, 10], [0, 5, 4, 91], [0, 0, 0, 8]]
    labelled = labelled_by_class(map(np.array, counts), NAMES)
    assert labelled.regions == {"road": 1, "sky": 1, "pole": 0, "void": 1}
    assert labelled.pixels == {"road": 70, "sky": 25, "pole": 4, "void": 109}


def test_table_of_a_round():
    first, second = np.array([12_345, 20, 0, 0]), np.array([0, 0, 7, 3])
    before = {"mIoU": 40.0, "IoU": {"road": 81.5, "sky": None}}
    scores = {"mIoU": 45.125, "IoU": {"road": 80.0, "sky": 55.25, "pole": None}}
    lines = round_table(
        *(scores, before),
        labelled_by_class([first, second], NAMES),
        labelled_by_class([second], NAMES),
    )
    assert [re.split("  +", line) for line in lines] == [
        ["class", "IoU", "change", "regions", "new regions", "pixels", "new px"],
        ["road", "80.00", "-1.50", "1", "-", "12,345", "-"],
        ["sky", "55.25", "-", "0", "-", "20", "-"],
        ["pole", "-", "-", "1", "+1", "7", "+7"],
        ["void", "-", "-", "0", "-", "3", "+3"],
        ["all", "45.12", "+5.12", "2", "+1", "12,375", "+10"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_class_called_void_is_counted_apart_from_what_has_no_class():
    names = ["void", "sky"]
    counted = labelled_by_class([np.array([9, 2, 5])], names)
    assert counted.pixels == {"void": 9, "sky": 2, "void_": 5}
    lines = round_table({"mIoU": 1.0, "IoU": {"void": 1.0, "sky": 1.0}}, None, counted, counted)
    assert [line.split()[0] for line in lines] == ["class", "void", "sky", "void_", "all"]
    assert [line.split()[-2] for line in lines[1:]] == ["9", "2", "5", "16"]


def test_table_of_a_first_round_without_labels():
    nothing = labelled_by_class([], NAMES)
    lines = round_table({"mIoU": 1.0, "IoU": {"road": 1.0}}, None, nothing, nothing)
    assert [line.split() for line in lines] == [["class", "IoU"], ["road", "1.00"], ["all", "1.00"]]

"""Machines whose files differ are named; rank 1 is made up."""

import pytest

from dataloader.checks.shared_files import check_same_images
from dataloader.item import Item
from tests.ranks import BesideMadeUpRank
from utils.errors import UserError


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [([3, None], "b.png: is missing on rank 1"), ([3, 6], "b.png: is another file on rank 1")],
)
def test_images_of_another_machine(tmp_path, theirs, problem):
    items = []
    for name, size in (("a.png", 3), ("b.png", 5)):
        (tmp_path / name).write_bytes(bytes(size))
        items.append(Item(str(tmp_path / name), "", ""))
    with pytest.raises(UserError, match=problem):
        check_same_images(items, BesideMadeUpRank(lambda _: theirs))
    check_same_images(items, BesideMadeUpRank(lambda ours: ours))

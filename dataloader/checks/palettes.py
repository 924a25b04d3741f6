"""Palette files whose numbers another program has changed.

Programs that make PNG files smaller or reduce their colours (pngquant, oxipng, Pillow's quantize)
number a palette anew and keep its colours. Labels and predictions are read by number, never by
colour, so such a file is of other classes, without any other sign.
"""

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from dataloader.dataset_info import IGNORE, DatasetInfo
from dataloader.images import Palette, read_palette
from utils.errors import UserError, shown
from utils.files import map_files

log = logging.getLogger(__name__)

BLACK, WHITE = [0, 0, 0], [255, 255, 255]


class Renumbered(NamedTuple):
    """A palette that contradicts the numbers.

    Attributes:
        number: one of them.
        meaning: what its colour stands for.
        sure: whether every colour of the palette stands for something, which is no chance.
    """

    number: int
    meaning: str
    sure: bool


def check_label_palettes(paths: Sequence[str], info: DatasetInfo) -> bool:
    """Look at labels whose label_reader is "index"; see :func:`_check`."""
    return _check(paths, "label", info.label_table, info.known_ids, info)


def check_prediction_palettes(paths: Sequence[str], info: DatasetInfo) -> bool:
    """Look at maps of train ids; see :func:`_check`."""
    table = np.full(256, IGNORE, np.uint8)
    table[: info.num_classes] = range(info.num_classes)
    return _check(paths, "prediction", table, range(info.num_classes), info)


def _check(
    paths: Sequence[str],
    what: str,
    train_ids: np.ndarray,
    known: Collection[int],
    info: DatasetInfo,
) -> bool:
    """Whether no palette contradicts its numbers; files of other kinds are passed.

    A warning is logged where the colours may be those of the dataset by chance.

    Args:
        paths: the files.
        what: what they are.
        train_ids: (256,) uint8, number -> train id, 255 where it is none.
        known: numbers that mean something.
        info: the dataset.

    Raises:
        UserError: names the first file whose palette surely does.
    """

    def look(path: str) -> Renumbered | None:
        palette = read_palette(path, what)
        return palette and find_renumbered(palette, train_ids, known, info)

    looked_at = zip(paths, map_files(look, paths), strict=True)
    found = [(path, one) for path, one in looked_at if one]
    if not found:
        return True
    path, first = next((pair for pair in found if pair[1].sure), found[0])
    more = f" ({len(found) - 1} other files are alike)" if len(found) > 1 else ""
    problem = (
        f"{shown(path)}: number {first.number} of its palette has the colour of {first.meaning}"
        f"{'' if first.sure else ', perhaps by chance'}{more}; files are read by number: save the "
        f"{what} as 8-bit grey, from before another program changed the palette"
    )
    if first.sure:
        raise UserError(problem)
    log.warning("%s", problem)
    return False


def find_renumbered(
    palette: Palette, train_ids: np.ndarray, known: Collection[int], info: DatasetInfo
) -> Renumbered | None:
    """What contradicts the numbers of a palette; None where nothing does.

    Colours are taken for those of the dataset, or greys for numbers, if all that occur are. One
    class alone tells nothing. If the palette has other colours, too (those of VOC, or greys from
    black to white), two must contradict, and that is not sure. White is no number 255 that is
    ignored: masks of 0 and 1 often have black and white.

    Args:
        palette: of a file.
        train_ids: (256,) uint8, number -> train id, 255 where it is none.
        known: numbers that mean something.
        info: the dataset.
    """
    colors = palette.colors
    names = {tuple(color): name for color, name in zip(info.palette, info.class_names, strict=True)}
    has_name = np.array([tuple(color) in names for color in colors.tolist()])
    right_color = (colors == info.color_table[train_ids]).all(1)
    numbers = [i for i in known if 0 <= i < 256 and (i != IGNORE or train_ids[i] != IGNORE)]
    is_known = np.isin(colors[:, 0], numbers)
    is_number = (colors == colors[:, :1]).all(1) & is_known
    right_number = colors[:, 0] == np.arange(256)
    black, white = (colors == BLACK).all(1), (colors == WHITE).all(1)

    result = None
    for means, void, right in (
        (has_name, black, right_color),
        (is_number, black | white, right_number),
    ):
        meant = means & palette.used
        wrong = meant & ~right
        if not (means | void)[palette.used].all() or not meant.any():
            continue
        if (meant & right).any():  # ignored ids may share a class's colour, as of licence plates
            wrong &= train_ids != IGNORE
        if not wrong.any():
            return None
        sure = bool((means | void | (black & ~palette.used)).all())
        if result is None and meant.sum() > 1 and (sure or wrong.sum() > 1):
            number = int(wrong.argmax())
            color = tuple(colors[number].tolist())
            meaning = names[color] if means is has_name else f"number {color[0]}"
            result = Renumbered(number, meaning, sure)
    return result

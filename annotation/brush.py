"""The run-length code of brush strokes in Label Studio, which is rle-pack of thi.ng/umbrella.

A stream of bits: the number of values (32), bits of a value less one (5), and four sizes of a
counter, each less one (4 x 4). Then, until there are enough values: one bit that says whether a
value is repeated, two bits that choose a counter's size, the counter less one, and either the value
or that many values. Values are the bytes of an RGBA picture; the alpha of a painted pixel is 255.

label-studio-sdk holds the same code, but needs fifty packages, and other versions of NumPy.
"""

from collections.abc import Iterator

import numpy as np

from utils.errors import UserError

SIZES = (3, 4, 8, 16)
HEADER_BITS = 32 + 5 + 16
PAINTED = 128
"""The least alpha of a pixel that counts as painted; borders of strokes are softened."""


def encode_brush(mask: np.ndarray) -> list[int]:
    """A (H, W) bool mask as bytes, 0 to 255."""
    values = np.repeat(mask.ravel(), 4).astype(np.uint8) * 255
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        while start < end:
            count = min(end - start, 2 ** SIZES[-1])
            chosen = next(i for i, size in enumerate(SIZES) if count <= 2**size)
            bits.append(f"1{chosen:02b}{count - 1:0{SIZES[chosen]}b}{values[start]:08b}")
            start += count
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def decode_brush(data: list[int], size: tuple[int, int], place: str) -> np.ndarray:
    """The inverse: (H, W) bool.

    Args:
        data: bytes, 0 to 255.
        size: (height, width) of the image.
        place: for the error line.

    Raises:
        UserError: it is damaged, or of another size.
    """
    if not isinstance(data, list) or not all(type(v) is int and 0 <= v < 256 for v in data):
        raise UserError(f"{place}: brush strokes are not bytes of 0 to 255; export it again")
    bits = np.unpackbits(np.array(data, np.uint8))
    count = 4 * size[0] * size[1]
    if len(bits) < HEADER_BITS or _number(bits[:32]) != count or _number(bits[32:37]) != 7:
        raise UserError(
            f"{place}: brush strokes are not of {size[1]} x {size[0]} pixels; export it again"
        )
    values = np.empty(count, np.uint8)
    filled = 0
    for length, run in _runs(bits, place):
        if filled + length > count:
            raise UserError(f"{place}: brush strokes are longer than the image; export it again")
        values[filled : filled + length] = run
        filled += length
        if filled == count:
            return values.reshape(*size, 4)[..., 3] >= PAINTED
    raise UserError(f"{place}: brush strokes are cut off; export it again")


def _runs(bits: np.ndarray, place: str) -> Iterator[tuple[int, np.ndarray]]:
    """Lengths and values: one value that is repeated, or as many as the length says."""
    sizes = [_number(bits[i : i + 4]) + 1 for i in (37, 41, 45, 49)]
    at = HEADER_BITS
    while at + 3 < len(bits):
        repeated, size = bits[at], sizes[_number(bits[at + 1 : at + 3])]
        start = at + 3 + size
        length = _number(bits[at + 3 : start]) + 1
        at = start + 8 * (1 if repeated else length)
        if at > len(bits):
            return
        yield length, np.packbits(bits[start:at])


def _number(bits: np.ndarray) -> int:
    """The number that some bits are, the highest first."""
    return int((bits + ord("0")).tobytes(), 2)

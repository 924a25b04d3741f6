"""Image files: which formats are opened, which way up, and what their samples mean.

Files are opened through Python file objects: with a path, Pillow maps uncompressed TIFF files into
memory, and gets the rows of those wrong that are stored on their side.
"""

import math
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow warns of photos of 90 megapixels, and refuses files of twice that, which is enough.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Other formats start programs (EPS) or have readers that few people have tested (DDS, BLP, AVIF).
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")

# What the readers raise for damaged files and for those that are refused.
READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

ORIENTATION, WIDTH, HEIGHT, PHOTOMETRIC = 0x0112, 256, 257, 262  # EXIF and TIFF tags
WHITE_IS_ZERO = 0
SUBFILE_TYPE, REDUCED, MASK = 254, 1, 4
ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}  # of whole files
LATE_ORIENTATION = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")
DEEP_COLOR = re.compile(r"(RGB|LA|CMYK).*;16")  # "BGR;16" is 16 bits for three samples
EXAMPLES = 2  # colours that a message names
TAIL = 1 << 16  # an eXIf chunk is made of a JPEG's segment of at most 64 KiB

# What turns an array as it is stored into the one that people see, by EXIF orientation.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
ON_ITS_SIDE = (5, 6, 7, 8)


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file of one of the :data:`FORMATS`, whatever its name says.

    Raises:
        OSError: there is no such file, it is no regular file (reading a FIFO or a device might
            never end), or it is no image of these formats.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("a folder or a device, not a regular file")
    if not status.st_size:
        raise OSError("an empty file")
    with Path(path).open("rb") as file, Image.open(file, formats=FORMATS) as image:
        yield image


def reason(error: Exception) -> str:
    """A short reason without the path that the error line names already."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG, BMP, WebP, TIFF or PPM image, or of a kind that is not read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {2 * Image.MAX_IMAGE_PIXELS} pixels that are read; make it smaller"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def count_pages(image: Image.Image) -> int:
    """How many pictures a TIFF file holds, reduced ones and masks aside; 1 of any other file."""
    pages = 1
    for number in range(1, image.n_frames if image.format == "TIFF" else 1):
        image.seek(number)
        pages += not image.tag_v2.get(SUBFILE_TYPE, 0) & (REDUCED | MASK)
    return pages


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; data that cannot be read count as absent, as in viewers.

    Of a PNG file this is that before the pixels, until the image is loaded.
    """
    try:
        value = Image.Image.getexif(image).get(ORIENTATION, 1)
    except READ_ERRORS:
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """A loaded image's (H, W, ...) pixels as its EXIF orientation says they are to be seen.

    This holds for labels and other maps as for images, since viewers and drawing programs show both
    this way: what lies over its image there, lies over it here.
    """
    left = 1 if image.format == "TIFF" else orientation(image)  # Pillow turns TIFF on loading
    return np.ascontiguousarray(UPRIGHT[left](pixels))


def image_size(image: Image.Image) -> tuple[int, int]:
    """(width, height), upright, of an image that :func:`open_image` opened and nobody loaded yet.

    Raises:
        OSError: a PNG or JPEG file that is cut off.
    """
    width, height = image.size
    if image.format == "TIFF":  # versions of Pillow differ in whether ``size`` is that upright
        width, height = image.tag_v2[WIDTH], image.tag_v2[HEIGHT]
    load_unusual(image)
    return (height, width) if orientation(image) in ON_ITS_SIDE else (width, height)


def load_unusual(image: Image.Image) -> None:
    """Load a PNG or JPEG file of which the head does not tell all, by its last 64 KiB.

    That is one which is cut off, and a PNG whose EXIF data may come after the pixels.

    Raises:
        OSError: pixels are missing.
    """
    if end := ENDS.get(image.format):
        tail = _tail(image)
        whole = end in tail[-64:]  # bytes after the end are no fault
        if not whole or (image.format == "PNG" and any(kind in tail for kind in LATE_ORIENTATION)):
            image.load()


def _tail(image: Image.Image) -> bytes:
    """The last 64 KiB of an open image's file, which stays where it is."""
    file = image.fp
    position = file.tell()
    file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read()
    file.seek(position)
    return tail


def raw_mode(image: Image.Image) -> str:
    """How an image that is not loaded yet is stored, in Pillow's words: "L;4", "RGB;16B", "1;I".

    A scaled PPM file's is "scaled"; "" where Pillow does not say.
    """
    if not image.tile:
        return ""
    codec, *_, arguments = image.tile[0]
    if codec in ("ppm", "ppm_plain"):
        return "scaled"
    return arguments if isinstance(arguments, str) else str(arguments[0])


def is_deep(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has samples of more than 8 bits."""
    return image.mode[0] in "IF" or bool(DEEP_COLOR.match(raw_mode(image)))


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB, not yet upright.

    16-bit grey is divided by 257 and a float of 0 to 1 multiplied by 255. Transparency is dropped:
    a transparent pixel has the colour that is stored for it.

    Raises:
        ValueError: other ranges, or a kind of image without a clear meaning as RGB.
    """
    if image.mode[0] in "IF":
        grey = _grey_of_floats(image) if image.mode == "F" else _grey_of_16_bits(image)
        if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            grey = 255 - grey  # Pillow sees to this in 8-bit images alone
        return np.repeat(grey[..., None], 3, 2)
    if image.mode == "P":
        image.load()
        image.info.pop("transparency", None)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _grey_of_16_bits(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype.itemsize > 2:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(
                f"integers from {low} to {high}, expected 0 to 65535; save it with 8 or 16 bits"
            )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _grey_of_floats(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())  # NaN where any value is
    if math.isnan(low) or math.isnan(high):
        raise ValueError("NaN among its values; replace it, and scale the image to 0..1")
    if low < 0 or high > 1:
        raise ValueError(
            f"floating-point values from {low:g} to {high:g}, expected 0 to 1; scale it, "
            "or save it with 8 or 16 bits"
        )
    return np.rint(values * 255).astype(np.uint8)


LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP"}
LOSSY_IN_TIFF = {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"}
GREY_STEP = {"2": 85, "4": 17}  # Pillow stretches grey values of 2 and 4 bits to 0..255


def refuse_lossy(image: Image.Image) -> None:
    """Refuse files whose compression may have changed the ids of a label or of another map.

    Lossless WebP is refused, too: it looks like the other, and nothing writes labels with it.

    Raises:
        ValueError: a JPEG or WebP file, or a TIFF file compressed as those are.
    """
    kind = LOSSY.get(image.format)
    if image.format == "TIFF":
        kind = LOSSY_IN_TIFF.get(image.info.get("compression"))
    if kind:
        raise ValueError(
            f"{kind} compression changes the values of single pixels; save it as PNG, from before "
            "it was compressed"
        )


def stored_values(image: Image.Image) -> np.ndarray:
    """The values of a grey or palette image as the file holds them, (H, W) uint8 or uint16.

    Pillow makes 0 and 255 of 1-bit grey, stretches that of 2 and 4 bits to 0..255, and inverts grey
    of which 0 is white.

    Raises:
        ValueError: values that do not fit 16 bits, or transparent pixels beside grey.
    """
    if image.mode == "LA":
        if image.getextrema()[-1][0] < 255:
            raise ValueError("transparent pixels; save it without alpha")
        return np.asarray(image)[..., 0]
    raw = raw_mode(image)
    values = np.asarray(image)
    if values.dtype == bool:
        return (values ^ (";I" in raw)).astype(np.uint8)
    if image.mode == "L":
        low_bits = re.match(r"L;([24])", raw)
        if re.match(r"L;[24]?I", raw):
            values = 255 - values
        return values // GREY_STEP[low_bits[1]] if low_bits else values
    if values.dtype.itemsize > 2 and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"values from {values.min()} to {values.max()}, expected 0 to 65535")
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def rgb_of_16_bits(path: str | Path) -> np.ndarray:
    """A 16-bit RGB PNG as (H, W, 3) uint16, which Pillow would cut to 8 bits."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged or cut off")
    return pixels[..., 2::-1]  # OpenCV orders channels blue, green, red (, alpha)


def ids_of_colors(image: Image.Image, colors: dict[int, list[int]]) -> np.ndarray:
    """(H, W) uint16 label ids of a colour-coded label, not yet upright.

    Args:
        image: the label.
        colors: label id -> [red, green, blue].

    Raises:
        ValueError: transparent pixels, or colours that no id has.
    """
    if image.mode in ("RGBA", "LA", "PA") and image.getextrema()[-1][0] < 255:
        raise ValueError("transparent pixels in a colour-coded label; save it without alpha")
    # A colour is one number, red its lowest byte. Of a table of all 2**24, which the system gives
    # as zeros, only the few entries that occur are ever touched.
    pixels = cv2.cvtColor(rgb_pixels(image), cv2.COLOR_RGB2RGBA)
    codes = pixels.view("<u4")[..., 0] & 0xFFFFFF
    table = np.zeros(1 << 24, np.uint16)
    for row, (red, green, blue) in enumerate(colors.values(), 1):
        table[red | green << 8 | blue << 16] = row
    rows = table[codes]
    if not rows.all():
        unknown = codes[rows == 0]
        examples = np.unique(unknown)[:EXAMPLES].tolist()
        named = " and ".join(f"({c & 255}, {c >> 8 & 255}, {c >> 16})" for c in examples)
        raise ValueError(
            f"{len(unknown)} of {codes.size} pixels have a colour that is not in label_colors of "
            f"the dataset's info.json, such as RGB {named}; export the label anew, or add its "
            "colour there"
        )
    return np.array([0, *colors], np.uint16)[rows]

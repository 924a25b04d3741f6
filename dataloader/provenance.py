"""Which image a map was made from: the PNG comment of superpixel and edge maps.

The comment of a map made here names the tool, its settings and a digest of the image, as in
``SLIC by scikit-image, num_segments=40, compactness=10, image=0123456789abcdef``. Maps made
elsewhere, and those of earlier versions, have no digest; they are trusted.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.image_files import READ_ERRORS, open_image
from dataloader.images import read_image
from utils.errors import UserError

DIGEST_BYTES = 8
DIGEST = re.compile(rf", image=([0-9a-f]{{{2 * DIGEST_BYTES}}})$")


def make_note(settings: str, pixels: np.ndarray) -> str:
    """The comment of a map made with these settings from an image (H, W, 3) uint8."""
    return f"{settings}, image={image_digest(pixels)}"


def image_digest(pixels: np.ndarray) -> str:
    """BLAKE2b digest of an image (H, W, 3) uint8 as it is seen, 16 hexadecimal digits.

    Another file format, or other metadata, of the same picture gives the same.
    """
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


def note_of(stored: Image.Image) -> str:
    """The comment of an opened map; empty if it has none."""
    return str(stored.info.get("Comment", ""))


def is_made_here(path: str | Path) -> bool:
    """Whether a file is a superpixel or edge map that was made here."""
    with suppress(*READ_ERRORS), open_image(path) as stored:
        return bool(DIGEST.search(note_of(stored)))
    return False


def check_provenance(
    path: str | Path,
    image: str | Path,
    pixels: np.ndarray | None = None,
    script: str = "superpixel_gen.py",
) -> None:
    """Refuse a map that was made from another image than the one that is there now.

    Args:
        path: the map, which can be read.
        image: the image that it belongs to.
        pixels: its pixels, where they are read already.
        script: makes such maps.

    Raises:
        UserError: the map's comment holds the digest of another image.
    """
    with open_image(path) as stored:
        found = DIGEST.search(note_of(stored))
    if not found:
        return
    if found[1] != image_digest(read_image(image) if pixels is None else pixels):
        raise UserError(
            f"{path}: made from an earlier version of {image}, which has been replaced since; "
            f"run {script} again"
        )

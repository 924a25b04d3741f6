"""Which image a map was made from: the PNG comment of superpixel and edge maps.

The comment of a map made here names the tool, its settings and a digest of the image file, as in
``SLIC by scikit-image, num_segments=40, compactness=10, image=0123456789abcdef``. Maps made
elsewhere, and those of earlier versions, have no digest; they are trusted.
"""

import hashlib
import re
from pathlib import Path

from PIL import Image

from dataloader.image_files import open_image
from utils.errors import UserError

DIGEST_BYTES = 8
DIGEST = re.compile(rf", image=([0-9a-f]{{{2 * DIGEST_BYTES}}})$")


def make_note(settings: str, image: str | Path) -> str:
    """The comment of a map made with these settings from this image file."""
    return f"{settings}, image={image_digest(image)}"


def image_digest(image: str | Path) -> str:
    """BLAKE2b digest of an image file's bytes, 16 hexadecimal digits.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        raise UserError(
            f"{image}: image cannot be read ({error.strerror}); replace the file"
        ) from error
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def note_of(stored: Image.Image) -> str:
    """The comment of an opened map; empty if it has none."""
    return str(stored.info.get("Comment", ""))


def check_provenance(
    path: str | Path, image: str | Path, script: str = "superpixel_gen.py"
) -> None:
    """Refuse a map that was made from another image than the one that is there now.

    Args:
        path: the map, which can be read.
        image: the image that it belongs to.
        script: makes such maps.

    Raises:
        UserError: the map's comment holds the digest of another image.
    """
    with open_image(path) as stored:
        found = DIGEST.search(note_of(stored))
    if found and found[1] != image_digest(image):
        raise UserError(
            f"{path}: made from an earlier version of {image}, which has been replaced since; "
            f"run {script} again"
        )

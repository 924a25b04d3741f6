"""The font of texts that are drawn into pictures."""

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans at a size in pixels.

    Matplotlib brings it along. It has the letters of Latin (umlauts and accents included), Greek,
    Cyrillic, Arabic and Hebrew; Pillow's own font has little beyond ASCII.
    """
    import matplotlib  # not needed by runs that draw no text

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )

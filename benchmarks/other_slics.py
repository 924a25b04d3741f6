"""Superpixels by other packages, for ours to be compared with; each is imported when asked for."""

from collections.abc import Callable
from functools import partial

import numpy as np

Cut = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 image -> (H, W) ids of its superpixels."""


def by_scikit_image(count: int, compactness: float) -> Cut:
    """scikit-image's slic; it joins what is not connected, so there may be fewer than ``count``."""
    from skimage.segmentation import slic

    return partial(slic, n_segments=count, compactness=compactness, start_label=0)


def by_fast_slic(count: int, compactness: float, **options: float) -> Cut:
    """fast-slic, which the published release used, in the fastest of its builds that runs here."""
    from cfast_slic import is_supported_arch

    if is_supported_arch("x64/avx2"):
        from fast_slic.avx2 import SlicAvx2 as Slic
    else:
        from fast_slic import Slic
    return lambda image: Slic(count, compactness=compactness, **options).iterate(image)

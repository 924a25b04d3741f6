"""Superpixels by other programs, for comparison; each is imported only when it is used."""

from collections.abc import Callable
from functools import partial

import numpy as np

Cut = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 image -> (H, W) ids of its superpixels."""


def by_scikit_image(count: int, compactness: float, **options: float) -> Cut:
    """Return scikit-image's SLIC at the image's own size, with about ``count`` regions."""
    from skimage.segmentation import slic

    return partial(slic, n_segments=count, compactness=compactness, start_label=0, **options)


def by_fast_slic(count: int, compactness: float, **options: float) -> Cut:
    """Return fast-slic, which the published release used, in the fastest build for this CPU."""
    from cfast_slic import is_supported_arch

    if is_supported_arch("x64/avx2"):
        from fast_slic.avx2 import SlicAvx2 as Slic
    else:
        from fast_slic import Slic
    return lambda image: Slic(count, compactness=compactness, **options).iterate(image)

"""Brush strokes as Label Studio itself encodes them, in the environment that it is installed in.

Reads a NumPy file of masks, (N, H, W) bool, and prints a JSON list of N lists of bytes.
"""

import json
import sys

import numpy as np
from label_studio_sdk.converter.brush import mask2rle

print(json.dumps([mask2rle(mask.astype(np.uint8) * 255) for mask in np.load(sys.argv[1])]))

"""Write answers with Datumaro, in the environment that it is installed in.

Takes a format, a NumPy archive, and the folder to write. The archive holds "classes" (names),
"colors" (RGB) and, by image name, (H, W) uint8 maps of class numbers, 255 where nothing is drawn.
Prints "null".
"""

import sys

import numpy as np
from datumaro import (
    AnnotationType,
    Dataset,
    DatasetItem,
    Image,
    LabelCategories,
    Mask,
    MaskCategories,
)

kind, source, target = sys.argv[1:]
drawn = dict(np.load(source))
classes, colors = drawn.pop("classes").tolist(), drawn.pop("colors").tolist()
categories = {
    AnnotationType.label: LabelCategories.from_iterable(classes),
    AnnotationType.mask: MaskCategories(dict(enumerate(map(tuple, colors)))),
}
items = [
    DatasetItem(
        id=name,
        subset="default",
        media=Image.from_numpy(np.zeros((*codes.shape, 3), np.uint8)),
        annotations=[Mask(codes == c, label=int(c)) for c in np.unique(codes[codes < 255])],
    )
    for name, codes in drawn.items()
]
options = {"label_map": "source"} if kind == "voc_segmentation" else {}
dataset = Dataset.from_iterable(items, categories=categories)
dataset.export(target, kind, save_media=False, **options)
print("null")

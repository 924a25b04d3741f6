"""Read a dataset with Datumaro and write it again, in the environment that it is installed in.

Prints a JSON object: "images", by name, with the classes of the shapes that Datumaro found.
"""

import json
import sys

from datumaro import AnnotationType, Dataset

kind, source, target = sys.argv[1:]
dataset = Dataset.import_from(source, kind)
names = [label.name for label in dataset.categories()[AnnotationType.label]]
areas = (AnnotationType.mask, AnnotationType.polygon)
images = {
    item.id: sorted(names[shape.label] for shape in item.annotations if shape.type in areas)
    for item in dataset
}
dataset.export(target, kind, save_media=False)
print(json.dumps({"images": images}))

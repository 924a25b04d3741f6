"""``index.html`` of a labelling package: what to label where, and how many pixels are left."""

from collections.abc import Mapping
from pathlib import Path

from annotation.package import Package
from annotation.untrusted import shorten
from dataloader.oracle import ANSWERED, MISSING, SKIPPED, VOID
from utils import pages

TEMPLATE = Path(__file__).parent / "templates" / "index.html"
WORDS = {ANSWERED: "done", VOID: "done (void)", SKIPPED: "skipped", MISSING: "to label"}


def write_page(package: Package, statuses: Mapping[str, Mapping[int, str]]) -> None:
    """Write the page.

    Args:
        package: with all its files in place.
        statuses: image key -> region id -> status, of regions that are answered already.
    """
    images = [_image(image, statuses.get(image.key, {})) for image in package.images]
    pages.write_page(
        package.folder / "index.html",
        TEMPLATE,
        package=package,
        images=images,
        left_regions=sum(image["left_regions"] for image in images),
        left_pixels=sum(image["left"] for image in images),
        labels=[c for c in package.classes.classes if c.label_id is not None],
        void=package.classes.classes[-2],
        skip=package.classes.classes[-1],
        formats={path.name for path in package.folder.iterdir()},
    )


def _image(image, statuses: Mapping[int, str]) -> dict:
    """What the page shows of one image."""
    regions = [
        {
            "number": region.number,
            "pixels": region.pixels,
            "guess": region.guessed_class,
            "word": WORDS[statuses.get(region.id, MISSING)],
            "left": region.id not in statuses,
        }
        for region in image.regions
    ]
    left = [region for region in regions if region["left"]]
    return {
        "name": image.name,
        "file": image.file,
        "path": shorten(image.key, 200),
        "size": f"{image.width} x {image.height}",
        "regions": regions,
        "left": sum(region["pixels"] for region in left),
        "left_regions": len(left),
        "pixels": image.pixels,
    }

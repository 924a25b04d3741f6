"""Draw a small synthetic city in two looks, with the folders and label encodings of real datasets.

``GTA5`` and ``SYNTHIA`` (source) look like a clean computer game, ``Cityscapes`` (target) like a
grainy camera on a grey day. The whole pipeline runs on it in minutes, without a download::

    python data_preprocessing/toy_city.py --root data/toy

Image i of a domain does not depend on the number of images. With ``--cartoon`` the source has fewer
and flat colours, one light, no shadows, hardly different points of view, and neither terraces nor
side streets: a network learns less from it that serves for photographs.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import cv2
import numpy as np

from data_preprocessing.toy.looks import CARTOON, SOURCE, TARGET, Look
from data_preprocessing.toy.scene import draw_scene
from dataloader.dataset_info import DatasetInfo, load_dataset
from utils.errors import UserError, run
from utils.files import atomic_write, read_json, write_png
from utils.parser import PIXELS, POSITIVE_INT, SEED, Parser
from utils.workers import end_with_main_process, worker_context

MIN_HEIGHT, MIN_WIDTH = 32, 64
ODD_ONE_OF, ODD_ONE = 16, 3  # GTA5 labels that are smaller than their image, as a few real ones are
SETTINGS = "toy_city.json"  # marks a toy city's folder, so that no real data is overwritten
FEW = 16  # up to so many images per domain, one process is faster than several


@dataclass(frozen=True)
class ToySplit:
    """One split of one dataset: its folder, its look, and the names of its files."""

    number: int  # part of the seed, so that every domain has its own scenes
    folder: str
    dataset: str
    split: str
    look: Look
    stem: str  # with {index} and {city}, for {stem} in the dataset's path templates
    first: int = 0
    cities: tuple[str, ...] = ("",)
    void: int = 0  # label id of pixels without a train id

    def paths(self, info: DatasetInfo, index: int) -> tuple[str, str]:
        """Return the paths of image and label of one scene, relative to the root."""
        city = self.cities[index % len(self.cities)]
        stem = self.stem.format(index=self.first + index, city=city)
        names = {"split": info.splits[self.split], "stem": stem}
        image, label = info.image.format(**names), info.label.format(**names)
        return f"{self.folder}/{image}", f"{self.folder}/{label}"


GTA5 = ToySplit(0, "GTA5", "GTA5", "train", SOURCE, "{index:05d}", first=1)
SYNTHIA = ToySplit(1, "SYNTHIA", "SYNTHIA", "train", SOURCE, "{index:07d}")
CITYSCAPES = partial(
    ToySplit,
    folder="Cityscapes",
    dataset="cityscapes",
    look=TARGET,
    stem="{city}/{city}_{index:06d}_000019",
    void=1,  # the ego vehicle
)
DOMAINS = (
    GTA5,
    SYNTHIA,
    CITYSCAPES(2, split="train", cities=("toytown", "drawburg")),
    CITYSCAPES(3, split="val", cities=("inkfurt",)),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the city that the command line asks for."""
    args = parse_args(argv)
    settings = {"images": args.images, "size": args.size, "seed": args.seed}
    reserve_root(args.root, settings | ({"cartoon": True} if args.cartoon else {}))
    with mapper(args.images) as each:
        for domain in DOMAINS:
            if args.cartoon and domain.look is SOURCE:
                domain = replace(domain, look=CARTOON)
            count = args.images if domain.split == "train" else args.images // 2
            draw = partial(write_scene, args.root, domain, tuple(args.size), args.seed)
            list(each(draw, range(count)))
            if not args.quiet:
                print(f"{args.root / domain.folder}: {count} {domain.split} images")


@contextmanager
def mapper(images: int) -> Iterator[Callable]:
    """Yield ``map`` or, for enough images, a parallel map over all cores."""
    if images <= FEW:
        yield map
        return
    context = worker_context(f"at most --images {FEW}")
    with ProcessPoolExecutor(mp_context=context, initializer=start_worker) as pool:
        yield pool.map


def start_worker() -> None:
    """Work on one core, and end with the main process."""
    end_with_main_process()
    cv2.setNumThreads(1)


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line; raise :class:`UserError` if an argument is not valid."""
    parser = Parser("Draw a small synthetic city in place of GTA5, SYNTHIA and Cityscapes")
    parser.add_argument("--root", type=Path, required=True, help="folder to draw into")
    images_help = "images per domain; half as many for validation"
    parser.add_argument("--images", type=POSITIVE_INT, default=64, help=images_help)
    parser.add_argument(
        "--size",
        type=PIXELS,
        nargs=2,
        default=[128, 256],
        metavar=("H", "W"),
        help="height and width of the images, in pixels",
    )
    seed_help = "seed of the city; each seed gives another one"
    parser.add_argument("--seed", type=SEED, default=0, help=seed_help)
    parser.add_argument("--cartoon", action="store_true", help="draw a simpler source")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    args = parser.parse_args(argv)
    if args.size[0] < MIN_HEIGHT or args.size[1] < MIN_WIDTH:
        height, width = args.size
        raise UserError(
            f"--size {height} {width}: too small to draw a street in; "
            f"use {MIN_HEIGHT} {MIN_WIDTH} or more"
        )
    return args


def reserve_root(root: Path, settings: dict) -> None:
    """Mark ``root`` as a toy city, or check its mark: only the same city may be drawn again.

    Raises:
        UserError: the folder cannot be written, or holds real data or another toy city.
    """
    marker = root / SETTINGS
    try:
        root.mkdir(parents=True, exist_ok=True)
        if marker.exists():
            if read_json(marker, "choose another --root") != settings:
                raise UserError(f"--root {root}: holds another toy city; choose an empty folder")
            return
        for domain in DOMAINS:
            if (root / domain.folder).exists():
                raise UserError(
                    f"--root {root}: {domain.folder} is there already; choose an empty folder"
                )
        marker.write_text(json.dumps(settings) + "\n")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"--root {root}: cannot be written ({reason}); choose another folder"
        ) from error


def write_scene(root: Path, domain: ToySplit, size: tuple[int, int], seed: int, index: int) -> None:
    """Draw and write one image and its label; the same arguments give the same bytes."""
    info = load_dataset(domain.dataset)
    rng = np.random.default_rng([seed, domain.number, index])
    scene = draw_scene(domain.look, size, rng)
    image_path, label_path = domain.paths(info, index)
    write_png(root / image_path, scene.image)
    ids = label_ids(info, domain.void)[scene.label]
    if info.label_reader == "red16":
        write_red16(root / label_path, ids, scene.instances)
        return
    if domain.folder == GTA5.folder and index % ODD_ONE_OF == ODD_ONE:
        ids = cv2.resize(ids, (size[1] - 2, size[0] - 2), interpolation=cv2.INTER_NEAREST)
    write_png(root / label_path, ids)


def label_ids(info: DatasetInfo, void: int) -> np.ndarray:
    """Return a (256,) uint8 table: train id -> label id; ``void`` for classes the dataset lacks."""
    table = np.full(256, void, np.uint8)
    for label_id, train_id in info.label_to_train.items():
        if train_id not in info.missing_classes:
            table[train_id] = label_id
    return table


def write_red16(path: Path, ids: np.ndarray, instances: np.ndarray) -> None:
    """Write a 16-bit PNG: (H, W) class ids in the red channel, instance numbers in the green."""
    blue = np.zeros_like(instances)
    pixels = np.stack([blue, instances, ids.astype(np.uint16)], axis=-1)  # OpenCV's order
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", pixels)[1].tobytes())


if __name__ == "__main__":
    run(main)

"""Packages against the programs that people label with: `make test-annotators`.

They are no part of `make test`: Label Studio and Datumaro need environments of their own, whose
folder the variable ANNOTATORS names, and a browser, CHROMIUM.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation.package import Package, PackageImage
from dataloader.dataset_info import IGNORE, load_dataset
from dataloader.domain import Domain
from dataloader.images import read_label
from dataloader.item import Item
from dataloader.oracle import Annotations, GroundTruth
from tests.annotators.label_studio_server import Server, running_server
from tests.experiment import load

ENVIRONMENTS = os.environ.get("ANNOTATORS")
collect_ignore_glob = [] if ENVIRONMENTS else ["test_*.py"]
IMAGES, SIZE, BUDGET = 4, "256 512", 0.6


@dataclass(frozen=True)
class Asked:
    """A run of ``train_ADA.py --oracle people`` that waits for answers.

    Attributes:
        folder: of the run.
        city: root of the target, whose label files are what people know.
        package: of its only round.
        domain: the target's images with asked regions, in the order of the package.
    """

    folder: Path
    city: Path
    package: Package
    domain: Domain

    @classmethod
    def load(cls, folder: Path, city: Path) -> "Asked":
        """From the files of the run."""
        package = Package.load(folder / "annotation" / "round_00")
        items = [Item(str(city / i.key), _label(city, i), i.superpixel) for i in package.images]
        return cls(folder, city, package, Domain(load_dataset("cityscapes"), str(city), items))

    def copy(self, folder: Path) -> "Asked":
        """The same run in another folder, for answers of its own."""
        shutil.copytree(self.folder / "annotation", folder / "annotation")
        return Asked.load(folder, self.city)

    def each(self) -> Iterator[tuple[PackageImage, Item, list[int]]]:
        """Each image of the package, its files, and the ids of its asked regions."""
        for image, item in zip(self.package.images, self.domain.items, strict=True):
            yield image, item, [region.id for region in image.regions]

    def truth(self) -> dict[str, np.ndarray]:
        """Image name -> (H, W) uint8 codes of the right answers; 255 outside of asked regions."""
        codes = {}
        for image, item, _ in self.each():
            label = read_label(item.label, self.domain.info)
            answered = np.where(label == IGNORE, self.package.classes.void, label)
            asked = self.package.read_numbers(image) > 0
            codes[image.name] = np.where(asked, answered, 255).astype(np.uint8)
        return codes

    def check_labels(self) -> None:
        """The training labels of people's answers are those that ``--oracle files`` gives."""
        files = GroundTruth(self.domain)
        people = Annotations(self.domain, self.folder / "annotation" / "labels")
        labelled = 0
        for image, item, ids in self.each():
            label = people.labels(item, ids)
            assert np.array_equal(label, files.labels(item, ids)), image.name
            labelled += np.count_nonzero(label != IGNORE)
        assert labelled > self.package.pixels / 4


def _label(city: Path, image: PackageImage) -> str:
    name = image.key.replace("leftImg8bit/", "gtFine/", 1)
    return str(city / name.replace("_leftImg8bit", "_gtFine_labelIds"))


@pytest.fixture(scope="session")
def asked(script, tmp_path_factory) -> Asked:
    """A city, a warm-up of four iterations, and the round in which people are asked."""
    root = tmp_path_factory.mktemp("annotators")
    city, folder = root / "city", root / "exp"
    script(f"data_preprocessing/toy_city.py --root {city} --images {IMAGES} --size {SIZE} --quiet")
    for dataset, name in (("GTA5", "GTA5"), ("cityscapes", "Cityscapes")):
        script(
            f"data_preprocessing/superpixel_gen.py --dataset {dataset} --datadir {city}/{name} "
            "--workers 1"
        )
    flags = (
        "-m deeplabv3plus_mobilenet --image_size 64 128 --num_workers 0 --device cpu "
        f"--no-freeze_bn --train_batch_size 2 --src_dataset GTA5 --src_data_dir {city}/GTA5 "
        f"--trg_data_dir {city}/Cityscapes --val_data_dir {city}/Cityscapes"
    )
    script(
        f"warmup.py -p {root}/warmup {flags} --backbone_weights none --total_itrs 4 --ramp_itrs 2 "
        "--val_period 4 --train_lr 1e-2"
    )
    script(
        f"train_ADA.py -p {folder} {flags} --init_checkpoint {root}/warmup/checkpoint.tar "
        f"--max_iterations 1 --finetune_itrs 2 --val_period 2 --active_selection_size {BUDGET} "
        "--oracle people"
    )
    result = Asked.load(folder, city / "Cityscapes")
    wanted = load(folder / "datalist_00.pkl")["trg_asked_suppix"]
    assert {i.superpixel: sorted(ids) for _, i, ids in result.each()} == {
        path: sorted(ids) for path, ids in wanted.items() if ids
    }
    assert len(result.package.images) == IMAGES  # so that each test has its images
    return result


@pytest.fixture(scope="session")
def label_studio(asked, tmp_path_factory) -> Iterator[Server]:
    """A server that may read the run's packages."""
    folder = tmp_path_factory.mktemp("label_studio")
    documents = asked.folder / "annotation"
    with running_server(python("label-studio"), folder, documents) as server:
        yield server


def python(environment: str) -> Path:
    """The interpreter of one of the environments."""
    return Path(ENVIRONMENTS) / environment / "bin" / "python"


def output(*command: Any) -> Any:
    """What a command prints, read as JSON."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])

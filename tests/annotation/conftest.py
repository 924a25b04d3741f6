"""A run of two rounds on three tiny images, its package, and answers drawn as people would."""

import importlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation.package import Package
from dataloader.active_set import ActiveSet
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.item import Item
from utils.errors import UserError
from utils.safe_pickle import save_pickle

HEIGHT, WIDTH, BLOCK = 24, 32, 8
CHOSEN = ({0: [1, 6], 1: [0, 11]}, {1: [5], 2: [2, 3]})
"""Round -> image -> regions, in the order of selection but for their strategies."""
export_main = importlib.import_module("annotation.export").main
import_main = importlib.import_module("annotation.import").main


@dataclass
class Run:
    """Paths and truth of the run."""

    folder: Path
    root: Path
    items: list[Item]
    truth: list[np.ndarray]
    superpixels: np.ndarray
    info: DatasetInfo

    def export(self, *flags: str) -> Package:
        """Write the package of a round."""
        export_main(["-p", str(self.folder), "--trg_data_dir", str(self.root), *flags])
        return Package.load(sorted((self.folder / "annotation").glob("round_*"))[-1])

    def take(self, *files: Path | str) -> None:
        """Import answers."""
        import_main(["-p", str(self.folder), *map(str, files)])

    def index(self, key: str) -> int:
        """Which of the items an image of a package is."""
        return next(n for n, item in enumerate(self.items) if item.image.endswith(key))

    def truth_of(self, key: str) -> np.ndarray:
        """(H, W) uint8 train ids of an image of a package."""
        return self.truth[self.index(key)]

    def label(self, n: int) -> np.ndarray:
        """(H, W) uint8 label ids that were imported for an image."""
        name = Path(self.items[n].image).relative_to(self.root).as_posix()
        name += "" if name.endswith(".png") else ".png"
        return np.asarray(Image.open(self.folder / "annotation" / "labels" / name))

    def expected(self, n: int, regions: list[int]) -> np.ndarray:
        """What an image's label is when these regions are answered by the truth."""
        ids = {train_id: label_id for label_id, train_id in self.info.label_to_train.items()}
        table = np.array([ids.get(i, 255) for i in range(256)], np.uint8)
        asked = np.isin(self.superpixels, regions)
        return np.where(asked, table[self.truth[n]], 255)

    def files(self) -> dict[str, bytes]:
        """All that an import writes."""
        folder = self.folder / "annotation" / "labels"
        return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture()
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def make_run(tmp_path: Path) -> Run:
    """Write the files of a run below a folder."""
    rng = np.random.default_rng(0)
    root, folder = tmp_path / "data", tmp_path / "exp"
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] // BLOCK
    superpixels = (rows * (WIDTH // BLOCK) + columns).astype(np.uint8)
    items, truth = [], []
    for name in ("day/a b.png", "day/ä,<&>.png", "night/a b.jpg"):
        item = Item(*(str(root / part / name) for part in ("img", "label", "superpixel")))
        item = item._replace(superpixel=item.superpixel.replace(".jpg", ".png"))
        for path, array in (
            (item.image, rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)),
            (item.superpixel, superpixels),
        ):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
        items.append(item)
        # cells of 4 x 4 pixels, so that whatever a person draws has clear borders
        cells = rng.choice([0, 2, 10, 13, 18], (HEIGHT // 4, WIDTH // 4)).astype(np.uint8)
        truth.append(np.kron(cells, np.ones((4, 4), np.uint8)))
    folder.mkdir()
    pool = {item.superpixel: list(range(12)) for item in items}
    source = [Item("/s/i.png", "/s/l.png", "/s/s.png")]
    active_set = ActiveSet(source, items, pool)
    for number, chosen in enumerate(CHOSEN):
        rows = [(0.5, ",".join(items[n]), r) for n, ids in chosen.items() for r in ids]
        active_set.label((items[n].superpixel, r) for n, ids in chosen.items() for r in ids)
        save_pickle(folder / f"density_selection_{number:02d}.pkl", rows[:2])
        save_pickle(folder / f"softmax_entropy_selection_{number:02d}.pkl", rows[2:])
        active_set.save(folder / f"datalist_{number:02d}.pkl")
    return Run(folder, root, items, truth, superpixels, load_dataset("cityscapes"))


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory) -> Run:
    result = make_run(tmp_path_factory.mktemp("run"))
    result.export("--round", "0")
    return result


@pytest.fixture()
def shared(shared_run) -> Iterator[Run]:
    """A run whose package is written once; answers are removed after each test."""
    yield shared_run
    shutil.rmtree(shared_run.folder / "annotation" / "labels", ignore_errors=True)


@pytest.fixture()
def package(shared) -> Package:
    return Package.load(shared.folder / "annotation" / "round_00")


@pytest.fixture()
def refuse(shared, package, tally):
    """Importing a file fails with a line that holds some words, and writes nothing."""

    def check(path: Path, *words: str) -> str:
        before = sorted((shared.folder / "annotation").rglob("*"))
        with pytest.raises(UserError) as error:
            shared.take(path)
        line = error.value.line
        assert len(line.splitlines()) == 1 and len(line) < 600
        for word in (path.name.encode("unicode_escape").decode(), *words):
            assert word in line
        after = sorted((shared.folder / "annotation").rglob("*"))
        assert [p for p in after if p not in before and p.name != ".lock"] == []
        tally["bad inputs refused"] += 1
        return line

    return check

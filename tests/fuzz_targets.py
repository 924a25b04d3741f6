"""The files that a fuzz damages: how each is written and read, and which values may come of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import inference
import train_ADA
import warmup
from active_selection.phases import read_selection
from active_selection.run_folder import RunFolder
from active_selection.table_files import ColumnFiles, feature_folder
from data_preprocessing import edge_detection, superpixel_gen
from dataloader.active_set import ActiveSet
from dataloader.checks.files import check_files
from dataloader.dataset_info import DatasetInfo, load_dataset
from dataloader.images import read_image, read_label, read_superpixels
from dataloader.item import Item
from dataloader.regions import check_maps, load_regions, save_regions
from experiments.config import Run, read_config
from utils.checkpoint import read_checkpoint, save_checkpoint
from utils.errors import UserError
from utils.files import write_json
from utils.recorder import Recorder, Step, read_metrics
from utils.resume import RunSettings
from utils.safe_pickle import save_pickle

INFO = load_dataset("cityscapes")
MAP = np.array([[0, 0, 3, 3], [0, 3, 3, 7]], np.uint8)
AREAS = {0: 3, 3: 4, 7: 1}
TYPES = {"feature": (np.float32, (2,))}
COMMAND = ("warmup.py", "--seed", "0")
CONFIG = {
    "prepare": ["x.py --root {data}"],
    **dict.fromkeys(("network", "warmup", "bound", "rounds"), "-m a"),
    "seeds": [0, 1],
    "strategies": {"RAND": "--active_method RAND"},
}


class Target(NamedTuple):
    """One kind of file.

    Attributes:
        name: of the kind.
        write: writes valid files into an empty folder, and returns those of them to damage.
        read: reads what is in the folder; may raise UserError.
        accept: whether a value that was read may come of a damaged file.
        is_json: whether it is JSON.
    """

    name: str
    write: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    accept: Callable[[Any], bool]
    is_json: bool = True


def item_in(folder: Path) -> Item:
    return Item(*(str(folder / name) for name in ("image.png", "label.png", "map.png")))


def write_regions(folder: Path) -> list[Path]:
    item = item_in(folder)
    Image.fromarray(MAP).save(item.superpixel)
    save_regions(folder, "train", {item.superpixel: AREAS})
    return [folder / "superpixel" / f"train.{suffix}" for suffix in ("dict", "areas")]


def read_regions(folder: Path) -> Any:
    items = [item_in(folder)]
    regions = load_regions(items, folder, "train")
    check_maps(items, regions)
    return list(regions.values())


def settings_in(folder: Path) -> RunSettings:
    parser = warmup.parser()
    return RunSettings(parser.parse_args(["-p", str(folder)]), "warmup", parser.get_default)


def write_settings(folder: Path) -> list[Path]:
    settings = settings_in(folder)
    settings.write({"src": {"data": "a", "each_data": "abcd"}})
    return [settings.path]


def read_settings(folder: Path) -> Any:
    settings = settings_in(folder)
    return settings.check(True, []) and isinstance(settings.data, dict)


def columns_in(folder: Path) -> ColumnFiles:
    return ColumnFiles(folder, "round00_target", [0, 4, 6], TYPES, "fingerprint")


def write_note(folder: Path) -> list[Path]:
    files = columns_in(folder)
    files.columns["feature"][:4] = 1
    files.finish(0)
    files.save()
    return [files.note_path, files.paths["feature"]][:1]


def write_columns(folder: Path) -> list[Path]:
    write_note(folder)
    return [folder / "round00_target_feature.npy"]


def read_columns(folder: Path) -> Any:
    files = columns_in(folder)
    return files.open_batches, files.columns["feature"][:4].tolist()


def write_owner(folder: Path) -> list[Path]:
    with feature_folder(folder / "features", folder / "run"):
        (folder / "features" / "round00_target_feature.npy").touch()
    return [folder / "features" / "owner.json"]


def read_owner(folder: Path) -> Any:
    with feature_folder(folder / "features", folder / "run"):
        return (folder / "features" / "owner.json").read_text()


def write_record(folder: Path) -> list[Path]:
    path = folder / "AL_record" / "round_01.json"
    write_json(path, {"round": 1, "mIoU": 50.0, "IoU": {"road": 50.0}, "selection": []})
    return [path]


def read_record(folder: Path) -> Any:
    command = ["-p", str(folder), "--init_checkpoint", "x"]
    return RunFolder(train_ADA.parser().parse_args(command)).read_record(1)


def write_metrics(folder: Path) -> list[Path]:
    for iteration in range(3):
        Recorder(folder / "metrics.jsonl").write("validation", Step(None, iteration), mIoU=1.0)
    return [folder / "metrics.jsonl"]


def write_config(folder: Path) -> list[Path]:
    write_json(folder / "config.json", CONFIG)
    return [folder / "config.json"]


def write_run_note(folder: Path) -> list[Path]:
    Run(COMMAND, folder).write_note(done=True)
    return [folder / "run.json"]


def write_info(folder: Path) -> list[Path]:
    (folder / "info.json").write_bytes(INFO.path.read_bytes())
    return [folder / "info.json"]


def active_set_in(folder: Path) -> ActiveSet:
    item = item_in(folder)
    return ActiveSet([item], [item], {item.superpixel: [0, 3]}, {item.superpixel: [7]})


def write_datalist(folder: Path) -> list[Path]:
    active_set_in(folder).save(folder / "datalist_00.pkl")
    return [folder / "datalist_00.pkl"]


def are_regions(active: ActiveSet) -> bool:
    ids = [i for listed in (active.pool, active.labelled) for v in listed.values() for i in v]
    return all(type(i) is int and 0 <= i < 256 for i in ids) and len(set(ids)) == len(ids)


def write_selection(folder: Path) -> list[Path]:
    path, item = folder / "density_selection_00.pkl", item_in(folder)
    save_pickle(path, [(0.5, ",".join(item), 3), (0.25, ",".join(item), 0)])
    return [path]


def write_checkpoint(folder: Path) -> list[Path]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    save_checkpoint(folder / "checkpoint.tar", model, torch.optim.SGD(model.parameters(), 0.1))
    return [folder / "checkpoint.tar"]


def images_target(suffix: str) -> Target:
    """An image, label and superpixel map of a file format that are damaged."""
    name = f"file{suffix}"

    def write(folder: Path) -> list[Path]:
        pixels = np.random.default_rng(0).integers(0, 40, (12, 16, 3), np.uint8)
        Image.fromarray(pixels if suffix in (".jpg", ".ppm") else pixels[..., 0]).save(
            folder / name
        )
        return [folder / name]

    def read(folder: Path) -> Any:
        path = str(folder / name)
        found, last = [], None
        readers = (read_image, lambda file: read_label(file, INFO), read_superpixels)
        for column, reader in zip(("image", "label", "superpixel"), readers, strict=True):
            try:
                check_files([Item(path, path, path)], INFO, column)
                found.append(reader(path))
            except UserError as error:
                last = error
                assert path in error.line and error.line.isprintable()
        if not found:
            raise last
        return found

    def accept(value: Any) -> bool:
        return all(array.dtype == np.uint8 and array.ndim in (2, 3) for array in value)

    return Target(f"{suffix} images", write, read, accept, is_json=False)


TARGETS = [
    Target("region dictionaries", write_regions, read_regions, lambda v: v == [AREAS]),
    Target("settings", write_settings, read_settings, lambda v: v is True),
    Target(
        *("notes of passes", write_note, read_columns),
        lambda v: v[0] == [0, 1] or v == ([1], [[1.0, 1.0]] * 4),
    ),
    Target(
        *("columns of passes", write_columns, read_columns),
        *(lambda v: v[0] == [0, 1] or v == ([1], [[1.0, 1.0]] * 4), False),
    ),
    Target("owners of features", write_owner, read_owner, lambda v: True),
    Target("records", write_record, read_record, lambda v: v is None or v["round"] == 1),
    Target(
        *("metrics", write_metrics, lambda folder: read_metrics(folder / "metrics.jsonl")),
        *(lambda v: all(isinstance(entry, dict) for entry in v), False),
    ),
    Target(
        *("configs", write_config),
        lambda folder: list(read_config(folder / "config.json", folder, folder).runs()),
        bool,
    ),
    Target(
        *("notes of runs", write_run_note, lambda folder: Run(COMMAND, folder).is_done),
        lambda v: isinstance(v, bool),
    ),
    Target(
        *("dataset descriptions", write_info),
        lambda folder: load_dataset(str(folder / "info.json")),
        lambda v: isinstance(v, DatasetInfo),
    ),
    Target(
        *("datalists", write_datalist),
        lambda folder: ActiveSet.load(folder / "datalist_00.pkl", folder, folder),
        *(are_regions, False),
    ),
    Target(
        *("selections", write_selection),
        lambda f: read_selection(f / "density_selection_00.pkl", active_set_in(f)),
        *(lambda v: len(set(v)) == len(v), False),
    ),
    Target(
        *("checkpoints", write_checkpoint),
        lambda folder: read_checkpoint(folder / "checkpoint.tar"),
        *(lambda v: isinstance(v["model_state_dict"], dict), False),
    ),
    *map(images_target, (".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm")),
]
FLAG_PARSERS = {
    "warmup.py": warmup.parser,
    "train_ADA.py": train_ADA.parser,
    "inference.py": inference.parser,
    "superpixel_gen.py": superpixel_gen.parser,
    "edge_detection.py": edge_detection.parser,
}

"""How far ``--amp bf16`` changes what a trained network predicts."""

from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.inputs import network
from dataloader.datalist import read_datalist
from dataloader.dataset_info import load_dataset
from dataloader.datasets import EvaluationSet
from models.folding import fold_batch_norm
from utils.checkpoint import load_model
from utils.runtime import Runtime


def agreement(checkpoint: str, name: str, dataset: str, root: str, size: tuple[int, int]) -> float:
    """Share of pixels that a trained network gives the same label with ``--amp bf16``."""
    info = load_dataset(dataset)
    data = EvaluationSet(read_datalist(Path(root) / "val.txt", root), info, size)
    plain, fast = network(name), network(name)
    runtime = Runtime(torch.device("cpu"), "bf16", channels_last=True)
    for model in (plain, fast):
        load_model(checkpoint, model)
    runtime.prepare(fold_batch_norm(fast))
    equal = []
    with torch.inference_mode():
        for index in tqdm(range(len(data)), desc="agreement", disable=None):
            image = data[index][1][None]
            with runtime.autocast():
                quick = fast(image).argmax(1)
            equal.append((quick == plain(image).argmax(1)).double().mean())
    return float(torch.stack(equal).mean())

"""--tensorboard: TensorBoard itself reads the curves and pictures."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.event_files import EventFiles
from utils.recorder import Recorder, Step, read_metrics

PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def start(folder) -> Recorder:
    """The recorder of a program whose rounds have 10 iterations."""
    sink = EventFiles(folder / "tensorboard", 10, lambda: [("scene", PICTURE)])
    return Recorder(folder / "metrics.jsonl", sink)


def curve(folder, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_rounds_follow_one_another_with_losses_rates_classes_and_pictures(tmp_path):
    recorder = start(tmp_path)
    for number in (1, 2):
        recorder.write("train", Step(number, 5), loss=number / 2, lr=[0.25, 2.5])
        recorder.write(
            *("validation", Step(number, 10)),
            **{"mIoU": 40.0, "IoU": {"road": 50.0, "sky": None}, "confusion": [[1, 0], [0, 1]]},
        )
    assert curve(tmp_path, "train/loss") == [(5, 0.5), (15, 1.0)]
    assert curve(tmp_path, "train/lr/1") == [(5, 2.5), (15, 2.5)]
    assert curve(tmp_path, "validation/IoU/road") == [(10, 50.0), (20, 50.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [image.step for image in events.Images("predictions/scene")] == [10, 20]
    tags = {"train/loss", "train/lr/0", "train/lr/1", "validation/mIoU", "validation/IoU/road"}
    assert set(events.Tags()["scalars"]) == tags
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 4


def test_a_continued_run_forgets_what_the_stopped_one_wrote_beyond_its_state(tmp_path):
    stopped = start(tmp_path)
    for iteration in (2, 4, 6):
        stopped.write("train", Step(1, iteration), loss=1.0)
    continued = start(tmp_path)
    continued.continue_from(Step(1, 4))
    continued.write("train", Step(1, 8), loss=2.0)
    assert curve(tmp_path, "train/loss") == [(2, 1.0), (4, 1.0), (8, 2.0)]

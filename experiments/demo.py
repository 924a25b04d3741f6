"""Run the whole method on the toy city, in a few minutes on two CPU cores (``make demo``).

Every step is one of the project's scripts with its own flags; this file only calls them. Networks
start from ImageNet's backbone: that of ``--weights PATH`` (``make demo WEIGHTS=PATH``), or
torchvision's where it can be downloaded; else from random weights. Results are written to
``demo/``, whose earlier contents are removed.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

from models import get_model
from models.backbones import load_backbone
from utils.errors import UserError, run
from utils.parser import Parser

ROOT = Path(__file__).resolve().parents[1]
DEMO = Path("demo")
CITY = DEMO / "city"
EXP = DEMO / "exp"
ROUNDS = 3

MODEL = "deeplabv3plus_mobilenet"
NETWORK = f"-m {MODEL} --separable_conv --image_size 96 192 --num_workers 0 --channels_last"
DATA = (
    f"--src_dataset GTA5 --src_data_dir {CITY}/GTA5 "
    f"--trg_dataset cityscapes --trg_data_dir {CITY}/Cityscapes "
    f"--val_dataset cityscapes --val_data_dir {CITY}/Cityscapes"
)
# Training takes minutes here, so BatchNorm is trained and learning rates are high.
TRAINING = "--no-freeze_bn --train_batch_size 4"


def choose_weights(path: str | None) -> str:
    """Return ``--backbone_weights``: the file, ImageNet's where they can be had, or none.

    Raises:
        UserError: the file is no backbone.
    """
    network = get_model(MODEL, 19, 16, True, False)
    if path:
        load_backbone(network, path)
        print(f"networks start from the backbone in {path}")
        return str(Path(path).absolute())
    try:
        load_backbone(network, "imagenet")
    except UserError as error:
        print(f"networks start from random weights: {error.line}")
        return "none"
    print("networks start from torchvision's ImageNet backbone")
    return "imagenet"


def steps(weights: str) -> list[str]:
    """Return the commands, in order, for a value of ``--backbone_weights``."""
    predict = f"inference.py {NETWORK} --val_data_dir {CITY}/Cityscapes"
    return [
        f"data_preprocessing/toy_city.py --root {CITY} --images 96 --size 128 256",
        f"data_preprocessing/superpixel_gen.py --dataset GTA5 --datadir {CITY}/GTA5",
        f"data_preprocessing/superpixel_gen.py --dataset cityscapes --datadir {CITY}/Cityscapes"
        " --preview 4",
        f"warmup.py -p {EXP} {NETWORK} {DATA} {TRAINING} --backbone_weights {shlex.quote(weights)}"
        " --warmup sup_warmup --total_itrs 350 --ramp_itrs 50 --train_lr 5e-3 --val_period 350",
        f"train_ADA.py -p {EXP} {NETWORK} {DATA} {TRAINING} --init_checkpoint {EXP}/checkpoint.tar"
        f" --max_iterations {ROUNDS} --finetune_itrs 150 --finetune_lr 5e-3 --val_period 150"
        " --active_selection_size 0.96",
        f"{predict} --trained_model_path {EXP}/checkpoint00.tar --save_dir {DEMO}/before",
        f"{predict} --trained_model_path {EXP}/checkpoint0{ROUNDS}.tar --save_dir {DEMO}/after",
        f"evaluation.py --root_dir {CITY}/Cityscapes --pred_dir {DEMO}/before"
        f" --json {DEMO}/before.json",
        f"evaluation.py --root_dir {CITY}/Cityscapes --pred_dir {DEMO}/after"
        f" --json {DEMO}/after.json",
        f"experiments/pictures.py selected --exp {EXP} --out {DEMO}/regions.png",
        f"experiments/pictures.py compare --datadir {CITY}/Cityscapes"
        f" --pred_dir {DEMO}/before {DEMO}/after --out {DEMO}/predictions.png",
    ]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--weights", metavar="PATH", help="backbone trained on ImageNet")
    start = time.monotonic()
    weights = choose_weights(parser.parse_args().weights)
    shutil.rmtree(ROOT / DEMO, ignore_errors=True)  # scripts refuse to overwrite runs
    for step in steps(weights):
        print(f"\n$ python {step}", flush=True)
        subprocess.run([sys.executable, *shlex.split(step)], cwd=ROOT, check=True)
    print("\nround  labelled    mIoU")
    for number in range(ROUNDS + 1):
        record = json.loads((ROOT / EXP / "AL_record" / f"round_{number:02d}.json").read_text())
        print(f"{number:5d} {record['labelled_percent']:8.2f} % {record['mIoU']:7.2f}")
    print(f"\nchosen regions: {DEMO}/regions.png")
    print(f"image, truth, before, after: {DEMO}/predictions.png")
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    run(main)

"""Bad input ends with one line that names the file or flag, exit code 2 and no traceback."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from models import get_model
from utils.checkpoint import read_checkpoint
from utils.errors import UserError

NETWORK = "-m deeplabv3plus_mobilenet --image_size 64 128 --num_workers 0 --device cpu"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.tar"
    net = get_model("deeplabv3plus_mobilenet", 19, pretrained_backbone=False)
    torch.save({"model_state_dict": net.state_dict(), "opt_state_dict": {}}, path)
    return path


@pytest.fixture()
def data(toy_city):
    return (
        f"{NETWORK} --src_data_dir {toy_city}/GTA5 "
        f"--trg_data_dir {toy_city}/Cityscapes --val_data_dir {toy_city}/Cityscapes"
    )


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--train_batch_size 0", "--train_batch_size"),
        ("--train_lr nan", "--train_lr"),
        ("--image_size 64 -1", "--image_size"),
        ("--src_dataset kitti", "kitti"),
        ("--device cuda:77", "--device"),
        ("--no-freeze_bn", "--train_batch_size 2"),
        ("--num_classes 16", "--num_classes"),
        ("--src_data_dir nowhere", "nowhere"),
        ("--trg_datalist nothing.txt", "nothing.txt"),
        ("--init_checkpoint nothing.tar", "nothing.tar"),
        ("--backbone_weights nothing.pth", "nothing.pth"),
        ("--separable_conv -m deeplabv2_mobilenet", "--separable_conv"),
        ("-m deeplabv9_alexnet", "deeplabv3plus_resnet101"),
    ],
)
def test_warmup(script, data, tmp_path, flags, named):
    assert named in script(
        f"warmup.py -p {tmp_path}/exp --backbone_weights none {data} {flags}", fails=True
    )
    assert not list(tmp_path.rglob("*.tar"))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--alpha -1", "--alpha"),
        ("--active_selection_size -3", "--active_selection_size"),
        ("--init_iteration 2", "--datalist_path"),
        ("--init_iteration 9 --datalist_path x.pkl", "--max_iterations"),
        ("--datalist_path nothing.pkl", "nothing.pkl"),
        ("-m deeplabv3_mobilenet", "checkpoint of another network"),
        ("--num_classes 23", "final.weight is (19, 256, 1, 1), expected (23, 256, 1, 1)"),
        ("--active_method AADB", "--active_method"),
        ("--active_method AADA", "--warmup uda_warmup"),
        ("--active_method ReDAL", "edge_detection.py"),
        ("--components 0", "--components"),
        ("--max_source_regions 1", "--max_source_regions"),
    ],
)
def test_train_ada(script, data, checkpoint, tmp_path, flags, named):
    command = f"train_ADA.py -p {tmp_path}/exp --init_checkpoint {checkpoint} {data} {flags}"
    assert named in script(command, fails=True)


def test_a_loss_that_turns_nan_names_iteration_and_images(script, data, tmp_path):
    command = (
        f"warmup.py -p {tmp_path} --backbone_weights none {data} --warmup sup_warmup "
        "--no-freeze_bn --train_batch_size 2 --total_itrs 200 --ramp_itrs 0 --val_period 10"
    )
    line = script(f"{command} --train_lr 1e9", fails=True)
    assert "the loss (loss) became" in line
    assert "in iteration" in line
    assert line.count("/GTA5/images/") == 2
    assert not (tmp_path / "checkpoint.tar").exists()


def test_train_ada_without_superpixels_says_which_script_to_run(
    script, toy_city, checkpoint, data, tmp_path
):
    city = toy_city / "Cityscapes"
    image = next((city / "leftImg8bit" / "train").rglob("*.png"))
    label = next((city / "gtFine" / "train").rglob("*.png"))
    (tmp_path / "list.txt").write_text(f"{image} {label} {tmp_path}/missing.png\n")
    line = script(
        f"train_ADA.py -p {tmp_path}/exp --init_checkpoint {checkpoint} {data} "
        f"--trg_datalist {tmp_path}/list.txt",
        fails=True,
    )
    assert "missing.png" in line and "superpixel_gen.py" in line


def test_hostile_checkpoint_does_not_run(script, data, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model_state_dict": Hostile()}, tmp_path / "checkpoint.tar")
    line = script(
        f"train_ADA.py -p {tmp_path}/exp --init_checkpoint {tmp_path}/checkpoint.tar {data}",
        fails=True,
    )
    assert "checkpoint.tar" in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"text", {"model_state_dict": [1]}, {"model_state_dict": {"a": 3}}, [1, 2]],
    ids=["empty", "text", "list of weights", "numbers", "list"],
)
def test_damaged_checkpoints_are_one_line(content, tmp_path):
    path = tmp_path / "checkpoint.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"checkpoint\.tar: [^\n]+$"):
        read_checkpoint(path)


@pytest.mark.parametrize("method", ["random", "RIPU"])  # without and with a pass over the images
def test_changed_maps_beside_an_old_region_dictionary(
    script, toy_city, data, checkpoint, tmp_path, method
):
    """Maps that somebody replaced are not read with the dictionary of the others."""
    shutil.copytree(toy_city / "Cityscapes", tmp_path / "city")
    path = next((tmp_path / "city" / "superpixel" / "train").rglob("*.png"))
    Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)
    line = script(
        f"train_ADA.py -p {tmp_path}/exp --init_checkpoint {checkpoint} {data} "
        f"--trg_data_dir {tmp_path}/city --active_method {method}",
        fails=True,
    )
    assert path.name in line and "superpixel_gen.py again" in line


def test_inference_and_evaluation(script, toy_city, checkpoint, tmp_path):
    model = f"inference.py {NETWORK} --trained_model_path {checkpoint}"
    (tmp_path / "empty").mkdir()
    assert "no images" in script(f"{model} --image_dir {tmp_path}/empty", fails=True)
    assert "no such folder" in script(f"{model} --image_dir {tmp_path}/nowhere", fails=True)
    (tmp_path / "photos").mkdir()
    for file in ("b.png", "b_color.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / file)
    line = script(f"{model} --image_dir {tmp_path}/photos --save_dir {tmp_path}", fails=True)
    assert "overwrite another prediction" in line
    before = (tmp_path / "photos" / "b.png").read_bytes()
    line = script(f"{model} --image_dir {tmp_path}/photos --save_dir {tmp_path}/photos", fails=True)
    assert "overwrite an image" in line
    assert (tmp_path / "photos" / "b.png").read_bytes() == before
    evaluate = f"evaluation.py --root_dir {toy_city}/Cityscapes --pred_dir {tmp_path}"
    assert "no prediction of 3 of 3 images, the first" in script(evaluate, fails=True)
    for image in (toy_city / "Cityscapes" / "leftImg8bit" / "val").rglob("*.png"):
        Image.fromarray(np.zeros((32, 64), np.uint8)).save(tmp_path / image.name)
    assert "64 x 32 pixels, its label 128 x 64" in script(evaluate, fails=True)

"""What a checkpoint tells of its network goes before defaults, and flags may not contradict it."""

from argparse import Namespace

import pytest
import torch

import inference
import warmup
from dataloader.dataset_info import load_dataset
from models.facts import network_facts, take_facts
from utils.checkpoint import save_checkpoint
from utils.errors import UserError
from utils.metrics import padded_names

INFO = load_dataset("cityscapes")
MADE_BY = "-m deeplabv3plus_mobilenet --separable_conv --output_stride 8 --image_size 64 128"


@pytest.fixture()
def checkpoint(tmp_path):
    """A function that writes a checkpoint by a warm-up's flags; its path."""

    def write(flags: str = MADE_BY, num_classes: int = 19) -> str:
        args = warmup.parser().parse_args(flags.split())
        args.num_classes = num_classes
        facts = network_facts(args, INFO.name, INFO.class_names, INFO.palette)
        net = torch.nn.Linear(1, 1)
        save_checkpoint(
            tmp_path / "c.tar", net, torch.optim.SGD(net.parameters(), 0.1), None, facts
        )
        return str(tmp_path / "c.tar")

    return write


def take(path: str, flags: str = "") -> tuple[Namespace, dict]:
    """Flags of inference.py after a checkpoint was looked at, and what it told."""
    parser, argv = inference.parser(), ["--trained_model_path", path, *flags.split()]
    args = parser.parse_args(argv)
    return args, take_facts(args, parser.given(argv), path)


def test_what_flags_leave_open_is_the_checkpoints(checkpoint):
    args, facts = take(checkpoint())
    assert args.model == "deeplabv3plus_mobilenet"
    assert args.separable_conv is True
    assert args.output_stride == 8
    assert args.num_classes == 19
    assert args.image_size == [64, 128]
    assert facts["class_names"] == INFO.class_names
    assert facts["dataset"] == "cityscapes"
    assert torch.__version__.startswith(facts["versions"]["torch"])


def test_flags_that_say_the_same_are_no_contradiction(checkpoint):
    args, _ = take(checkpoint(), f"{MADE_BY} --num_classes 19")
    assert args.output_stride == 8


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("-m deeplabv2_resnet101", "-m deeplabv2_resnet101: the network in .* has model deeplabv3"),
        ("--output_stride 16", "--output_stride 16: .* has output_stride 8"),
        ("--num_classes 20", "--num_classes 20: .* has num_classes 19; leave the flag out"),
    ],
)
def test_flags_that_contradict_are_refused(checkpoint, flags, named):
    """Also where they say what would be the default."""
    with pytest.raises(UserError, match=named):
        take(checkpoint(), flags)


def test_a_flag_that_can_only_be_set_contradicts_what_was_not(checkpoint):
    path = checkpoint("-m deeplabv3plus_mobilenet")
    assert take(path)[0].separable_conv is False
    with pytest.raises(UserError, match=r"--separable_conv True: .* has separable_conv False"):
        take(path, "--separable_conv")


def test_another_image_size_is_warned_of_and_taken(checkpoint, caplog):
    args, _ = take(checkpoint(), "--image_size 32 64")
    assert args.image_size == [32, 64]
    (message,) = caplog.messages
    assert message.startswith("--image_size 32 64: the network in ")
    assert "was trained at 64 x 128 (height x width)" in message


def test_a_published_checkpoint_tells_nothing(tmp_path, caplog):
    torch.save({"model_state_dict": {"a": torch.ones(1)}}, tmp_path / "c.tar")
    for path in ("c.tar", "none.tar"):
        args, facts = take(str(tmp_path / path), "--image_size 32 64")
        assert facts == {}
        assert args.model == "deeplabv2_resnet101"
        assert args.num_classes is None
        assert args.image_size == [32, 64]
    assert not caplog.text


def test_more_outputs_than_classes_have_names_and_are_black(checkpoint):
    assert padded_names(["a"], 3) == ["a", "class 1", "class 2"]
    args, facts = take(checkpoint(num_classes=23))
    assert args.num_classes == 23
    assert facts["class_names"][19:] == ["class 19", "class 20", "class 21", "class 22"]
    assert facts["palette"][19:] == [[0, 0, 0]] * 4

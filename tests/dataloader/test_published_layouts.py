"""Well-known data sets, drawn in the layouts in which they are published (docs/datasets.md)."""

import numpy as np
import pytest
from PIL import Image

from dataloader.dataset_info import load_dataset
from dataloader.images import read_label
from dataloader.item import Item
from dataloader.scan import item_of, scan

FOG = "fog/train/GOPR0475/GOPR0475_frame_000041"
NIGHT = "night/val/GOPR0356/GOPR0356_frame_000327"
ZURICH = "night/GOPR0356/GOPR0356_frame_000321"
IDS = [[7, 8, 33], [0, 34, 3]]
TRAIN_IDS = [[0, 1, 18], [255, 255, 255]]

# dataset and split; image, label and its values, superpixel map and train ids; other files there
LAYOUTS = [
    (
        "ACDC",
        "train",
        f"rgb_anon/{FOG}_rgb_anon.png",
        (f"gt/{FOG}_gt_labelIds.png", IDS),
        f"superpixel/{FOG}_superpixel.png",
        TRAIN_IDS,
        [
            f"gt/{FOG}_gt_labelTrainIds.png",
            f"gt/{FOG}_gt_invIds.png",
            f"rgb_anon/{NIGHT}_rgb_anon.png",
            "rgb_anon/fog/train_ref/GOPR0475/GOPR0475_frame_000041_rgb_ref_anon.png",
        ],
    ),
    (
        "ACDC",
        "val",
        f"rgb_anon/{NIGHT}_rgb_anon.png",
        (f"gt/{NIGHT}_gt_labelIds.png", IDS),
        f"superpixel/{NIGHT}_superpixel.png",
        TRAIN_IDS,
        [
            f"rgb_anon/{FOG}_rgb_anon.png",
            "rgb_anon/night/val_ref/GOPR0356/GOPR0356_frame_000327_rgb_ref_anon.png",
        ],
    ),
    (
        "DarkZurich",
        "val",
        f"rgb_anon/val/{ZURICH}_rgb_anon.png",
        (f"gt/val/{ZURICH}_gt_labelIds.png", IDS),
        f"superpixel/val/{ZURICH}_superpixel.png",
        TRAIN_IDS,
        [
            "rgb_anon/train/night/GOPR0351/GOPR0351_frame_000090_rgb_anon.png",
            "rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000321_ref_rgb_anon.png",
            f"gt/val/{ZURICH}_gt_labelTrainIds.png",
        ],
    ),
    (
        "BDD100K",
        "val",
        "images/10k/val/7d2f7975-e0c1c5a7.jpg",
        ("labels/sem_seg/masks/val/7d2f7975-e0c1c5a7.png", [[0, 1, 18], [255, 19, 7]]),
        "superpixel/10k/val/7d2f7975-e0c1c5a7.png",
        [[0, 1, 18], [255, 255, 7]],
        [
            "images/10k/train/0a0a0b1a-7c39d841.jpg",
            "images/100k/val/b1c9c847-3bda4659.jpg",
            "labels/sem_seg/colormaps/val/7d2f7975-e0c1c5a7.png",
        ],
    ),
    (
        "UrbanSyn",
        "train",
        "rgb/rgb_0001.png",
        ("ss/ss_0001.png", [[0, 1, 18], [19, 13, 255]]),
        "superpixel/superpixel_0001.png",
        [[0, 1, 18], [255, 13, 255]],
        ["ss_colour/ss_colour_0001.png", "depth/depth_0001.png"],
    ),
]


@pytest.mark.parametrize(
    ("dataset", "split", "image", "label", "superpixel", "train_ids", "others"),
    LAYOUTS,
    ids=[f"{layout[0]} {layout[1]}" for layout in LAYOUTS],
)
def test_images_find_their_labels_and_maps(
    tmp_path, dataset, split, image, label, superpixel, train_ids, others
):
    label, ids = label
    for path in (image, label, *others):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(ids)).save(tmp_path / path)
    info = load_dataset(dataset)
    assert scan(info, tmp_path, split).items == [Item(image, label, superpixel)]
    assert read_label(tmp_path / label, info).tolist() == train_ids


def test_colours_of_camvid_stand_for_the_classes_of_its_11_class_release():
    info, eleven = load_dataset("camvid32"), load_dataset("camvid")
    assert item_of(info, "train", "0001TP_006690") == (
        "701_StillsRaw_full/0001TP_006690.png",
        "LabeledApproved_full/0001TP_006690_L.png",
        "superpixel/0001TP_006690_superpixel.png",
    )
    assert len(info.label_colors) == 32
    assert info.present_classes == eleven.present_classes
    train_id = {tuple(c): info.label_to_train.get(i) for i, c in info.label_colors.items()}
    names = {color: info.class_names[i] for color, i in train_id.items() if i is not None}
    assert train_id[0, 0, 0] is None  # Void
    for color, name in (
        ((128, 64, 128), "road"),
        ((128, 0, 192), "road"),  # LaneMkgsDriv
        ((0, 0, 192), "sidewalk"),
        ((64, 0, 128), "car"),
        ((192, 128, 192), "car"),  # Truck_Bus
        ((64, 64, 0), "person"),
        ((192, 0, 192), "bicycle"),  # MotorcycleScooter
        ((192, 192, 128), "pole"),
        ((192, 128, 128), "sign"),
        ((128, 128, 128), "sky"),
        ((128, 128, 0), "vegetation"),
        ((64, 64, 128), "fence"),
        ((64, 192, 0), "building"),  # Wall
    ):
        assert names[color] == name

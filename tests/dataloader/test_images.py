"""Image files as people have them: which way up, how many bits, which compression."""

import os
import struct
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from dataloader.checks.files import check_files, warn_if_turned
from dataloader.dataset_info import load_dataset
from dataloader.images import (
    count_values,
    fit_label,
    read_edges,
    read_head,
    read_image,
    read_label,
    read_label_ids,
    read_size,
    read_superpixels,
    read_train_ids,
)
from dataloader.item import Item
from dataloader.regions import region_areas
from utils.errors import UserError

RNG = np.random.default_rng(0)
PICTURE = cv2.resize(RNG.integers(0, 256, (3, 5, 3), np.uint8), (40, 24))
MAP = RNG.integers(0, 19, (24, 40), np.uint8)
OTHER = Image.new("RGB", (40, 24))
INDEX = load_dataset("cityscapes")
COLORS = {7: [128, 64, 128], 300: [0, 0, 142], 9: [0, 0, 0]}


def encoded(reader, **fields):
    """A dataset as far as the readers of label ids look at it."""
    return SimpleNamespace(label_reader=reader, **fields)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_png(path, values, bits, before=(), after=()):
    """A grey PNG of 1 to 16 bits, written by its specification; chunks around its pixels."""
    height, width = values.shape
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        bitwise = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
        rows = [np.packbits(row).tobytes() for row in bitwise.reshape(height, -1)]
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *before, (b"IDAT", pixels), *after, (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in chunks))
    return str(path)


def exif(orientation):
    result = Image.Exif()
    result[0x0112] = orientation
    return result


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "lzw.tif", "webp"])
def test_images_are_upright_as_every_viewer_shows_them(tmp_path, suffix, orientation):
    path = tmp_path / f"x.{suffix}"
    options = {
        "webp": {"lossless": True},
        "jpg": {"quality": 95, "subsampling": 0},
        "lzw.tif": {"compression": "tiff_lzw"},
    }
    Image.fromarray(PICTURE).save(path, exif=exif(orientation), **options.get(suffix, {}))
    stored = Image.fromarray(PICTURE)
    stored.getexif()[0x0112] = orientation
    seen = np.asarray(ImageOps.exif_transpose(stored))
    image = read_image(path)
    assert image.flags.c_contiguous
    assert image.shape == seen.shape
    assert np.abs(image.astype(int) - seen).max() <= (12 if suffix == "jpg" else 0)
    assert read_size(path) == seen.shape[:2]
    assert read_head(path, "image") == seen.shape[1::-1]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_maps_are_upright_wherever_the_png_says_so(tmp_path, where, orientation):
    """A viewer turns them by their own EXIF data, which may come after the pixels."""
    data = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    path = grey_png(tmp_path / "x.png", MAP, 8, **{where: [(b"eXIf", data)]})
    turned = {3: MAP[::-1, ::-1], 6: np.rot90(MAP, -1), 7: np.rot90(MAP, 2).T}[orientation]
    for read in (read_superpixels, read_edges, read_train_ids):
        assert np.array_equal(read(path), turned)
    assert np.array_equal(read_label_ids(path, INDEX), turned)
    assert read_head(path, "map") == turned.shape[::-1]


def test_16_bit_labels_and_images_are_turned_too(tmp_path):
    data = exif(8).tobytes().removeprefix(b"Exif\0\0")
    wide = MAP.astype(np.uint16) * 257
    path = grey_png(tmp_path / "x.png", wide, 16, [(b"eXIf", data)])
    assert np.array_equal(read_image(path)[..., 1], np.rot90(MAP))
    assert np.array_equal(read_label_ids(path, INDEX), np.rot90(wide))
    for options in ({}, {"compression": "tiff_lzw"}):
        Image.fromarray(wide).save(tmp_path / "x.tif", tiffinfo={0x0112: 8}, **options)
        assert np.array_equal(read_image(tmp_path / "x.tif")[..., 1], np.rot90(MAP))
    pixels = np.dstack([MAP * 0, MAP, MAP]).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "red.png"), pixels)
    content = (tmp_path / "red.png").read_bytes()
    for place in (33, len(content) - 12):  # after the header, before the end
        turned = content[:place] + chunk(b"eXIf", data) + content[place:]
        (tmp_path / "red.png").write_bytes(turned)
        ids = read_label_ids(tmp_path / "red.png", load_dataset("SYNTHIA"))
        assert np.array_equal(ids, np.rot90(MAP))


def test_sizes_are_compared_upright(tmp_path):
    image, label = str(tmp_path / "x.jpg"), str(tmp_path / "x.png")
    Image.fromarray(PICTURE).save(image, exif=exif(6))
    Image.fromarray(np.rot90(MAP).copy()).save(label)
    check_files([Item(image, label, label)], INDEX, "image", "label", "superpixel")
    Image.fromarray(MAP).save(label)
    with pytest.raises(UserError, match=r"x\.png: 40 x 24 pixels, its image 24 x 40"):
        check_files([Item(image, label, label)], INDEX, "image", "label")


def test_exif_data_that_nobody_can_read_are_no_fault(tmp_path):
    path = grey_png(tmp_path / "x.png", MAP, 8, [(b"eXIf", b"not a TIFF file")])
    assert np.array_equal(read_superpixels(path), MAP)
    assert read_head(path, "map") == (40, 24)


# Bits


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_labels_have_the_values_that_the_file_holds(tmp_path, bits):
    values = MAP & (2**bits - 1)
    path = grey_png(tmp_path / "x.png", values, bits)
    assert np.array_equal(read_label_ids(path, INDEX), values)
    assert np.array_equal(read_superpixels(path), values)
    if bits < 8:  # as an image, the largest value is white
        assert read_image(path).max() == 255
    palette = Image.frombytes("P", (40, 24), values.tobytes())
    palette.putpalette([9, 8, 7] * 2**bits)
    palette.save(tmp_path / "p.png", bits=bits)
    assert np.array_equal(read_label_ids(tmp_path / "p.png", INDEX), values)


@pytest.mark.parametrize("name", ["1.tif", "L.tif", "P.tif", "1.bmp", "L.bmp", "P.bmp", "L.ppm"])
def test_labels_of_other_formats_have_the_values_that_the_file_holds(tmp_path, name):
    values = MAP % 2 if name[0] == "1" else MAP
    image = Image.fromarray(values.astype(bool) if name[0] == "1" else values)
    if name[0] == "P":
        image = Image.frombytes("P", (40, 24), values.tobytes())
        image.putpalette([255 - i // 3 for i in range(768)])
    image.save(tmp_path / name)
    assert np.array_equal(read_label_ids(tmp_path / name, INDEX), values)


def test_grey_labels_may_have_an_alpha_channel_that_hides_nothing(tmp_path):
    path, opaque = tmp_path / "la.png", np.full(MAP.shape, 255, np.uint8)
    Image.merge("LA", (Image.fromarray(MAP), Image.fromarray(opaque))).save(path)
    assert np.array_equal(read_label_ids(path, INDEX), MAP)
    deep = np.dstack([MAP, opaque]).astype(">u2") * 257
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, 16, 4, 0, 0, 0))
    sixteen = path.read_bytes()[:8] + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    opaque[3] = 254
    Image.merge("LA", (Image.fromarray(MAP), Image.fromarray(opaque))).save(path)
    for content in (path.read_bytes(), sixteen):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"la\.png: .*(transparent pixels|mode RGBA)"):
            read_label_ids(path, INDEX)


def test_grey_of_which_0_is_white_is_read_as_stored_in_labels_and_as_seen_in_images(tmp_path):
    path = tmp_path / "x.tif"
    Image.fromarray(MAP).save(path)
    content = path.read_bytes()
    photometric = struct.pack("<HHIH", 262, 3, 1, 1)
    assert content.count(photometric) == 1
    path.write_bytes(content.replace(photometric, struct.pack("<HHIH", 262, 3, 1, 0)))
    assert np.array_equal(read_label_ids(path, INDEX), MAP)
    assert np.array_equal(read_image(path)[..., 0], 255 - MAP)
    path = tmp_path / "x.pbm"
    Image.fromarray(MAP % 2 > 0).save(path)  # 1, which is black, where the map is even
    assert np.array_equal(read_label_ids(path, INDEX), 1 - MAP % 2)
    assert np.array_equal(read_image(path)[..., 0], 255 * (MAP % 2))


def test_label_ids_beyond_255(tmp_path):
    ids = np.array([[7, 256, 65535], [255, 300, 26]], np.uint16)
    path = grey_png(tmp_path / "x.png", ids, 16)
    assert np.array_equal(read_label_ids(path, INDEX), ids)
    assert read_label(path, INDEX).tolist() == [[0, 255, 255], [255, 255, 13]]
    for byte_order in ("<u2", ">u2"):
        Image.fromarray(ids.astype(byte_order)).save(tmp_path / "x.tif")
        assert np.array_equal(read_label_ids(tmp_path / "x.tif", INDEX), ids)
    Image.fromarray(ids.astype(np.int32) - 1 - 7).save(tmp_path / "minus.tif")
    with pytest.raises(UserError, match=r"minus\.tif: label .*values from -1 to 65527"):
        read_label_ids(tmp_path / "minus.tif", INDEX)
    check_files([Item("", path, "")], INDEX, "label")
    for column in ("superpixel", "prediction"):
        with pytest.raises(UserError, match=r"16-bit|mode I"):
            check_files([Item(path, "", path)], INDEX, column)


def test_scaled_grey_maps_are_refused(tmp_path):
    """Pillow stretches a PGM file of 19 levels to 256."""
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5\n40 24\n18\n" + MAP.tobytes())
    with pytest.raises(UserError, match=r"x\.pgm: label .*save it as PNG"):
        read_label(path, INDEX)
    path.write_bytes(b"P5\n40 24\n255\n" + MAP.tobytes())
    assert np.array_equal(read_label_ids(path, INDEX), MAP)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_images_are_scaled_from_their_full_range(tmp_path, suffix):
    grey = RNG.integers(0, 65536, (24, 40)).astype(np.uint16)
    grey[0, :3] = 0, 65535, 257 * 100
    path = tmp_path / f"x.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5\n40 24\n65535\n" + grey.astype(">u2").tobytes())
    else:
        Image.fromarray(grey).save(path)
    image = read_image(path)
    assert np.array_equal(image, np.rint(grey / 257)[..., None].repeat(3, 2))
    assert image.dtype == np.uint8
    if suffix == "tif":
        Image.fromarray(grey).save(path, tiffinfo={262: 0})  # 0 is white
        assert np.array_equal(read_image(path), 255 - image)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_images_keep_their_colours(tmp_path, suffix):
    colors = RNG.integers(0, 65536, (24, 40, 4)).astype(np.uint16)
    for channels in (3, 4):
        path = tmp_path / f"{channels}.{suffix}"
        cv2.imwrite(str(path), colors[..., :channels])
        image = read_image(path)
        assert np.abs(image - colors[..., 2::-1] / 257).max() <= 1


def test_float_images_are_of_0_to_1(tmp_path):
    path = tmp_path / "x.tif"
    grey = RNG.random((24, 40)).astype(np.float32)
    Image.fromarray(grey).save(path)
    assert np.array_equal(read_image(path)[..., 2], np.rint(grey * 255))
    for values, message in (
        (grey * 255, r"from 0\.\d+ to 25\d\.\d+, expected 0 to 1\); scale it"),
        (grey - 0.5, r"from -0\.\d+ to 0\.\d+, expected 0 to 1"),
        (np.where(grey < 0.5, np.nan, grey), "NaN"),
        (np.where(grey < 0.5, np.inf, grey), "to inf, expected 0 to 1"),
    ):
        Image.fromarray(values.astype(np.float32)).save(path)
        with pytest.raises(UserError, match=rf"x\.tif: image .*{message}"):
            read_image(path)
        with pytest.raises(UserError, match=rf"x\.tif: image .*{message}"):
            check_files([Item(str(path), "", "")], INDEX, "image")
    Image.fromarray((grey * 1e6).astype(np.int32)).save(path)
    with pytest.raises(UserError, match=r"x\.tif: image .*expected 0 to 65535"):
        read_image(path)


def test_images_of_fewer_bits_than_their_file(tmp_path, caplog):
    """8 bits in 16 cannot be right, 12 in 16 are warned of, a single dark image is neither."""
    items = [Item(str(tmp_path / f"{i}.png"), "", "") for i in range(5)]

    def write(bits, count=5):
        for item in items[:count]:
            Image.fromarray(RNG.integers(0, 2**bits, (24, 40)).astype(np.uint16)).save(item.image)

    write(8)
    with pytest.raises(UserError, match=r"0\.png: no pixel is brighter.*5 of more than 8 bits"):
        check_files(items, INDEX, "image")
    write(12)
    check_files(items, INDEX, "image")
    assert "0.png: 16-bit images" in caplog.text
    assert "6 %" in caplog.text
    caplog.clear()
    write(12)
    for item in items:  # a hot pixel each
        dark = np.tile(np.asarray(Image.open(item.image)), (2, 2))
        dark[3, 5] = 65535
        Image.fromarray(dark).save(item.image)
    check_files(items, INDEX, "image")
    assert "lie between 0 and 6 %" in caplog.text
    caplog.clear()
    for item in items:  # hundredths of a kelvin
        Image.fromarray(RNG.integers(27000, 31000, (24, 40)).astype(np.uint16)).save(item.image)
    check_files(items, INDEX, "image")
    assert "lie between 41 and 47 % of that; if they hold values of 10" in caplog.text
    caplog.clear()
    write(16)
    write(8, count=4)
    check_files(items, INDEX, "image")
    assert not caplog.records


# Colours


def test_images_of_every_mode_have_their_colours(tmp_path):
    rgb = Image.fromarray(PICTURE)
    grey = rgb.convert("L")
    opaque = Image.fromarray(RNG.integers(0, 256, (24, 40), np.uint8))
    plain = {
        "rgb.png": rgb,
        "rgba.png": Image.merge("RGBA", (*rgb.split(), opaque)),
        "cmyk.tif": rgb.convert("CMYK"),
        "rgb.bmp": rgb,
        "rgb.ppm": rgb,
        "rgba.tif": Image.merge("RGBA", (*rgb.split(), opaque)),
    }
    for name, image in plain.items():
        image.save(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name), PICTURE), name
    for name, image in {"l.png": grey, "la.png": Image.merge("LA", (grey, opaque))}.items():
        image.save(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name)[..., 1], np.asarray(grey)), name
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - PICTURE).mean() < 3
    rgb.save(tmp_path / "phone.jpg", "MPO", quality=98, save_all=True, append_images=[OTHER])
    assert np.abs(read_image(tmp_path / "phone.jpg").astype(int) - PICTURE).mean() < 3
    palette = rgb.quantize(200)
    palette.save(tmp_path / "p.png", transparency=bytes(range(200)))
    assert np.array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    Image.fromarray(PICTURE[..., 0] > 127).save(tmp_path / "1.png")
    assert np.array_equal(read_image(tmp_path / "1.png")[..., 0], 255 * (PICTURE[..., 0] > 127))
    rgb.convert("LAB").save(tmp_path / "lab.tif")
    for read in (read_image, lambda path: check_files([Item(str(path), "", "")], INDEX, "image")):
        with pytest.raises(UserError, match=r"lab\.tif: .*mode LAB, expected"):
            read(tmp_path / "lab.tif")


# Labels


@pytest.mark.parametrize(
    "name, options",
    [
        ("x.jpg", {}),
        ("jpeg.png", {"format": "JPEG"}),
        ("phone.jpg", {"format": "MPO", "save_all": True, "append_images": [OTHER]}),
        ("x.webp", {}),
        ("x.webp", {"lossless": True}),
        ("x.tif", {"compression": "jpeg"}),
    ],
)
def test_maps_that_were_compressed_with_loss_are_refused(tmp_path, name, options):
    path = tmp_path / name
    Image.fromarray(MAP).save(path, **options)
    for read in (read_superpixels, read_edges, read_train_ids, lambda p: read_label(p, INDEX)):
        with pytest.raises(UserError, match=rf"{name}: .*compression.*save it as PNG"):
            read(path)
    Image.fromarray(PICTURE).save(path, **options)
    for reader in ("rgb", "red8"):
        with pytest.raises(UserError, match=rf"{name}: label .*save it as PNG"):
            read_label_ids(path, encoded(reader, label_colors=COLORS))
    item = Item(str(path), str(path), str(path))
    for column in ("label", "superpixel", "prediction"):
        with pytest.raises(UserError, match=rf"{name}: .*save it as PNG"):
            check_files([item], INDEX, column)
    check_files([item], INDEX, "image")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_coded_labels_give_the_id_of_each_colour(tmp_path, mode):
    info = encoded("rgb", label_colors=COLORS)
    ids = RNG.choice(list(COLORS), (24, 40))
    colors = np.zeros((24, 40, 3), np.uint8)
    for label_id, color in COLORS.items():
        colors[ids == label_id] = color
    path = tmp_path / "x.png"
    image = Image.fromarray(colors).convert("RGB" if mode == "P" else mode)
    if mode == "P":
        image = Image.frombytes("P", (40, 24), np.searchsorted([7, 9, 300], ids).astype(np.uint8))
        image.putpalette([*COLORS[7], *COLORS[9], *COLORS[300]])
    image.save(path)
    assert np.array_equal(read_label_ids(path, info), ids)
    colors[:2, :3] = 1, 2, 3
    colors[5, 5] = 255, 0, 9
    Image.fromarray(colors).save(path)
    with pytest.raises(UserError) as error:
        read_label_ids(path, info)
    assert "x.png" in str(error.value)
    assert "7 of 960 pixels" in str(error.value)
    remedy = "export the label anew, or add its colour there"
    assert str(error.value).endswith(f"RGB (1, 2, 3) and (255, 0, 9)); {remedy}")
    Image.fromarray(np.dstack([colors, MAP])).save(path)
    with pytest.raises(UserError, match="transparent"):
        read_label_ids(path, info)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_the_red_channel_of_8_bits_holds_ids(tmp_path, mode):
    path = tmp_path / "x.png"
    colors = np.dstack([MAP, np.zeros_like(MAP), np.zeros_like(MAP)])
    image = Image.fromarray(colors)
    (image.quantize(256) if mode == "P" else image.convert(mode)).save(path)
    assert np.array_equal(read_label_ids(path, encoded("red8")), MAP)
    assert np.array_equal(read_label_ids(path, encoded("red8"), channel=2), 0 * MAP)
    check_files([Item("", str(path), "")], encoded("red8"), "label")


def test_labels_of_another_encoding_are_refused(tmp_path):
    deep, grey, color = (str(tmp_path / f"{name}.png") for name in ("deep", "grey", "color"))
    cv2.imwrite(deep, PICTURE.astype(np.uint16))
    Image.fromarray(MAP).save(grey)
    Image.fromarray(PICTURE).save(color)
    for reader, path in (
        ("red8", deep),
        ("rgb", deep),
        ("red8", grey),
        ("red16", color),
        ("red16", grey),
        ("index", color),
    ):
        info = encoded(reader, label_colors=COLORS)
        with pytest.raises(UserError, match=rf"{Path(path).name}: label .*expected a"):
            read_label_ids(path, info)
        with pytest.raises(UserError, match=rf"{Path(path).name}: .*expected a"):
            check_files([Item("", path, "")], info, "label")


def test_labels_of_another_scale_are_brought_to_their_images_size():
    assert fit_label(MAP, (24, 40)) is MAP
    assert np.array_equal(fit_label(MAP.repeat(2, 0).repeat(2, 1), (24, 40)), MAP)
    assert np.array_equal(fit_label(MAP, (48, 80)), MAP.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("old", "new"), [(1024, 700), (63_003, 70_001), (20_000, 65_537)])
def test_labels_are_taken_from_the_nearest_pixel_at_any_size(old, new):
    """Exactly, and along both sides; OpenCV 4 fills those of more than 32,768 pixels with noise."""
    label = np.random.default_rng(0).integers(0, 256, (1, old), np.uint8)
    nearest = [label[0, int(Fraction(2 * i + 1, 2) * old / new)] for i in range(new)]
    assert fit_label(label, (1, new)).tolist() == [nearest]
    assert fit_label(label.T, (new, 1)).T.tolist() == [nearest]


# Files


@pytest.mark.parametrize("format", ["GIF", "EPS", "DDS", "ICO", "TGA"])
def test_only_known_formats_are_opened_whatever_the_name_says(tmp_path, format):
    path = tmp_path / "x.png"
    Image.fromarray(PICTURE).save(path, format=format)
    with pytest.raises(UserError, match=r"x\.png: image .*not a PNG, JPEG, BMP, WebP, TIFF or PPM"):
        read_image(path)
    with pytest.raises(UserError, match=r"x\.png: not a PNG, JPEG"):
        check_files([Item(str(path), "", "")], INDEX, "image")


def test_empty_files_are_called_empty(tmp_path):
    path = tmp_path / "x.png"
    path.touch()
    with pytest.raises(UserError, match=r"x\.png: image cannot be read \(an empty file\)"):
        read_image(path)
    with pytest.raises(UserError, match=r"x\.png: an empty file"):
        check_files([Item(str(path), "", "")], INDEX, "image")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files_that_are_cut_off_are_found_before_work_begins(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(cv2.resize(PICTURE, (320, 240))).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100))  # as some cameras pad their files
    check_files([Item(str(path), "", "")], INDEX, "image")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"a{suffix}: .*truncated"):
        check_files([Item(str(path), "", "")], INDEX, "image")


@pytest.mark.parametrize("column", ["image", "label", "superpixel"])
def test_tiff_files_of_several_pages_are_told_of(tmp_path, caplog, column):
    path = str(tmp_path / "a.tif")
    page = Image.new("RGB" if column == "image" else "L", (8, 6))
    page.save(path)
    check_files([Item(path, path, path)], INDEX, column)
    assert not caplog.records
    page.save(path, save_all=True, append_images=[page])
    check_files([Item(path, path, path)] * 2, INDEX, column)
    assert "a.tif: the first of its 2 pages is used, the others are not (1 files" in caplog.text


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(MAP).save(tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to("real.png")
    for path in (tmp_path / "fifo.png", tmp_path / "folder.png", Path("/dev/zero")):
        for read in (read_image, read_superpixels, read_size, lambda p: read_label(p, INDEX)):
            with pytest.raises(UserError, match=rf"{path.name}: .*not a regular file"):
                read(path)
        with pytest.raises(UserError, match=rf"{path.name}: .*not a regular file"):
            check_files([Item("", str(path), "")], load_dataset("SYNTHIA"), "label")
    assert np.array_equal(read_superpixels(tmp_path / "link.png"), MAP)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged TIFF files
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "ppm", "bmp", "jpg", "deep.png"])
def test_damaged_files_are_read_or_refused(tmp_path, suffix):
    """Flipped, cut and repeated bytes: an array or one line, never another error."""
    path = tmp_path / f"x.{suffix}"
    if suffix == "deep.png":
        cv2.imwrite(str(path), PICTURE.astype(np.uint16) * 257)
    else:
        Image.fromarray(PICTURE).save(path, **({"exif": exif(6)} if suffix != "ppm" else {}))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    synthia = load_dataset("SYNTHIA")
    for _ in range(60):
        content = bytearray(whole)
        for position in rng.integers(0, min(len(content), rng.choice([40, 400, 4000])), 3):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(1, len(content)) if rng.random() < 0.3 else None])
        for read in (read_image, read_size, lambda p: read_label(p, synthia)):
            try:
                read(path)
            except UserError as error:
                assert path.name in str(error)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((128, 96), "did you mean --image_size 96 128?"), ((96, 128), ""), ((64, 64), "")],
)
def test_height_and_width_in_the_wrong_order_are_warned_of(tmp_path, caplog, size, expected):
    items = [Item(str(tmp_path / f"{n}.png"), "", "") for n in range(3)]
    for item in items:
        OTHER.save(item.image)
    warn_if_turned(items, size)
    assert caplog.text.strip().endswith(expected)
    assert bool(caplog.text) == bool(expected)
    caplog.clear()
    OTHER.rotate(90, expand=True).save(items[1].image)  # some cameras stand upright
    warn_if_turned(items, size)
    assert not caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_values_of_large_maps_are_counted_in_little_memory(dtype):
    """``np.bincount`` alone makes 8 bytes of each pixel, and eight threads count."""
    ids = (np.arange(6_000_000) % 251).astype(dtype).reshape(2000, 3000)
    wanted = dict(enumerate(np.bincount(ids.ravel()).tolist()))
    if dtype == np.int16:
        ids[:, :251], wanted = -1, {region: n - 2000 for region, n in wanted.items()}
    tracemalloc.start()
    assert region_areas(ids) == wanted
    counts = count_values(ids.T.astype(np.uint16), 1 << 16)
    assert tracemalloc.get_traced_memory()[1] < 6 * ids.size
    tracemalloc.stop()
    assert counts[: len(wanted)].tolist() == [*wanted.values()]

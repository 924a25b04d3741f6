"""Answers as labelling tools write them, made without the code that is tested.

Each function takes a package and image name -> (H, W) uint8 codes (255: nothing drawn).
"""

import json
import struct
import zipfile
import zlib
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from annotation.package import Package

Drawn = dict[str, np.ndarray]


def layers(package: Package, codes: np.ndarray):
    """Class name and mask of each code that is drawn."""
    for c in package.classes.classes:
        if (codes == c.code).any():
            yield c.name, codes == c.code


def cells(mask: np.ndarray):
    """The 4 x 4 cells of a mask as (x0, y0, x1, y1)."""
    for y, x in zip(*np.nonzero(mask[::4, ::4]), strict=True):
        yield 4 * x, 4 * y, 4 * x + 4, 4 * y + 4


def runs(bits) -> list[int]:
    counted = [(bool(bit), len(list(group))) for bit, group in groupby(bits)]
    return ([0] if counted[0][0] else []) + [count for _, count in counted]


def coco(package: Package, drawn: Drawn, path: Path, kind: str) -> Path:
    names = {c.name: 7 * n for n, c in enumerate(package.classes.classes)}
    images, annotations = [], []
    for n, entry in enumerate(package.images):
        images.append(
            {"id": n, "file_name": entry.file, "height": entry.height, "width": entry.width}
        )
        for name, mask in layers(package, drawn[entry.name]):
            if kind == "polygons":
                shape = [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in cells(mask)]
                shape = [[int(v) for v in part] for part in shape]
            elif kind == "runs":
                shape = {"size": list(mask.shape), "counts": runs(mask.T.ravel().tolist())}
            else:
                shape = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                shape["counts"] = shape["counts"].decode()
            annotations.append(
                {"image_id": n, "category_id": names[name], "segmentation": shape, "iscrowd": 0}
            )
    categories = [{"id": i, "name": name} for name, i in names.items()]
    path.write_text(
        json.dumps({"categories": categories, "images": images, "annotations": annotations})
    )
    return path


def cvat(package: Package, drawn: Drawn, path: Path, kind: str) -> Path:
    lines = ["<annotations><version>1.1</version>"]
    for entry in package.images:
        size = f'width="{entry.width}" height="{entry.height}"'
        lines.append(f'<image id="1" name={quoteattr(entry.file)} {size}>')
        for name, mask in layers(package, drawn[entry.name]):
            label = f"label={quoteattr(name)} z_order='0'"
            if kind == "mask":
                top, left = (int(np.nonzero(mask)[axis].min()) for axis in (0, 1))
                box = mask[top:, left:]
                rle = ", ".join(map(str, runs(box.ravel().tolist())))
                place = f'left="{left}" top="{top}" width="{box.shape[1]}" height="{box.shape[0]}"'
                lines.append(f'<mask {label} rle="{rle}" {place}/>')
                continue
            for x0, y0, x1, y1 in cells(mask):
                if kind == "box":
                    lines.append(f'<box {label} xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}.0"/>')
                else:
                    points = f"{x0},{y0};{x1},{y0};{x1},{y1};{x0}.00,{y1}"
                    lines.append(f'<polygon {label} points="{points}"></polygon>')
        lines.append("</image>")
    path.write_text("\n".join([*lines, "</annotations>"]), encoding="utf-8")
    return path


def cvat_masks(package: Package, drawn: Drawn, path: Path) -> Path:
    colors = {c.name: (40 * n + 3, 255 - n, 9) for n, c in enumerate(package.classes.classes)}
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        lines += [f"{name}:{r % 256},{g},{b}::" for name, (r, g, b) in colors.items()]
        archive.writestr("labelmap.txt", "\n".join(lines))
        for entry in package.images:
            rgb = np.zeros((*entry.size, 3), np.uint8)
            for name, mask in layers(package, drawn[entry.name]):
                rgb[mask] = np.array(colors[name]) % 256
            for folder in ("SegmentationClass", "SegmentationObject"):
                with archive.open(f"{folder}/{entry.name}.png", "w") as file:
                    Image.fromarray(rgb).save(file, "PNG")
                rgb = 255 - rgb
    return path


def brush(mask: np.ndarray) -> list[int]:
    """Brush strokes without any repeated value, with counters of other sizes than usual."""
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[mask] = (12, 34, 56, 255)
    values = values.ravel().tolist()
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in (2, 5, 9, 16))
    for start in range(0, len(values), 300):
        part = values[start : start + 300]
        bits += f"010{len(part) - 1:09b}" if len(part) > 512 else f"011{len(part) - 1:016b}"
        bits += "".join(f"{v:08b}" for v in part)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio(package: Package, drawn: Drawn, path: Path, kind: str) -> Path:
    tasks = json.loads((package.folder / "label_studio.json").read_text())
    for task, entry in zip(tasks, package.images, strict=True):
        result = []
        for name, mask in layers(package, drawn[entry.name]):
            if kind == "brushlabels":
                values = [{"format": "rle", "rle": brush(mask)}]
            else:
                percent = np.array([100 / entry.width, 100 / entry.height])
                values = [
                    {
                        "points": (
                            np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) * percent
                        ).tolist()
                    }
                    for x0, y0, x1, y1 in cells(mask)
                ]
            result += [
                {
                    "type": kind,
                    "from_name": "x",
                    "to_name": "image",
                    "original_width": entry.width,
                    "original_height": entry.height,
                    "image_rotation": 0,
                    "value": {**value, kind: [name]},
                }
                for value in values
            ]
        task["annotations"] = [{"result": result, "was_cancelled": False}]
        task["data"]["image"] = "/data/upload/3/whatever.png"
    path.write_text(json.dumps(tasks))
    return path


def masks(package: Package, drawn: Drawn, path: Path, kind: str) -> Path:
    path.mkdir()
    for entry in package.images:
        codes = drawn[entry.name]
        picture = Image.fromarray(codes)
        if kind == "color":
            picture = Image.fromarray(package.classes.color_table[codes])
        if kind == "palette":
            picture = picture.convert("P")
            picture.putpalette(package.classes.color_table.ravel().tolist())
        picture.save(path / f"{entry.name}.png")
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def one_coco(package: Package, segmentation, category: str = "road", **changes) -> str:
    """A COCO file with one annotation of the first image."""
    image = {"id": 1, "file_name": package.images[0].file, "height": 24, "width": 32}
    return json.dumps(
        {
            "categories": [{"id": 5, "name": category}],
            "images": [image | changes],
            "annotations": [{"image_id": 1, "category_id": 5, "segmentation": segmentation}],
        }
    )


def one_cvat(package: Package, shape: str, size: str = 'width="32" height="24"') -> str:
    name = package.images[0].file
    return f'<annotations><image name="{name}" {size}>{shape}</image></annotations>'


def one_task(package: Package, value, kind: str = "brushlabels", **changes) -> str:
    value = value if isinstance(value, str) else {kind: ["road"], **value}
    result = {"type": kind, "original_width": 32, "original_height": 24, "value": value}
    data = {"image": "x", "package_image": package.images[0].name}
    return json.dumps([{"data": data, "annotations": [{"result": [result | changes]}]}])


TOOLS = {
    "coco polygons": lambda p, d, t: coco(p, d, t / "a.json", "polygons"),
    "coco runs": lambda p, d, t: coco(p, d, t / "a.json", "runs"),
    "coco compressed": lambda p, d, t: coco(p, d, t / "a.json", "compressed"),
    "cvat polygons": lambda p, d, t: cvat(p, d, t / "a.xml", "polygon"),
    "cvat boxes": lambda p, d, t: cvat(p, d, t / "a.xml", "box"),
    "cvat masks": lambda p, d, t: cvat(p, d, t / "a.xml", "mask"),
    "cvat segmentation mask": lambda p, d, t: cvat_masks(p, d, t / "a.zip"),
    "label studio brush": lambda p, d, t: label_studio(p, d, t / "a.json", "brushlabels"),
    "label studio polygons": lambda p, d, t: label_studio(p, d, t / "a.json", "polygonlabels"),
    "grey masks": lambda p, d, t: masks(p, d, t / "a", "grey"),
    "colour masks": lambda p, d, t: masks(p, d, t / "a", "color"),
    "palette masks": lambda p, d, t: masks(p, d, t / "a", "palette"),
}

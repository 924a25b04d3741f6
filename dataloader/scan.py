"""What is on disk: the images of a split, found by the path templates of its dataset.

The suffix of a file may be any usual one, in upper or lower case, whichever the template names.
Nothing is left out without being counted (see :class:`Scan`), but for the images of the dataset's
other splits.
"""

import os
import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from dataloader.dataset_info import DatasetInfo
from dataloader.item import Item, check_name
from dataloader.path_templates import Names, fill, parse, static_folder
from dataloader.walk import IMAGE_SUFFIXES, walk_files
from utils.errors import UserError, shown
from utils.names import fold

LABEL_SUFFIXES = (".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes that labels may have, whose values must not change when they are stored."""
MADE_HERE = ("superpixel", "edge")
"""Folders below the root in which superpixel_gen.py and edge_detection.py write pictures."""
NO_LABELS = sorted({*IMAGE_SUFFIXES} - {*LABEL_SUFFIXES})


@dataclass
class Scan:
    """The images of a split.

    Attributes:
        items: the images, sorted, with paths relative to the data root.
        left_out: reason -> relative paths of the files that are not listed for this reason.
        stems: of all images that are there, listed or not.
    """

    items: list[Item] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    stems: set[str] = field(default_factory=set)

    def leave_out(self, reason: str, path: str) -> None:
        """Count a file that is not listed."""
        self.left_out.setdefault(reason, []).append(path)

    @property
    def summary(self) -> str:
        """How many files are left out for which reasons, as one line; empty when none is."""
        counts = (
            f"{len(paths)} {reason} ({shown(paths[0])}{', ...' if len(paths) > 1 else ''})"
            for reason, paths in self.left_out.items()
        )
        return "; left out: " + ", ".join(counts) if self.left_out else ""


def scan(
    info: DatasetInfo,
    root: str | Path,
    split: str,
    pattern: str = "*",
) -> Scan:
    """The images of ``split`` below ``root``; the label of those without one is empty.

    Where labels lie among the images, images without one are left out if others have one: they
    could be labels whose image is gone.

    Args:
        info: the dataset, whose templates say where images and labels lie.
        root: the data root.
        split: train or val.
        pattern: shell glob for the image's path (relative to the root) or file name.

    Raises:
        UserError: the dataset has no such split, a folder cannot be read, two files could be the
            same image or the same label, or a name holds a control character.
    """
    if split not in info.splits:
        known = ", ".join(info.splits)
        raise UserError(
            f"{info.name} has no {split} split, only {known}; name one of the splits in its "
            f'info.json "{split}", or give a datalist'
        )
    files, found = _SplitFiles(info, Path(root), info.splits[split]), Scan()
    others = files.other_splits()
    candidates = files.candidates(found, [other.image_folder for other in others])
    labels = files.labels(candidates)
    with_labels_only = files.has_labels_among_images and any(labels.values())
    maps = {*labels.values(), *(files.item(names).superpixel for names in candidates)}
    maps |= {files.mask(names) for names in candidates}
    for names, paths in candidates.items():
        if not (images := [path for path in paths if path not in maps]):
            continue  # maps may lie among the images
        if names.stem in info.excluded_stems:
            found.leave_out("that info.json excludes", images[0])
        elif not any(fnmatch(p, pattern) or fnmatch(Path(p).name, pattern) for p in images):
            found.leave_out("that --filter leaves out", images[0])
        elif with_labels_only and not labels[names]:
            found.leave_out("without a label", images[0])
        else:
            template = files.item(names)
            image = _only(template.image, images)
            found.items.append(template._replace(image=image, label=labels[names]))
            for other in (path for path in images if path != image):
                found.leave_out("whose name differs from a listed one in the suffix alone", other)
    found.items.sort(key=lambda item: item.image.split("/"))
    for other in others:
        if found.items and other.text in info.splits.values():
            continue  # the usual layout, where each split has its own folder
        for path in other.labelled_images([files.image_folder]):
            found.leave_out(f"of split {other.text!r}", path)
    found.stems = {names.stem for names in candidates}
    return found


def grown(info: DatasetInfo, root: str | Path, split: str, items: Collection[Item]) -> int:
    """How many images there are, if they are more than a list that :func:`scan` once gave; else 0.

    All files are looked at only where a name that is not listed could be an image's.

    Args:
        info, root, split: as :func:`scan` takes them.
        items: what the list holds, with paths relative to the root.
    """
    files = _SplitFiles(info, Path(root), info.splits.get(split, ""))
    listed = {item.image for item in items}
    known = {path for item in items for path in item}
    try:
        folders = [other.image_folder for other in files.other_splits()]
        new = set(files.names(folders, Scan())).difference(known)
        new = [path for path in new if posixpath.splitext(path)[1].lower() in files.suffixes]
        parsed = [parse(info.image, files.text, path, any_suffix=True) for path in new]
        if split not in info.splits or info.excluded_stems.issuperset(n.stem for n in parsed if n):
            return 0
        there = {item.image for item in scan(info, root, split).items}
    except UserError:  # it matters to those alone who make a list
        return 0
    return len(there) if there.issuperset(listed) and len(there) > len(listed) else 0


def absent_folder(info: DatasetInfo, root: str | Path, split: str) -> str:
    """Say which folder is missing on the way to a split's images; empty if all are there."""
    folder = _SplitFiles(info, Path(root), info.splits[split]).image_folder
    absent = next((path for path in (*reversed(folder.parents), folder) if not path.exists()), None)
    if absent is None:
        return ""
    there = [path.name for path in absent.parent.iterdir() if path.is_dir()]
    beside = [shown(name) for name in sorted(there) if not name.startswith(".")][:5]
    return f"; there is no {shown(absent)}" + (f", only {', '.join(beside)}" if beside else "")


def lossy_label(info: DatasetInfo, root: str | Path, split: str, image: str) -> str:
    """Say that an image has a label of a suffix that labels are not read from; empty if not.

    Args:
        info, root, split: as :func:`scan` takes them.
        image: path of the image relative to the root, with "/".
    """
    own = own_files(info, info.splits[split], image)
    label = Path(root, own.label) if own else None
    for suffix in NO_LABELS if label else ():
        for path in (label.with_suffix(suffix), label.with_suffix(suffix.upper())):
            if path.is_file():
                return (
                    f"; {shown(path)} is not read as a label, since {suffix} files may have lost "
                    "its values: save labels as PNG"
                )
    return ""


def item_of(info: DatasetInfo, split: str, stem: str) -> Item:
    """The relative paths of the image ``stem`` of a split, by the dataset's templates."""
    return _SplitFiles(info, Path(), info.splits[split]).item(Names(stem, "*"))


def own_files(info: DatasetInfo, text: str, image: str) -> Item | None:
    """The relative paths of an image and of its files by the templates; None if it fits none.

    Args:
        info: the dataset.
        text: what stands for ``{split}``.
        image: path of the image relative to the root, with "/" and any suffix.
    """
    if not (names := parse(info.image, text, image, any_suffix=True)):
        return None
    return Item(image, *(fill(template, text, names) for template in (info.label, info.superpixel)))


@dataclass(frozen=True)
class _SplitFiles:
    """The files of one split of a dataset; ``text`` stands for ``{split}`` in its templates."""

    info: DatasetInfo
    root: Path
    text: str

    def _path(self, template: str, names: Names) -> str:
        return fill(template, self.text, names)

    def item(self, names: Names) -> Item:
        """The paths of an image by the templates, relative to the root."""
        templates = (self.info.image, self.info.label, self.info.superpixel)
        return Item(*(self._path(template, names) for template in templates))

    def mask(self, names: Names) -> str:
        """Relative path of an image's ignore mask; empty without one."""
        return self._path(self.info.ignore_mask or "", names)

    def _folder(self, template: str) -> Path:
        """The folder below which all files of a template lie."""
        return self.root / static_folder(template, self.text)

    @property
    def image_folder(self) -> Path:
        """The folder below which all images lie."""
        return self._folder(self.info.image)

    @property
    def has_labels_among_images(self) -> bool:
        """Whether labels lie in the folder of the images."""
        return self._folder(self.info.label) == self.image_folder

    @cached_property
    def suffixes(self) -> frozenset[str]:
        """Suffixes, in lower case, that the images may have."""
        return frozenset({*IMAGE_SUFFIXES, posixpath.splitext(self.info.image)[1].lower()})

    def names(self, other_splits: Collection[Path], found: Scan) -> list[str]:
        """Relative paths of the files in the folder of the images.

        Folders of other splits, of labels, superpixel maps and masks, if they lie inside that of
        the images, are passed over; what else :func:`walk_files` leaves out is counted.
        """
        folder = self.image_folder
        skip = [self._folder(self.info.label), self._folder(self.info.superpixel), *other_splits]
        if "{stem}" in (self.info.ignore_mask or ""):
            skip.append(self._folder(self.info.ignore_mask))
        if not folder.is_dir():
            return []
        top = static_folder(self.info.image, self.text)

        def leave_out(reason: str, name: str) -> None:
            found.leave_out(reason, posixpath.join(top, name))

        names = walk_files(folder, [path for path in skip if path != folder], leave_out)
        return [posixpath.join(top, name) for name in names]

    def candidates(self, found: Scan, other_splits: Collection[Path]) -> dict[Names, list[str]]:
        """Names -> relative paths of the files that may be their image; the rest is left out."""
        pattern = self._path(self.info.image, Names("*", "*"))
        candidates: dict[Names, list[str]] = {}
        for path in self.names(other_splits, found):
            names = parse(self.info.image, self.text, path, any_suffix=True)
            if posixpath.splitext(path)[1].lower() not in self.suffixes:
                found.leave_out("with another suffix", path)
            elif (top := path.split("/")[0]) in MADE_HERE and not self.info.image.startswith(top):
                found.leave_out(f"in {top}, where maps are written", path)
            elif names is None:
                found.leave_out(f"not named {posixpath.basename(pattern)}", path)
            else:
                check_name(path)
                candidates.setdefault(names, []).append(path)
        return candidates

    def labels(self, images: Collection[Names]) -> dict[Names, str]:
        """Names -> relative path of the label; empty if there is none.

        Where none has the very name that the template gives, one counts whose name differs in the
        suffix, else one that differs in upper and lower case or in the Unicode form of an accent,
        unless it is another image's.

        Raises:
            UserError: there are several such files.
        """
        near = self._near_labels(images)
        labels = {}
        for names, paths in near.items():
            wanted = self._path(self.info.label, names)
            same = [path for path in paths if _body(path) == _body(wanted)]
            labels[names] = _only(wanted, same) if same else ""
        taken = set(labels.values())
        for names, paths in near.items():
            free = [path for path in paths if path not in taken]
            if not labels[names] and free:
                labels[names] = _only("", free)
        return labels

    def _near_labels(self, images: Iterable[Names]) -> dict[Names, list[str]]:
        """Names -> the files whose names are that of the label but for case and suffix."""
        listings: dict[str, dict[str, list[str]]] = {}
        near = {}
        for names in images:
            wanted = self._path(self.info.label, names)
            folder, own_suffix = posixpath.dirname(wanted), posixpath.splitext(wanted)[1]
            if folder not in listings:
                listings[folder] = _listing(self.root, folder)
            near[names] = [
                path
                for path in listings[folder].get(fold(_body(wanted)), ())
                if posixpath.splitext(path)[1].lower() in {*LABEL_SUFFIXES, own_suffix.lower()}
            ]
        return near

    def other_splits(self) -> list["_SplitFiles"]:
        """Other splits that there seem to be: of info.json, and folders beside that of this one."""
        before, placeholder, after = self.info.image.partition("{split}")
        if not placeholder:
            return []
        texts = set(self.info.splits.values())
        parent = self.root / before
        if before[-1:] in ("", "/") and after.startswith("/") and parent.is_dir():
            texts |= {path.name for path in parent.iterdir() if path.is_dir()}
        others = (_SplitFiles(self.info, self.root, t) for t in sorted(texts - {self.text}))
        return [other for other in others if other._folder(self.info.label).is_dir()]

    def labelled_images(self, skip: Collection[Path]) -> list[str]:
        """Relative paths of the images that have a label and do not lie in the folders ``skip``."""
        candidates = self.candidates(Scan(), skip)
        labels = self.labels(candidates)
        return [paths[0] for names, paths in candidates.items() if labels[names]]


def _listing(root: Path, folder: str) -> dict[str, list[str]]:
    """Folded path without suffix -> the files in ``folder`` that have it, relative to ``root``."""
    listing: dict[str, list[str]] = {}
    if (root / folder).is_dir():
        with os.scandir(root / folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
        for path in (posixpath.join(folder, name) for name in names):
            listing.setdefault(fold(_body(path)), []).append(path)
    return listing


def _body(path: str) -> str:
    """A path without its suffix."""
    return posixpath.splitext(path)[0]


def same_name(path: str, other: str) -> bool:
    """Whether two relative paths are alike but for the suffix, case and the form of accents."""
    return fold(_body(path)) == fold(_body(other))


def _only(wanted: str, paths: Collection[str]) -> str:
    """The one path, or the one that is wanted by name.

    Raises:
        UserError: there are several, and none is the wanted one.
    """
    if wanted in paths or len(paths) == 1:
        return wanted if wanted in paths else next(iter(paths))
    first, second, *_ = sorted(paths)
    raise UserError(
        f"{shown(first)} and {shown(second)} differ in suffix or case alone; "
        "remove or rename one of them"
    )

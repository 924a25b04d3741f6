"""Answers of people: collected from files image by image, judged region by region, and told of.

Readers of the formats (:mod:`annotation.coco` and others) draw what a file says of an image onto a
:class:`annotation.canvas.Canvas`. Only pixels of asked regions are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from annotation.canvas import AskedImage, Canvas
from annotation.classes import NO_ANSWER, ClassList
from annotation.package import Package, possible_stems
from annotation.untrusted import shorten
from dataloader.oracle import ANSWERED, MISSING, SKIPPED, VOID
from utils.names import composed

COLOR = "colour ["  # begins what unknown colours are called


@dataclass(frozen=True)
class Answer:
    """What a file says of a region.

    Attributes:
        status: see :func:`judge`.
        codes: of its pixels.
        source: the file.
        background: the code that a label map holds around the asked regions, and in them, too.
        beside_later: whether the file answers a region of a later package of the image as well.
    """

    status: str
    codes: np.ndarray
    source: str
    background: int | None = None
    beside_later: bool = False

    @property
    def share(self) -> float:
        """The part of the region's pixels that is answered."""
        return float(np.mean(self.codes != NO_ANSWER))

    @property
    def doubts(self) -> int:
        """How many reasons there are to think that it was not meant as an answer."""
        return (self.background is not None) + self.beside_later


def judge(codes: np.ndarray, classes: ClassList, min_share: float) -> str:
    """The status of a region.

    It is missing if less than ``min_share`` of it is answered, or nothing at all: a neighbour's
    border that was drawn too far is no answer. It is skipped if more of it is marked so than
    answered, and void if no class fits any pixel.
    """
    answered = codes[codes != NO_ANSWER]
    if not len(answered) or len(answered) < min_share * len(codes):
        return MISSING
    skipped = np.count_nonzero(answered == classes.skip)
    if 2 * skipped > len(answered):
        return SKIPPED
    return ANSWERED if np.any(answered < classes.void) else VOID


@dataclass
class ImageNotes:
    """What is told of one image when all files have been read.

    Attributes:
        outside: answered pixels that nobody asked for.
        overpainted: pixels with two answers in one file.
        changed: region -> lines about files that differ.
        answers: region -> answer.
        parts: region -> answer that is not taken, as too little of the region has one.
        guesses: region -> file with just the first guess, which replaces no other answer.
    """

    outside: int = 0
    overpainted: int = 0
    changed: dict[int, list[str]] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    parts: dict[int, Answer] = field(default_factory=dict)
    guesses: dict[int, str] = field(default_factory=dict)


class Collector:
    """Takes the answers of all files, and finds what is wrong with them.

    Args:
        packages: of a run, in the order of rounds.
        min_share: part of a region that must be answered.

    Attributes:
        images: key -> image.
        notes: key -> what the files say of the image.
        problems: lines; any of them forbids the import.
        strangers: names of images that are in no package.
        remarks: lines about files that perhaps do not hold all that was drawn.
        zeros: of each label map of codes with pixels that nobody asked for, whether all of these
            are 0, and whether any that was asked for is.
        by_name: file -> key of its image, of several by whose folders it could be.
    """

    def __init__(self, packages: Sequence[Package], min_share: float):
        self.classes = packages[0].classes
        self.min_share = min_share
        self.images: dict[str, AskedImage] = {}
        self.notes: dict[str, ImageNotes] = {}
        self.problems: list[str] = []
        self.strangers: dict[str, None] = {}
        self.remarks: list[str] = []
        self.zeros: list[tuple[bool, bool]] = []
        for package in packages:
            for entry in package.images:
                self.images.setdefault(entry.key, AskedImage(package, entry)).add(package, entry)
        self._keys = {image.entry.name.casefold(): key for key, image in self.images.items()}
        self._own: dict[str, list[str]] = {}  # people may label the data set's own files
        for key in dict.fromkeys([*self.images, *(k for p in packages for k in p.namesakes)]):
            self._own.setdefault(composed(PurePosixPath(key).stem), []).append(key)
        self.by_name: dict[str, str] = {}
        self._unknown: dict[str, list[tuple[str, str, str, int]]] = {}

    def find(self, name: str, path: str = "") -> AskedImage | None:
        """The image that a file means by a path or file name; None if it is in no package.

        Args:
            name: as messages show it.
            path: with more of the folders than the name has, if there are more.
        """
        key, alone = self._key(path or name)
        if key is None:
            self.strangers[name] = None
        if alone:
            self.by_name[name] = key
        return self.images.get(key)

    def look_up(self, path: str) -> AskedImage | None:
        """The same, of which nothing is told."""
        key, _ = self._key(path)
        return self.images.get(key)

    def _key(self, path: str) -> tuple[str | None, bool]:
        """The key of an image, and whether other images of the target could be meant as well."""
        folder, _, name = path.replace("\\", "/").rpartition("/")
        stems = list(possible_stems(name))
        for stem in map(str.casefold, stems):  # names hold a digest: no two differ by case
            if stem in self._keys:
                return self._keys[stem], False
        own = next((keys for stem in stems if (keys := self._own.get(composed(stem)))), ())
        return self._nearest(own, composed(folder))

    def _nearest(self, keys: Sequence[str], folder: str) -> tuple[str | None, bool]:
        """Which of some images of one name lies in a folder, by the last parts of its path.

        Of several, it is the one that is asked for; the second value then is True.
        """
        last = PurePosixPath(folder).parts[::-1]
        shared = {}
        for key in keys:
            parts = PurePosixPath(composed(key)).parent.parts[::-1]
            equal = [a == b for a, b in zip(parts, last, strict=False)]
            shared[key] = [*equal, False].index(False)
        most = max(shared.values(), default=0)
        best = [key for key in keys if shared[key] == most]
        found = [key for key in best if key in self.images]
        return (found[0], len(best) > 1) if len(found) == 1 else (None, False)

    def check_size(self, image: AskedImage, size: tuple[int, int], source: str) -> bool:
        """Whether a file's size, (height, width), of an image is right; if not, a problem."""
        if size != image.entry.size:
            height, width = image.entry.size
            self.problems.append(
                f"{source}: {image.entry.name} is {size[1]} x {size[0]} pixels there, but "
                f"{width} x {height} in the package; label the package's own images"
            )
        return size == image.entry.size

    @contextmanager
    def canvas(self, image: AskedImage, source: str) -> Iterator[Canvas]:
        """A canvas for what a file says of an image; taken in at the block's end."""
        canvas = Canvas(image, self.classes, source)
        yield canvas
        for name, count in canvas.unknown.items():
            kind = COLOR if name.startswith(COLOR) else name
            self._unknown.setdefault(kind, []).append((source, image.entry.name, name, count))
        notes = self.notes.setdefault(image.entry.key, ImageNotes())
        notes.outside += canvas.outside()
        notes.overpainted += canvas.overpainted
        drawn = canvas.regions()
        status = {r: judge(codes, self.classes, self.min_share) for r, codes in drawn.items()}
        latest = max((image.round_rank(r) for r in status if status[r] != MISSING), default=0)
        for region, codes in drawn.items():
            beside_later = image.round_rank(region) < latest
            answer = Answer(status[region], codes, source, canvas.background, beside_later)
            self._take(image, notes, region, answer)

    def unknown_classes(self) -> Iterator[str]:
        """Problems with classes that the packages do not have, one for each, and for colours."""
        for kind, found in self._unknown.items():
            source, image, name, _ = found[0]
            near = self.classes.nearest(name)
            hint = f"did you mean {near!r}?" if near else "see classes.csv"
            if kind == COLOR:
                hint = (
                    "paint in the colours of classes.csv, opaque and without smoothed edges "
                    "(anti-aliasing), or save numbers as 8-bit grey"
                )
            others = len({each[1] for each in found}) - 1
            more = f", and {others} more images" if others else ""
            yield (
                f"{source}: {image} has the unknown class {shorten(name)!r} "
                f"({sum(each[3] for each in found)} times{more}); {hint}"
            )

    def _take(self, image: AskedImage, notes: ImageNotes, region: int, answer: Answer) -> None:
        """Enter what a file says of a region; a later answer replaces an earlier one."""
        before = notes.answers.get(region)
        if answer.status == MISSING:
            if answer.share:
                notes.parts[region] = answer
            if before and (before.status != MISSING or answer.share < before.share):
                return
        elif before and np.array_equal(before.codes, answer.codes):
            answer = min(before, answer, key=lambda each: each.doubts)
        elif before and before.status != MISSING:
            if image.is_guess(region, answer.codes):
                notes.guesses[region] = answer.source
                return
            line = f"{region_label(image, region)}: {shorten(answer.source)} differs from "
            notes.changed.setdefault(region, []).append(line + before.source)
        if answer.status != MISSING:
            notes.parts.pop(region, None)
        notes.answers[region] = answer


def region_label(image: AskedImage, region: int) -> str:
    """How a region is called: its number in the picture, and the package."""
    package, entry = image.regions[region]
    return f"{package.name} region {entry.number}"

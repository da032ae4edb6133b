"""Classes that are never trained on: taken out of every split before anything is drawn."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from lacvit.data.records import ImageRecords, some_of
from lacvit.errors import InputError

FEWEST = 2  # images of a class that can be neighbours of one another


def hold_out(
    by_split: Mapping[str, ImageRecords], asked: Sequence[str], seed: int
) -> tuple[dict[str, ImageRecords], tuple[ImageRecords, ...]]:
    """The data without some of its classes, and all images of these, one record set a split.

    Args:
        by_split: as ``read_data`` gives it: every split knows all classes.
        asked: names of classes, or one whole number, which is how many ``seed`` and the names
            draw. A class of that name wins over the number.
        seed: draws the classes where only their number is given.

    Returns:
        The splits with the class names that are left, and the held-out images with theirs.

    Raises:
        InputError: a class that is not there (with the nearest name) or has fewer than two
            images; fewer than two classes left; a split of which nothing is left.
    """
    first = next(iter(by_split.values()))
    counts = np.sum([records.counts() for records in by_split.values()], axis=0)
    images = dict(zip(first.class_names, counts.tolist(), strict=True))
    held = _chosen(images, asked, seed)
    left = [name for name in first.class_names if name not in held]
    if len(left) < 2:
        raise InputError(
            f"holding out {len(held)} of {len(images)} classes leaves {some_of(left) or 'none'}; "
            f"at least 2 are needed to train on. Hold out fewer with --hold-out-classes."
        )
    kept = {split: _of_classes(records, left) for split, records in by_split.items()}
    for split, records in kept.items():
        if not len(records):
            raise InputError(
                f"the {split} split has images of {some_of(held)} alone, which are held out. "
                f"Hold out other classes, or take the {split} split away."
            )
    parts = (_of_classes(records, held) for records in by_split.values())
    return kept, tuple(part for part in parts if len(part))


def _chosen(images: Mapping[str, int], asked: Sequence[str], seed: int) -> list[str]:
    """Names of the held-out classes, in the order of the data."""
    if len(asked) == 1 and asked[0] not in images and asked[0].removeprefix("-").isdecimal():
        return _drawn(images, int(asked[0]), seed)
    unknown = [name for name in asked if name not in images]
    if unknown:
        raise InputError(
            f"there is no class to hold out called {some_of(unknown)}.{_nearest(unknown, images)} "
            f"The classes are {some_of(list(images), most=20)}."
        )
    small = [f"{name} has {images[name]}" for name in asked if images[name] < FEWEST]
    if small:
        raise InputError(
            f"too few images to hold out: {some_of(small)}; a held-out class needs at least "
            f"{FEWEST}, to be found by one another. Hold out other classes."
        )
    return [name for name in images if name in asked]


def _drawn(images: Mapping[str, int], number: int, seed: int) -> list[str]:
    able = [name for name, count in images.items() if count >= FEWEST]
    most = max(1, min(len(able), len(images) - 2))
    if not 1 <= number <= most:
        raise InputError(
            f"--hold-out-classes is {number}; give 1 to {most} of the {len(images)} classes "
            f"({FEWEST} images or more each, two classes left), or their names."
        )

    def key(name: str) -> bytes:
        return hashlib.sha256(
            f"held out {seed}\0{name}".encode("utf-8", "surrogateescape")
        ).digest()

    drawn = set(sorted(able, key=key)[:number])
    return [name for name in images if name in drawn]


def _nearest(unknown: Sequence[str], images: Mapping[str, int]) -> str:
    near = [
        found[0] for name in unknown if (found := difflib.get_close_matches(name, images, 1, 0.5))
    ]
    return f" Did you mean {some_of(near)}?" if near else ""


def _of_classes(records: ImageRecords, names: Sequence[str]) -> ImageRecords:
    wanted = [records.class_names.index(name) for name in names]
    return records.select(np.flatnonzero(np.isin(records.labels, wanted))).relabel(names)

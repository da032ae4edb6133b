"""What an image set holds, as training would see it: splits, classes, counts, and what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacvit.data.faults import AT_A_TIME, Fault, too_many
from lacvit.data.readers import notices, read_data
from lacvit.data.records import ImageRecords, UnreadableImageError
from lacvit.data.splits import make_splits
from lacvit.errors import InputError

SHORT = {"train": "train", "validation": "val", "test": "test"}  # as users see the splits


@dataclass(frozen=True)
class Inventory:
    """An image set, looked through.

    Attributes:
        splits: readable images of ``train``, ``val`` and ``test``.
        drawn: those of them that the data does not have, and training would draw from train.
        classes: class name -> readable images by split, in the order of the labels.
        faults: what is wrong, image by image.
        notices: what is odd about the set as a whole.
    """

    splits: Mapping[str, int]
    drawn: tuple[str, ...]
    classes: Mapping[str, Mapping[str, int]]
    faults: tuple[Fault, ...]
    notices: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values; a fault has ``kind``, ``path``, ``action``, ``reason`` and more."""
        faults = [
            {key: value for key, value in asdict(fault).items() if value is not None}
            for fault in self.faults
        ]
        return {
            "splits": dict(self.splits),
            "drawn": list(self.drawn),
            "classes": {name: dict(counts) for name, counts in self.classes.items()},
            "faults": faults,
            "notices": list(self.notices),
        }


def take_inventory(
    path: str | Path, root: str | Path | None = None, *, workers: int = 1
) -> Inventory:
    """Decode every image of a set once, and tell what was found.

    Splits that the data does not have are drawn as ``lacvit train`` draws them by default. Two
    images are duplicates where their decoded pixels are equal: another name, format or EXIF does
    not hide a copy, another compression does.

    Raises:
        InputError: nothing there, or nothing that can be understood.
    """
    by_split = read_data(path, root)
    faults: list[Fault] = []
    readable: dict[str, ImageRecords] = {}
    digests: dict[tuple[str, str], bytes] = {}
    for split, records in by_split.items():
        looked_at = _digests(records, workers)
        kept = [i for i, found in enumerate(looked_at) if isinstance(found, bytes)]
        refused = too_many(len(records) - len(kept), len(records))
        action = "refused" if refused else "skipped"
        faults += [
            Fault("unreadable", records.paths[i], action, found, split=SHORT.get(split))
            for i, found in enumerate(looked_at)
            if isinstance(found, str)
        ]
        readable[split] = records.select(np.array(kept, dtype=np.int64))
        digests |= {
            (split, records.paths[i]): found
            for i, found in enumerate(looked_at)
            if isinstance(found, bytes)
        }
    parts, untrainable = _parts(readable, str(path))
    pool = "train" if "train" in readable else "all"
    origin = {split: split if split in readable else pool for split in parts}
    looked_up = {
        split: [digests[origin[split], name] for name in records.paths]
        for split, records in parts.items()
    }
    names = next(iter(parts.values())).class_names
    return Inventory(
        splits={
            short: len(parts[split]) if split in parts else 0 for split, short in SHORT.items()
        },
        drawn=tuple(SHORT[split] for split in parts if split not in readable and split != "train"),
        classes=_by_class(parts, names),
        faults=(*faults, *untrainable, *_duplicates(parts, looked_up)),
        notices=notices(path, root, by_split),
    )


def _digests(records: ImageRecords, workers: int) -> list[bytes | str]:
    """For each image the sha256 of its shape and decoded pixels, or why it cannot be read."""

    def look(index: int) -> bytes | str:
        try:
            pixels = records.read(index)
        except UnreadableImageError as error:
            return error.reason
        return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()

    found: list[bytes | str] = []
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for start in range(0, len(records), AT_A_TIME):
            found += pool.map(look, range(start, min(start + AT_A_TIME, len(records))))
    return found


def _parts(
    readable: dict[str, ImageRecords], path: str
) -> tuple[dict[str, ImageRecords], list[Fault]]:
    """The splits that training would use; those that are there, and a fault, where it would not."""
    try:
        return dict(make_splits(readable).items()), []
    except InputError as error:
        there = {("train" if name == "all" else name): part for name, part in readable.items()}
        return there, [Fault("untrainable", path, "refused", str(error))]


def _by_class(
    parts: Mapping[str, ImageRecords], names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    nothing = np.zeros(len(names), dtype=np.int64)
    counts = {
        short: parts[split].counts() if split in parts else nothing
        for split, short in SHORT.items()
    }
    return {
        name: {short: int(column[place]) for short, column in counts.items()}
        for place, name in enumerate(names)
    }


def _duplicates(
    parts: Mapping[str, ImageRecords], digests: Mapping[str, list[bytes]]
) -> list[Fault]:
    """Every image whose pixels an earlier one has, in the order train, validation, test."""
    first: dict[bytes, tuple[str, str, str]] = {}  # split, path and class
    faults = []
    for split in (name for name in SHORT if name in parts):
        records = parts[split]
        for path, label, digest in zip(records.paths, records.labels, digests[split], strict=True):
            here = split, path, records.class_names[label]
            there = first.setdefault(digest, here)
            if there is here:
                continue
            kind = "duplicate" if there[0] == split else "duplicate-across-splits"
            reason = f"the same pixels as {there[1]} in {SHORT[there[0]]}"
            if there[2] != here[2]:
                reason += f", which is labelled {there[2]} and this one {here[2]}"
            faults.append(Fault(kind, path, "kept", reason, split=SHORT[split], of=there[1]))
    return faults

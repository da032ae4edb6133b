"""DATA on disk to ImageRecords, split by split, with classes matched by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacvit.data.folders import left_out, read_class_folders
from lacvit.data.named_sets import (
    NAMED_SETS,
    count_notices,
    names_a_set,
    nearest_name,
    read_named_set,
)
from lacvit.data.parquet import parquet_files, read_parquet
from lacvit.data.records import ImageRecords, some_of
from lacvit.errors import InputError


@dataclass(frozen=True)
class Reader:
    """One way in which image sets are stored."""

    looks_like: Callable[[Path], bool]
    read: Callable[[Path], dict[str, ImageRecords]]


# The first whose `looks_like` holds is used.
READERS: dict[str, Reader] = {
    "parquet": Reader(
        lambda path: path.is_file() or bool(parquet_files(path)),
        read_parquet,
    ),
    "folder": Reader(Path.is_dir, read_class_folders),
}


def read_data(path: str | Path, root: str | Path | None = None) -> dict[str, ImageRecords]:
    """Read an image set: ``{"train": ..., "validation": ..., "test": ...}``, or ``{"all": ...}``.

    ``path`` is a folder, a Parquet file or folder, or the name of a public set, whose archive lies
    in ``root`` (by default the current folder). A path that exists is no name, unless ``root`` is
    given.

    All splits carry the class names of train; those that no image of train has are left out.
    What training needs of the counts is checked by ``make_splits``, not here: a set with one
    class, or one image, can still be predicted and evaluated.

    Raises:
        InputError: nothing there, or nothing that can be understood; a class in a later split
            that train lacks; a root beside a path.
    """
    if names_a_set(path, root):
        return match_classes(read_named_set(str(path), root))
    path = Path(path)
    if root is not None:
        raise InputError(
            f"--root (data.root) says where a set named by DATA lies, but {path} is no set's name. "
            f"Leave it out, or name one of {', '.join(NAMED_SETS)}."
        )
    if not path.exists():
        near = nearest_name(path)
        raise InputError(
            f"{path} does not exist. Give a folder of class folders, a Parquet file or folder, or "
            f"the name of a set with --root"
            + (f". Did you mean {near}?" if near else f": {', '.join(NAMED_SETS)}.")
        )
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise InputError(
            f"{path} is a file that is no Parquet file (.parquet). "
            f"Give a folder of class folders, or a Parquet file or folder."
        )
    reader = next(reader for reader in READERS.values() if reader.looks_like(path))
    return match_classes(reader.read(path))


def notices(
    path: str | Path, root: str | Path | None, by_split: dict[str, ImageRecords]
) -> tuple[str, ...]:
    """What the user should know of the data: a named set that is not whole, images not read."""
    if names_a_set(path, root):
        return tuple(count_notices(str(path), by_split))
    path = Path(path)
    return () if path.is_file() or parquet_files(path) else tuple(left_out(path))


def match_classes(by_split: dict[str, ImageRecords]) -> dict[str, ImageRecords]:
    """Give every split the class names of train, matched by name, never by position."""
    first = next(split for split in ("train", "all", *by_split) if split in by_split)
    train = by_split[first]
    present = np.flatnonzero(train.counts())
    names = tuple(train.class_names[i] for i in present)
    matched = {}
    for split, records in by_split.items():
        here = {records.class_names[i] for i in np.flatnonzero(records.counts())}
        extra = [name for name in records.class_names if name in here and name not in names]
        if extra:
            raise InputError(
                f"the {split} split has {some_of(extra)}, which the {first} split has no image "
                f"of; its classes are {some_of(names, most=20)}. Classes are matched by name: "
                f"rename the folder or label, add images of it to {first}, or remove it."
            )
        matched[split] = records.relabel(names)
    return matched


def describe(by_split: dict[str, ImageRecords]) -> list[str]:
    """What was found, a line a split: ``train: 5,000 images in 10 classes``."""
    lines = []
    width = max(len(split) for split in by_split)
    for split, records in by_split.items():
        counts = records.counts()
        missing = [records.class_names[i] for i in np.flatnonzero(counts == 0)]
        here = len(counts) - len(missing)
        total = f"{here} of {len(counts)}" if missing else f"{here}"
        lines.append(
            f"{split + ':':<{width + 1}} {_count(len(records), 'image')} in {total} "
            f"{'class' if total == '1' else 'classes'}"
            + (f" (none of {some_of(missing)})" if missing else "")
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

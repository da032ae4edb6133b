"""CUB-200-2011 and Oxford-IIIT Pets: image files, and lists in text that say what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lacvit.data.records import FileSource, ImageRecords, some_of
from lacvit.errors import InputError


def read_cub200(folder: Path) -> dict[str, ImageRecords]:
    """``CUB_200_2011``: the official train and test images of ``train_test_split.txt``.

    Classes and their order are those of ``classes.txt``, with their numbers, as published.
    """
    names = _pairs(folder / "classes.txt")
    images = _pairs(folder / "images.txt")
    classes = _pairs(folder / "image_class_labels.txt", images)
    training = _pairs(folder / "train_test_split.txt", images)
    position = {key: place for place, key in enumerate(names)}
    _refuse_unknown(folder / "image_class_labels.txt", classes.values(), position)
    _refuse_unknown(folder / "train_test_split.txt", training.values(), ("0", "1"))
    by_split = {}
    for split, flag in (("train", "1"), ("test", "0")):
        chosen = [key for key in images if training[key] == flag]
        paths = [f"images/{images[key]}" for key in chosen]
        labels = [position[classes[key]] for key in chosen]
        by_split[split] = file_records(folder, paths, labels, list(names.values()))
    return by_split


def read_oxford_pets(folder: Path) -> dict[str, ImageRecords]:
    """``images`` and ``annotations``: ``trainval.txt`` is the train split, ``test.txt`` the test.

    A class is called as its image files are, without their number, in the order of its id.
    """
    rows = {
        split: _rows(folder / "annotations" / f"{file}.txt", 4)
        for split, file in (("train", "trainval"), ("test", "test"))
    }
    names: dict[int, str] = {}
    for file, number, *_ in rows["train"] + rows["test"]:
        breed = file.rpartition("_")[0]
        if not number.isdecimal() or names.setdefault(int(number), breed) != breed:
            raise InputError(
                f"{folder / 'annotations'} gives {file} the class {number}, which is "
                f"{names.get(int(number)) if number.isdecimal() else 'no number'}. "
                f"Unpack annotations.tar.gz again."
            )
    order = sorted(names)
    position = {number: place for place, number in enumerate(order)}
    return {
        split: file_records(
            folder,
            [f"images/{file}.jpg" for file, *_ in listed],
            [position[int(number)] for _, number, *_ in listed],
            [names[number] for number in order],
        )
        for split, listed in rows.items()
    }


def file_records(
    folder: Path, paths: Sequence[str], labels: Sequence[int], names: Sequence[str]
) -> ImageRecords:
    """Records of the files ``paths`` below ``folder``, in this order."""
    return ImageRecords(
        FileSource(folder, tuple(paths)),
        tuple(paths),
        np.array(labels, dtype=np.int64),
        tuple(names),
    )


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The words of each line; empty lines and comments are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Unpack the archive again.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=columns - 1)
        if not words or words[0].startswith("#"):
            continue
        if len(words) != columns:
            raise InputError(
                f"line {number} of {path} has {len(words)} of {columns} columns: {line!r}. "
                f"Unpack the archive again."
            )
        rows.append([word.strip() for word in words])
    return rows


def _pairs(path: Path, keys: Iterable[str] | None = None) -> dict[str, str]:
    """First column -> second; with ``keys``, exactly these must be there."""
    rows = _rows(path, 2)
    pairs = {key: value for key, value in rows}  # noqa: C416  (dict() wants tuples, to a type checker)
    if len(pairs) != len(rows):
        twice = next(key for key, times in Counter(key for key, _ in rows).items() if times > 1)
        raise InputError(f"{path} lists {twice} more than once. Unpack the archive again.")
    if keys is not None and pairs.keys() != set(keys):
        odd = sorted(pairs.keys() ^ set(keys))
        raise InputError(
            f"{path} and images.txt do not list the same images: {some_of(odd)} "
            f"{'is' if len(odd) == 1 else 'are'} in one of them only. Unpack the archive again."
        )
    return pairs


def _refuse_unknown(path: Path, values: Iterable[str], known: Iterable[str]) -> None:
    strangers = sorted(set(values) - set(known))
    if strangers:
        raise InputError(
            f"{path} has {some_of(strangers)}, which is none of {some_of(list(known))}. "
            f"Unpack the archive again."
        )

"""ImageNet-1k and Caltech-256: class folders with names of their own kind."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lacvit.data.folders import IMAGE_ENDINGS
from lacvit.data.listed_sets import file_records
from lacvit.data.matlab_sets import read_matlab
from lacvit.data.records import ImageRecords, some_of
from lacvit.errors import InputError

SYNSET = re.compile(r"n\d{8}")
CALTECH_CLASS = re.compile(r"\d{3}\..+")
DEVKIT = "ILSVRC2012_devkit_t12/data"
VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


def read_imagenet(folder: Path) -> dict[str, ImageRecords]:
    """``train`` by synset, and ``val`` by synset or flat with the devkit's ground truth.

    The labels of ImageNet's own test images were never published: as everywhere, its validation
    images are the test split here, and images to validate on are drawn from train. Classes are
    synset ids in their order, by which two lists can be matched; words are not unique.
    """
    train = _by_class(folder, "train/", SYNSET)
    return {"train": train, "test": _validation(folder, train.class_names)}


def read_caltech256(folder: Path) -> dict[str, ImageRecords]:
    """The 257 folders of ``256_ObjectCategories``, clutter included; there is no official split.

    Only pictures directly in a class folder count: the archive also holds a folder of copies
    (``056.dog/greg``) and a file that is no picture (``198.spider/RENAME2``).
    """
    return {"all": _by_class(folder, "", CALTECH_CLASS)}


def _by_class(folder: Path, below: str, pattern: re.Pattern[str]) -> ImageRecords:
    names = sorted(
        place.name
        for place in (folder / below).iterdir()
        if pattern.fullmatch(place.name) and place.is_dir()
    )
    if not names:
        raise InputError(
            f"{folder / below} holds no class folder such as "
            f"{'n01440764' if pattern is SYNSET else '001.ak47'}. Unpack the archives in it."
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = [f"{below}{name}/{file}" for file in _pictures(folder / below / name)]
        paths += found
        labels += [label] * len(found)
    return file_records(folder, paths, labels, names)


def _pictures(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(IMAGE_ENDINGS)
            and not entry.name.startswith(".")
            and not entry.is_dir()
        )


def _validation(folder: Path, names: Sequence[str]) -> ImageRecords:
    flat = _pictures(folder / "val")
    if not flat:
        return _by_class(folder, "val/", SYNSET)
    truth = _ground_truth(folder)
    position = {name: place for place, name in enumerate(names)}
    labels = []
    for file in flat:
        match = VALIDATION_IMAGE.fullmatch(file)
        synset = truth.get(int(match[1])) if match else None
        if synset is None:
            raise InputError(
                f"{folder / 'val' / file} is no image of the {len(truth)} that {DEVKIT} labels. "
                f"Move it out of val."
            )
        labels.append(position.get(synset, -1))
    if min(labels) < 0:
        absent = sorted(set(truth.values()) - set(names))
        raise InputError(
            f"{folder / 'train'} lacks the class folders {some_of(absent)}, of which val has "
            f"images. Unpack ILSVRC2012_img_train.tar whole."
        )
    return file_records(folder, [f"val/{file}" for file in flat], labels, names)


def _ground_truth(folder: Path) -> Mapping[int, str]:
    """Number of a validation image, from 1 -> its synset."""
    devkit = folder / DEVKIT
    labels = devkit / "ILSVRC2012_validation_ground_truth.txt"
    if not labels.is_file():
        raise InputError(
            f"{folder / 'val'} has images in no class folders, and {labels} is not there to say "
            f"what they are. Unpack ILSVRC2012_devkit_t12.tar.gz in {folder}, or sort val into "
            f"folders named for synsets."
        )
    synsets = np.atleast_1d(read_matlab(devkit / "meta.mat", "synsets"))
    ids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    try:
        numbers = [int(word) for word in labels.read_text(encoding="ascii").split()]
        return {place: ids[number] for place, number in enumerate(numbers, start=1)}
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{labels} has {error}, which is no synset's number of meta.mat. "
            f"Unpack the devkit again."
        ) from error

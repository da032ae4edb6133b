"""Oxford Flowers-102 and Stanford Cars: image files, and labels in MATLAB's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from lacvit.data.listed_sets import file_records
from lacvit.data.records import ImageRecords
from lacvit.errors import InputError, first_line

FLOWER_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}  # of setid.mat


def read_flowers102(folder: Path) -> dict[str, ImageRecords]:
    """``jpg``, ``imagelabels.mat`` and ``setid.mat``: official train, validation and test.

    The archive has no names of flowers: a class is called by its number, 1 to 102.
    """
    labels = np.ravel(read_matlab(folder / "imagelabels.mat", "labels")).astype(np.int64)
    numbers = np.unique(labels)
    places = np.searchsorted(numbers, labels)
    names = [str(number) for number in numbers]
    by_split = {}
    for split, key in FLOWER_SPLITS.items():
        ids = np.ravel(read_matlab(folder / "setid.mat", key)).astype(np.int64)
        outside = ids[(ids < 1) | (ids > len(labels))]
        if len(outside):
            raise InputError(
                f"{folder / 'setid.mat'} names image {outside[0]} in {key}, but imagelabels.mat "
                f"labels images 1 to {len(labels)}. Get both files again."
            )
        paths = [f"jpg/image_{number:05d}.jpg" for number in ids]
        by_split[split] = file_records(folder, paths, places[ids - 1].tolist(), names)
    return by_split


def read_stanford_cars(folder: Path) -> dict[str, ImageRecords]:
    """``cars_train`` and ``cars_test`` with the labels of ``devkit`` and of the test's own file."""
    names = [str(name) for name in _column(folder / "devkit" / "cars_meta.mat", "class_names")]
    files = {
        "train": folder / "devkit" / "cars_train_annos.mat",
        "test": folder / "cars_test_annos_withlabels.mat",
    }
    by_split = {}
    for split, file in files.items():
        rows = _column(file, "annotations")
        if rows.dtype.names is None or not {"fname", "class"} <= set(rows.dtype.names):
            raise InputError(
                f"{file} has annotations without fname and class: the test labels stand in "
                f"cars_test_annos_withlabels.mat, not in devkit/cars_test_annos.mat."
            )
        labels = [int(value) - 1 for value in rows["class"]]
        if labels and not 0 <= min(labels) <= max(labels) < len(names):
            raise InputError(
                f"{file} has classes from {min(labels) + 1} to {max(labels) + 1}, but "
                f"devkit/cars_meta.mat names {len(names)}. Get the files of one release."
            )
        paths = [f"cars_{split}/{name}" for name in rows["fname"]]
        by_split[split] = file_records(folder, paths, labels, names)
    return by_split


def read_matlab(path: Path, key: str) -> npt.NDArray[Any]:
    """One variable of a ``.mat`` file, without the axes of length one.

    Raises:
        InputError: no such file or variable, or no file of MATLAB's.
    """
    try:
        contents = loadmat(str(path), squeeze_me=True, variable_names=[key])
    except Exception as error:  # damaged bytes make the reader fail in any way at all
        said = first_line(error)
        raise InputError(f"{path} cannot be read: {said}. Get the file again.") from error
    if key not in contents:
        raise InputError(f"{path} holds no {key!r}. Get the file again.")
    return np.asarray(contents[key])


def _column(path: Path, key: str) -> npt.NDArray[Any]:
    return np.atleast_1d(read_matlab(path, key))

"""CIFAR-10 and CIFAR-100 in their Python version: pickles, of which nothing is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lacvit.data.records import ArraySource, ImageRecords
from lacvit.errors import InputError, first_line

SIDE = 32
# All that a pickled array needs; the lists, texts and numbers around it need no name at all. The
# official files were written by Python 2, before numpy moved its core.
INERT = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _InertUnpickler(pickle.Unpickler):
    """Builds lists, dictionaries, texts, numbers and arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in INERT:
            raise _RefusedNameError(f"{module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


class _RefusedNameError(Exception):
    """A pickle asked for something that could act."""


def read_cifar10(folder: Path) -> dict[str, ImageRecords]:
    """Splits ``train`` (data_batch_1 to 5) and ``test`` (test_batch) of ``cifar-10-batches-py``."""
    names = _names(folder / "batches.meta", "label_names")
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return {
        "train": _records(folder, batches, "labels", names),
        "test": _records(folder, ["test_batch"], "labels", names),
    }


def read_cifar100(folder: Path) -> dict[str, ImageRecords]:
    """Splits ``train`` and ``test`` of ``cifar-100-python``, with the 100 fine classes."""
    names = _names(folder / "meta", "fine_label_names")
    return {split: _records(folder, [split], "fine_labels", names) for split in ("train", "test")}


def read_inert(path: Path) -> Mapping[str, Any]:
    """The dictionary of a pickle that holds plain values and arrays alone.

    Raises:
        InputError: damaged, no dictionary, or it asks for anything that could run code.
    """
    try:
        with path.open("rb") as file:
            contents = _InertUnpickler(file, encoding="latin1").load()
    except _RefusedNameError as error:
        raise InputError(
            f"{path} would run code when loaded (it needs {error}), which no file of CIFAR does. "
            f"Nothing was run. Get the archive again from its authors' page."
        ) from None
    except Exception as error:  # damaged bytes make pickle fail in any way at all
        said = first_line(error)
        raise InputError(
            f"{path} cannot be read as a file of CIFAR's Python version: {said}. "
            f"Unpack the archive again."
        ) from error
    if not isinstance(contents, dict):
        raise InputError(f"{path} holds no dictionary, as CIFAR's files do. Unpack it again.")
    return {_text(key): value for key, value in contents.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _names(path: Path, key: str) -> tuple[str, ...]:
    names = read_inert(path).get(key)
    if not isinstance(names, list) or not names:
        raise InputError(f"{path} has no list {key!r}. Unpack the archive again.")
    return tuple(_text(name) for name in names)


def _records(folder: Path, files: Sequence[str], key: str, names: tuple[str, ...]) -> ImageRecords:
    images: list[Any] = []
    labels: list[int] = []
    paths: list[str] = []
    for name in files:
        contents = read_inert(folder / name)
        pixels, own = contents.get("data"), contents.get(key)
        if not (
            isinstance(pixels, np.ndarray)
            and pixels.dtype == np.uint8
            and pixels.ndim == 2
            and pixels.shape[1] == 3 * SIDE * SIDE
            and isinstance(own, list)
            and len(own) == len(pixels)
            and all(isinstance(label, int) and 0 <= label < len(names) for label in own)
        ):
            raise InputError(
                f"{folder / name} does not hold data of {3 * SIDE * SIDE} bytes an image and "
                f"{key} from 0 to {len(names) - 1}, one an image. Unpack the archive again."
            )
        upright = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        images += list(np.ascontiguousarray(upright))
        labels += own
        paths += [f"{name}/{row:05d}" for row in range(len(own))]
    return ImageRecords(ArraySource(images), tuple(paths), np.array(labels, np.int64), names)

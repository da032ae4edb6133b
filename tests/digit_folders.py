"""Small real image sets for tests that need a whole run: scikit-learn's digits as PNG files."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from lacvit.data.decoding import encode_png


def write_digit_folder(folder: Path, *, classes: int = 3, per_class: int = 12) -> Path:
    """A folder of class folders, named by the digits, without splits."""
    digits = load_digits()
    for digit in range(classes):
        place = folder / f"digit {digit}"
        place.mkdir(parents=True)
        for index in np.flatnonzero(digits.target == digit)[:per_class]:
            pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
            (place / f"{index:04d}.png").write_bytes(encode_png(pixels))
    return folder


def write_split_folder(folder: Path, sizes: dict[str, int], *, classes: int = 3) -> Path:
    """The same with train, val and test above the classes; ``sizes`` is images a class."""
    digits = load_digits()
    for digit in range(classes):
        indices = iter(np.flatnonzero(digits.target == digit))
        for split, size in sizes.items():
            place = folder / split / f"digit {digit}"
            place.mkdir(parents=True)
            for _ in range(size):
                index = next(indices)
                pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
                (place / f"{index:04d}.png").write_bytes(encode_png(pixels))
    return folder

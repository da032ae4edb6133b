"""Our readers of public sets give what torchvision's give: the same images, in the same order.

torchvision's readers keep their lists of files to themselves, so none stands behind ours; where
they can read a set at all, they are the check.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.readers import read_data
from set_trees import TREES

ensure_torchvision()
from torchvision import datasets  # noqa: E402  (the shim must come first)

Build = Callable[[Path, str], Any]
# Set -> how torchvision reads a split of ours.
THEIRS: dict[str, Build] = {
    "cifar10": lambda root, split: datasets.CIFAR10(root, train=split == "train"),
    "cifar100": lambda root, split: datasets.CIFAR100(root, train=split == "train"),
    "flowers102": lambda root, split: datasets.Flowers102(
        root, split={"validation": "val"}.get(split, split)
    ),
    "oxford-pets": lambda root, split: datasets.OxfordIIITPet(
        root, split={"train": "trainval"}.get(split, split)
    ),
    "stanford-cars": lambda root, split: datasets.StanfordCars(root, split=split),
}


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Miniature copies have other checksums than the archives."""
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda _self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda _self: True)


@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize("name", THEIRS)
def test_images_and_labels_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    for split, ours in read_data(name, tmp_path).items():
        theirs = THEIRS[name](tmp_path, split)
        assert len(theirs) == len(ours)
        for place, (image, label) in enumerate(theirs):
            assert label == ours.labels[place]
            assert image.mode == "RGB"
            np.testing.assert_array_equal(ours.read(place), np.asarray(image))


def test_classes_in_the_order_of_torchvision(tmp_path: Path) -> None:
    """torchvision writes the breeds of Pets with spaces and capitals, we as their files do."""
    TREES["oxford-pets"](tmp_path)
    ours = next(iter(read_data("oxford-pets", tmp_path).values())).class_names
    theirs = datasets.OxfordIIITPet(tmp_path).classes
    assert [name.replace("_", " ").title() for name in ours] == theirs
    TREES["stanford-cars"](tmp_path)
    cars = next(iter(read_data("stanford-cars", tmp_path).values())).class_names
    assert list(cars) == datasets.StanfordCars(tmp_path).classes

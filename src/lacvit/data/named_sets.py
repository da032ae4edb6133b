"""Public image sets by name, from their official archives as unpacked, on their official splits."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lacvit.data.cifar import read_cifar10, read_cifar100
from lacvit.data.listed_sets import read_cub200, read_oxford_pets
from lacvit.data.matlab_sets import read_flowers102, read_stanford_cars
from lacvit.data.records import ImageRecords, some_of
from lacvit.data.synset_sets import read_caltech256, read_imagenet
from lacvit.errors import InputError


@dataclass(frozen=True)
class NamedSet:
    """One public set: where it lies, how it is read, what it must hold."""

    title: str
    folders: tuple[str, ...]  # below the root, as its archive or torchvision unpacks it
    needs: tuple[str, ...]  # what such a folder must have
    read: Callable[[Path], dict[str, ImageRecords]]
    counts: Mapping[str, int]  # images by split, as published
    classes: int
    source: str
    downloads: bool = False  # torchvision can fetch it


NAMED_SETS: dict[str, NamedSet] = {
    "cifar10": NamedSet(
        "CIFAR-10",
        ("cifar-10-batches-py",),
        ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
        read_cifar10,
        {"train": 50_000, "test": 10_000},
        10,
        "cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
        downloads=True,
    ),
    "cifar100": NamedSet(
        "CIFAR-100",
        ("cifar-100-python",),
        ("meta", "train", "test"),
        read_cifar100,
        {"train": 50_000, "test": 10_000},
        100,
        "cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
        downloads=True,
    ),
    "cub200": NamedSet(
        "CUB-200-2011",
        ("CUB_200_2011",),
        (
            "images",
            "images.txt",
            "classes.txt",
            "image_class_labels.txt",
            "train_test_split.txt",
        ),
        read_cub200,
        {"train": 5_994, "test": 5_794},
        200,
        "CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/",
    ),
    "flowers102": NamedSet(
        "Oxford Flowers-102",
        ("flowers-102",),
        ("jpg", "imagelabels.mat", "setid.mat"),
        read_flowers102,
        {"train": 1_020, "validation": 1_020, "test": 6_149},
        102,
        "102flowers.tgz, imagelabels.mat and setid.mat from "
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        downloads=True,
    ),
    "oxford-pets": NamedSet(
        "Oxford-IIIT Pets",
        ("oxford-iiit-pet",),
        ("images", "annotations/trainval.txt", "annotations/test.txt"),
        read_oxford_pets,
        {"train": 3_680, "test": 3_669},
        37,
        "images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets/",
        downloads=True,
    ),
    "stanford-cars": NamedSet(
        "Stanford Cars",
        ("stanford_cars",),
        (
            "cars_train",
            "cars_test",
            "devkit/cars_meta.mat",
            "devkit/cars_train_annos.mat",
            "cars_test_annos_withlabels.mat",
        ),
        read_stanford_cars,
        {"train": 8_144, "test": 8_041},
        196,
        "cars_train, cars_test, devkit and cars_test_annos_withlabels.mat from a copy of the set "
        "(the authors' page is gone)",
    ),
    "caltech256": NamedSet(
        "Caltech-256",
        ("256_ObjectCategories", "caltech256/256_ObjectCategories"),
        ("001.ak47",),
        read_caltech256,
        {"all": 30_607},
        257,
        "256_ObjectCategories.tar from https://data.caltech.edu/records/nyy15-4j048",
        downloads=True,
    ),
    "imagenet-1k": NamedSet(
        "ImageNet-1k (ILSVRC 2012)",
        ("imagenet-1k", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
        ("train", "val"),
        read_imagenet,
        {"train": 1_281_167, "test": 50_000},
        1_000,
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
        "https://www.image-net.org (with an account; each tar inside train's becomes a folder)",
    ),
}


def names_a_set(data: str | Path, root: str | Path | None = None) -> bool:
    """Whether ``data`` means a set by name: a path that exists wins, unless a root is given."""
    return str(data) in NAMED_SETS and (root is not None or not Path(data).exists())


def nearest_name(data: str | Path) -> str | None:
    """The set whose name is most like ``data``, if one is."""
    near = difflib.get_close_matches(Path(data).name.lower(), NAMED_SETS, n=1, cutoff=0.75)
    return near[0] if near else None


def find_named_set(name: str, root: str | Path | None) -> Path | None:
    """The folder that holds the set ``name``: the root itself, or a folder of the set below it."""
    entry = NAMED_SETS[name]
    return next((place for place in _places(entry, root) if not _lacking(entry, place)), None)


def read_named_set(name: str, root: str | Path | None = None) -> dict[str, ImageRecords]:
    """The official splits of the set ``name`` below ``root`` (by default the current folder).

    Where a set has no official split, ``{"all": ...}``; what has no validation split is given
    one by ``make_splits``, out of train. Labels follow the set's own order of classes.

    Raises:
        InputError: the set is not there (where to get and put it is said), a list or file of it
            is damaged, or an image stands in two splits.
    """
    entry = NAMED_SETS[name]
    folder = find_named_set(name, root)
    if folder is None:
        raise InputError(_absent(name, root))
    by_split = entry.read(folder)
    _refuse_shared(entry.title, by_split)
    return by_split


def count_notices(name: str, by_split: Mapping[str, ImageRecords]) -> list[str]:
    """What of a set's counts is unlike the published ones, both named; empty where nothing is."""
    entry = NAMED_SETS[name]
    found = {split: len(records) for split, records in by_split.items()}
    odd = [
        f"{found.get(split, 0):,} {split} images instead of {count:,}".replace(" all ", " ")
        for split, count in entry.counts.items()
        if found.get(split, 0) != count
    ]
    classes = len(next(iter(by_split.values())).class_names)
    odd += [f"{classes} classes instead of {entry.classes:,}"] * (classes != entry.classes)
    return [f"{name} is not the whole {entry.title}: it has {', '.join(odd)}."] if odd else []


def _places(entry: NamedSet, root: str | Path | None) -> list[Path]:
    start = Path(root or ".")
    return [*(start / folder for folder in entry.folders), start]


def _lacking(entry: NamedSet, place: Path) -> list[str]:
    return [need for need in entry.needs if not (place / need).exists()]


def _absent(name: str, root: str | Path | None) -> str:
    entry = NAMED_SETS[name]
    best = min(_places(entry, root), key=lambda place: len(_lacking(entry, place)))
    missing = f"lacks {some_of(_lacking(entry, best))}" if best.exists() else "does not exist"
    return (
        f"{name} ({entry.title}) was not found: {best} {missing}. Get {entry.source}; unpack it so "
        f"that {best} holds {some_of(entry.needs, most=len(entry.needs))}, "
        + ("or let torchvision do so with --download, " if entry.downloads else "")
        + f"or give the folder that holds {entry.folders[0]} as --root (data.root)."
    )


def _refuse_shared(title: str, by_split: Mapping[str, ImageRecords]) -> None:
    """No image may stand in two splits, or twice in one."""
    times = Counter(_all_paths(by_split.values()))
    shared = sorted(path for path, count in times.items() if count > 1)
    if shared:
        raise InputError(
            f"the lists of {title} name {some_of(shared)} more than once, in one split or in two. "
            f"Unpack the archive again."
        )


def _all_paths(records: Iterable[ImageRecords]) -> Iterable[str]:
    for part in records:
        yield from part.paths

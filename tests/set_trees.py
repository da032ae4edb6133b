"""Miniature copies of the public image sets, each in the layout of its official archive."""

import io
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from scipy.io import savemat

APPLE_DOUBLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        "  # what stands in a ._ file of an archive


def write_picture(path: Path, seed: int, *, mode: str = "RGB", form: str | None = None) -> None:
    """A picture of 40 x 36 pixels whose colour tells its seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    picture = coarse.resize((40, 36)).convert(mode)
    picture.save(path, format=form or ("PNG" if path.suffix == ".png" else "JPEG"))


def write_cub200(root: Path, images: int = 6, classes: int = 3) -> Path:
    """Grey images and the archive's own oddities included; the last third of a class tests."""
    folder = root / "CUB_200_2011"
    names = [f"{number + 1:03d}.Bird_{'ZYXWV'[number]}" for number in range(classes)]
    files = [
        f"{name}/Bird_{place}_{number}.jpg"
        for place, name in enumerate(names)
        for number in range(images)
    ]
    for seed, file in enumerate(files):
        write_picture(folder / "images" / file, seed, mode="L" if seed % 5 == 0 else "RGB")
    (folder / "images" / names[0] / "._Bird_0_0.jpg").write_bytes(APPLE_DOUBLE)
    numbered = list(enumerate(files, start=1))
    write_lines(folder / "images.txt", [f"{i} {file}" for i, file in numbered])
    write_lines(folder / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, start=1)])
    write_lines(
        folder / "image_class_labels.txt", [f"{i} {(i - 1) // images + 1}" for i, _ in numbered]
    )
    write_lines(
        folder / "train_test_split.txt",
        [f"{i} {int((i - 1) % images < images * 2 // 3)}" for i, _ in numbered],
    )
    return folder


def write_oxford_pets(root: Path, images: int = 6) -> Path:
    """A stray ``.mat`` among the pictures, ``._`` files, a picture that no list names."""
    folder = root / "oxford-iiit-pet"
    breeds = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier"]
    train, test = [], []
    for number, breed in enumerate(breeds, start=1):
        for place in range(1, images + 1):
            mode = "CMYK" if place == 1 else "RGB"
            write_picture(
                folder / "images" / f"{breed}_{place}.jpg", 100 * number + place, mode=mode
            )
            line = f"{breed}_{place} {number} {2 - (number == 1)} {number}"
            (train if place <= images * 2 // 3 else test).append(line)
    write_picture(folder / "images" / "Abyssinian_99.jpg", 99)
    write_picture(folder / "images" / "american_bulldog_2.jpg", 5, form="PNG")  # no JPEG inside
    (folder / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "._trimaps").write_bytes(APPLE_DOUBLE)
    write_lines(folder / "annotations" / "list.txt", ["#Image CLASS-ID SPECIES BREED ID", *train])
    write_lines(folder / "annotations" / "trainval.txt", train)
    write_lines(folder / "annotations" / "test.txt", test)
    return folder


def write_flowers102(root: Path, images: int = 6, classes: int = 3) -> Path:
    folder = root / "flowers-102"
    total = images * classes
    for number in range(1, total + 1):
        write_picture(folder / "jpg" / f"image_{number:05d}.jpg", number)
    labels = np.arange(total) % classes + 1
    savemat(folder / "imagelabels.mat", {"labels": labels[None].astype(np.uint8)})
    ids = np.arange(1, total + 1, dtype=np.uint16)[None]
    third = total // 3
    savemat(
        folder / "setid.mat",
        {"trnid": ids[:, :third], "valid": ids[:, third : 2 * third], "tstid": ids[:, 2 * third :]},
    )
    return folder


def write_stanford_cars(root: Path, images: int = 4) -> Path:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
    savemat(
        folder / "devkit" / "cars_meta.mat",
        {"class_names": np.array([names], dtype=object)},
    )
    for split, place in (("train", "devkit/cars_train_annos.mat"),
                         ("test", "cars_test_annos_withlabels.mat")):  # fmt: skip
        kind = [("bbox_x1", object), ("class", object), ("fname", object)]
        rows = np.zeros((1, images), dtype=kind)
        for number in range(images):
            name = f"{number + 1:05d}.jpg"
            mode = "L" if number == 0 else "RGB"
            write_picture(folder / f"cars_{split}" / name, ord(split[1]) + number, mode=mode)
            rows[0, number] = (3, 2 - number % 2, name)
        savemat(folder / place, {"annotations": rows})
    return folder


def write_caltech256(root: Path, images: int = 6) -> Path:
    """The folder of copies and the file that is no picture, as in the real archive."""
    folder = root / "256_ObjectCategories"
    for place, name in enumerate(["001.ak47", "056.dog", "198.spider", "257.clutter"]):
        for number in range(1, images + 1):
            write_picture(folder / name / f"{name[:3]}_{number:04d}.jpg", 100 * place + number)
    write_picture(folder / "056.dog" / "greg" / "vision309" / "056_0001.jpg", 1)
    (folder / "198.spider" / "RENAME2").write_text("#!/bin/sh")
    (folder / "._001.ak47").write_bytes(APPLE_DOUBLE)
    return folder


def write_imagenet(root: Path, images: int = 4, *, flat: bool = False) -> Path:
    """``val`` by synset, or flat beside the devkit, whose meta.mat also lists inner synsets."""
    folder = root / "imagenet-1k"
    synsets = ["n01440764", "n02084071", "n09999999"]
    for place, synset in enumerate(synsets):
        for number in range(images):
            write_picture(
                folder / "train" / synset / f"{synset}_{number}.JPEG", 50 * place + number
            )
    for number in range(len(synsets) * 2):
        name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        synset = synsets[number % len(synsets)]
        parent = folder / "val" if flat else folder / "val" / synset
        write_picture(parent / name, 1000 + number)
    if flat:
        devkit = folder / "ILSVRC2012_devkit_t12" / "data"
        devkit.mkdir(parents=True)
        kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
        rows = np.zeros((4, 1), dtype=kind)
        # The devkit's numbers are not in the order of the synsets' ids.
        for row, (number, synset) in enumerate(
            zip([3, 1, 2, 1001], [*synsets, "n00001740"], strict=True)
        ):
            rows[row, 0] = (number, synset, "words, more words")
        savemat(devkit / "meta.mat", {"synsets": rows})
        truth = [str([3, 1, 2][number % 3]) for number in range(len(synsets) * 2)]
        write_lines(devkit / "ILSVRC2012_validation_ground_truth.txt", truth)
    return folder


def write_cifar10(root: Path, images: int = 3) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird"]
    for place, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        labels = [(place + number) % len(names) for number in range(images)]
        contents = {
            b"batch_label": b"training batch",
            b"labels": labels,
            b"data": cifar_rows(images, seed=place),
            b"filenames": [b"plane_s_000001.png"] * images,
        }
        (folder / name).write_bytes(python2_pickle(contents))
    meta = {b"label_names": [name.encode() for name in names], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    (folder / "readme.html").write_text("")
    return folder


def write_cifar100(root: Path, images: int = 6) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        contents = {
            b"fine_labels": [number % 3 for number in range(images)],
            b"coarse_labels": [0] * images,
            b"data": cifar_rows(images, seed=seed + 50),
        }
        (folder / split).write_bytes(python2_pickle(contents))
    meta = {b"fine_label_names": [b"apple", b"bee", b"cup"], b"coarse_label_names": [b"thing"]}
    (folder / "meta").write_bytes(python2_pickle(meta))
    (folder / "file.txt~").write_text("")
    return folder


def cifar_rows(images: int, *, seed: int) -> np.ndarray:
    """uint8 (N, 3072): all red, then all green, then all blue, row by row."""
    return np.random.default_rng(seed).integers(0, 256, (images, 3072), dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 and the numpy of its time did: byte strings, numpy.core."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        length = len(value)
        head = (
            b"U" + struct.pack("<B", length) if length < 256 else b"T" + struct.pack("<i", length)
        )
        self.write(head + value)
        self.memoize(value)

    def save_text(self, value: str) -> None:
        self.save_bytes(value.encode("latin1"))

    def save_global(self, value: object, name: str | None = None) -> None:
        module = str(getattr(value, "__module__", "")).replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or value.__name__}\n".encode())  # type: ignore[attr-defined]
        self.memoize(value)

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text
    dispatch[type] = save_global
    dispatch[type(len)] = save_global


def python2_pickle(contents: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(contents)
    return buffer.getvalue()


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


TREES: dict[str, Callable[[Path], Path]] = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "cub200": write_cub200,
    "flowers102": write_flowers102,
    "oxford-pets": write_oxford_pets,
    "stanford-cars": write_stanford_cars,
    "caltech256": write_caltech256,
    "imagenet-1k": write_imagenet,
}

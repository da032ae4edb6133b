"""A folder of class folders, with or without train, validation and test above them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lacvit.data.records import FileSource, ImageRecords, some_of
from lacvit.errors import InputError

# Candidates are chosen by the name's ending, in any case; the bytes decide the format.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Of images that Pillow does not read everywhere: told of where they are left out.
OTHER_IMAGES = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw")

RUN_FILES = ("status.json", "settings.toml")  # that a run folder has before any picture

# The names that a split may go by, in any case.
SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}


def split_called(name: str) -> str | None:
    """``"validation"`` for ``"Val"``; None where the name is no split's."""
    lower = name.lower()
    return next((split for split, names in SPLIT_NAMES.items() if lower in names), None)


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sort key under which 2 comes before 10, and case does not matter at first."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def read_class_folders(folder: Path) -> dict[str, ImageRecords]:
    """Read ``folder/cats/1.jpg`` as ``{"all": ...}``, ``folder/train/cats/1.jpg`` by split.

    A class is a folder; images may lie at any depth below it. Hidden files, files whose ending is
    no image's, and run folders of lacvit are ignored. Where every folder that holds images has a
    split's name, and holds class folders itself, the folders are splits.

    Raises:
        InputError: no images, images outside class folders, splits mixed with classes.
    """
    images = {name: list(images_below(folder / name)) for name in _folders_in(folder)}
    images = {name: below for name, below in images.items() if below}
    loose = [name for name in _files_in(folder) if _is_candidate(name)]
    if not images and not loose:
        raise InputError(_nothing_found(folder))
    if loose:
        raise InputError(_loose_images(folder, loose))
    splits = {
        name: split
        for name, below in images.items()
        if (split := split_called(name)) and any("/" in path for path in below)
    }
    if not splits:
        _refuse_flat_splits(folder, images)
        return {"all": _records(folder, images)}
    others = [name for name in images if name not in splits]
    if others:
        raise InputError(
            f"{folder} holds {some_of(sorted(splits))}, which are splits with class folders in "
            f"them, and also {some_of(others)} with images. Put every class folder into a split, "
            f"or move {some_of(others)} out of {folder}."
        )
    return _by_split(folder, images, splits)


def _by_split(
    folder: Path, images: dict[str, list[str]], splits: dict[str, str]
) -> dict[str, ImageRecords]:
    found: dict[str, ImageRecords] = {}
    for split in SPLIT_NAMES:
        names = [name for name in images if splits[name] == split]
        if len(names) > 1:
            raise InputError(
                f"{folder} holds {' and '.join(names)}: both mean the {split} split. "
                f"Keep one of them, or put their class folders together."
            )
        for name in names:
            flat = [path for path in images[name] if "/" not in path]
            if flat:
                raise InputError(_loose_images(folder / name, flat))
            classes: dict[str, list[str]] = {}
            for path in images[name]:
                first, rest = path.split("/", 1)
                classes.setdefault(first, []).append(rest)
            found[split] = _records(folder, classes, below=f"{name}/")
    return found


def _records(folder: Path, classes: dict[str, list[str]], below: str = "") -> ImageRecords:
    """Records in natural order of class, then of path; a class is named by its folder."""
    named: dict[str, list[str]] = {}
    for directory, inside in classes.items():
        name = unicodedata.normalize("NFC", directory)  # the same name on every file system
        named.setdefault(name, []).extend(f"{below}{directory}/{path}" for path in inside)
    names = sorted(named, key=natural_order)
    ordered = [sorted(named[name], key=natural_order) for name in names]
    paths = tuple(path for group in ordered for path in group)
    labels = np.repeat(np.arange(len(names)), [len(group) for group in ordered])
    return ImageRecords(FileSource(folder, paths), paths, labels, tuple(names))


def images_below(folder: Path) -> Iterator[str]:
    """Candidates at any depth, as paths relative to ``folder``; links to folders are followed.

    Raises:
        InputError: a name that is no text: no file of a run could hold it.
    """
    for path in _below(folder, frozenset()):
        check_name(f"{folder}/{path}")
        yield path


def check_name(path: str) -> None:
    """Refuses the name of a file that no text can hold.

    Raises:
        InputError: it is not in UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the name of {path!a} is not in UTF-8. Rename it, or the folder that is so called "
            f"(convmv does so for many)."
        ) from error


def left_out(folder: Path) -> list[str]:
    """What in a folder of class folders looks meant for training and is not read, in words."""
    endings: Counter[str] = Counter()
    empty = []
    for directory, folders, names in os.walk(folder):
        seen = [name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name in seen if not _is_run(Path(directory) / name)]
        visible = [name for name in names if not name.startswith(".")]
        found = Counter(Path(name).suffix.lower() for name in visible)
        endings.update({ending: n for ending, n in found.items() if ending in OTHER_IMAGES})
        if not seen and not any(map(_is_candidate, visible)):
            empty.append(str(Path(directory).relative_to(folder)))
    said = []
    if endings:
        counts = ", ".join(f"{n} {ending}" for ending, n in endings.most_common())
        said.append(f"Not read, by their ending: {counts}. Convert them to JPEG or PNG.")
    if empty:
        said.append(f"Folders without an image that is read: {some_of(empty)}.")
    return said


def _below(folder: Path, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:  # a link back to a folder above
        return
    for name in _files_in(folder):
        if _is_candidate(name):
            yield name
    for name in _folders_in(folder):
        for path in _below(folder / name, above | {real}):
            yield f"{name}/{path}"


def _is_candidate(name: str) -> bool:
    return name.lower().endswith(IMAGE_ENDINGS)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except PermissionError as error:
        raise InputError(
            f"{folder} cannot be opened: permission denied. Allow reading it, or move it away."
        ) from error
    return sorted(visible, key=lambda entry: entry.name)


def _folders_in(folder: Path) -> list[str]:
    return [e.name for e in _entries(folder) if e.is_dir() and not _is_run(folder / e.name)]


def _is_run(folder: Path) -> bool:
    """Whether lacvit trained there: who works inside the data has `runs` beside the classes."""
    return all((folder / name).exists() for name in RUN_FILES)


def _files_in(folder: Path) -> list[str]:
    """Files, and links that point nowhere: these are found unreadable later, and named."""
    return [entry.name for entry in _entries(folder) if not entry.is_dir()]


def _refuse_flat_splits(folder: Path, images: dict[str, list[str]]) -> None:
    """``train/1.jpg`` and ``test/1.jpg``: splits by name, with no classes in them."""
    if len(images) > 1 and all(split_called(name) for name in images):
        raise InputError(
            f"{folder} holds {', '.join(images)} with images directly in them; a split holds one "
            f"folder for each class, such as {next(iter(images))}/cats/1.jpg. Sort the images "
            f"into class folders."
        )


def _loose_images(folder: Path, loose: Sequence[str]) -> str:
    count = "1 image lies" if len(loose) == 1 else f"{len(loose)} images lie"
    return (
        f"{count} directly in {folder}, in no class folder: {some_of(loose)}. Every image must "
        f"lie in a folder named for its class, such as {folder.name}/cats/1.jpg. "
        f"Move or remove what lies outside."
    )


def _nothing_found(folder: Path) -> str:
    endings = Counter(
        Path(name).suffix.lower() for _, _, names in os.walk(folder) for name in names
    )
    seen = [f"{n} {ending or 'without an ending'}" for ending, n in endings.most_common(3)]
    return (
        f"no images found in {folder}: files end in {', '.join(IMAGE_ENDINGS)}, and lie in a "
        f"folder named for their class, such as {folder.name}/cats/1.jpg. "
        f"Found instead: {', '.join(seen) or 'no files at all'}."
    )

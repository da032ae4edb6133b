"""The images that the settings name: read, checked, split, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lacvit.config import DataSettings, RunSettings
from lacvit.data.decoding import decoding_threads
from lacvit.data.faults import drop_unreadable, find_unreadable
from lacvit.data.held_out import hold_out
from lacvit.data.readers import describe, notices, read_data
from lacvit.data.records import ImageRecords, some_of
from lacvit.data.splits import Fold, Splits, make_splits, split_manifest
from lacvit.errors import InputError
from lacvit.training.logs import Progress

MOST_LOOKED_AT = 100  # images that are new since a run: are they readable at all?


@dataclass(frozen=True)
class Readable:
    """All images of some data that can be read, split by split as they lie there."""

    by_split: Mapping[str, ImageRecords]
    notices: tuple[str, ...]


def read_splits(settings: RunSettings, progress: Progress) -> Splits:
    """The three splits of the data that the settings name, unreadable images left out.

    Raises:
        InputError: no data named, or nothing usable in it; a class to be held out that is not
            there.
    """
    return divide(read_images(settings, progress), settings, progress)


def read_images(settings: RunSettings, progress: Progress) -> Readable:
    """The data that the settings name, every image decoded once to find the unreadable ones.

    Raises:
        InputError: no data named, or nothing usable in it.
    """
    data = settings.data
    by_split = listed_images(data)
    workers = decoding_threads() if settings.workers == "auto" else settings.workers
    readable = {
        name: _readable(records, workers, data.strict, progress)
        for name, records in by_split.items()
    }
    for line in describe(readable):
        progress.message(line)
    return Readable(readable, notices(str(data.path), data.root, by_split))


def divide(readable: Readable, settings: RunSettings, progress: Progress) -> Splits:
    """The three splits that the settings make of images that were read.

    Raises:
        InputError: too few images of a class; a class to be held out that is not there.
    """
    data = settings.data
    kept = dict(readable.by_split)
    held_out: tuple[ImageRecords, ...] = ()
    if data.hold_out_classes is not None:
        kept, held_out = hold_out(kept, data.hold_out_classes, data.split_seed)
        names = some_of(held_out[0].class_names)
        progress.message(f"Held out: {names}, {sum(map(len, held_out))} images, to measure only.")
    splits = make_splits(
        kept,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        split_seed=data.split_seed,
        shots=data.shots,
        seed=settings.seed,
        fold=_fold(data),
    )
    said = readable.notices
    if splits.validation_trains:
        said += (
            "Validation images train too (data.validation_fraction is 0): what is told of "
            "validation is told of images that trained.",
        )
    splits = replace(splits, notices=said, held_out=held_out)
    counts = ", ".join(f"{len(records)} to {name}" for name, records in splits.items())
    progress.message(f"Split: {counts}.")
    return splits


def listed_images(data: DataSettings) -> dict[str, ImageRecords]:
    """The data that the settings name, split by split as it lies there; no image is decoded.

    Raises:
        InputError: no data named, or nothing usable in it.
    """
    if data.path is None:
        raise InputError(
            "No images are named. Give a folder of class folders or a Parquet file, or a set's "
            "name with --root: lacvit train DATA, or data.path in the recipe."
        )
    return read_data(data.path, data.root)


def changed_since(data: DataSettings, manifest: Mapping[str, Any]) -> str:
    """What became of the images of a run since its ``data.json``, by their names; empty if nothing.

    Few shots say nothing of the images that were not drawn.
    """
    held_out = manifest.get("held_out", {}).get("paths", ())
    known = {path for paths in manifest["paths"].values() for path in paths} | set(held_out)
    try:
        by_split = listed_images(data)
    except InputError as fault:
        return f"Its images cannot be read any more: {fault}"
    gone = known - {path for records in by_split.values() for path in records.paths}
    said = [f"{len(gone)} of its images are gone ({some_of(sorted(gone))})"] if gone else []
    new: list[str] = []
    for records in by_split.values() if data.shots is None else ():
        chosen = [i for i, path in enumerate(records.paths) if path not in known][:MOST_LOOKED_AT]
        faults, _ = find_unreadable(records.select(chosen), decoding_threads())
        unreadable = {fault.path for fault in faults}
        new += [records.paths[i] for i in chosen if records.paths[i] not in unreadable]
    if new:
        said.append(f"others are there that it had not ({some_of(new)})")
    return f"Since then {' and '.join(said)}." if said else ""


def _readable(
    records: ImageRecords, workers: int, strict: bool, progress: Progress
) -> ImageRecords:
    faults, decoded = find_unreadable(records, workers)
    readable = drop_unreadable(decoded, faults, strict)
    for fault in faults[:5]:
        progress.message(f"Skipped {fault.path}: {fault.reason}.")
    if faults:
        progress.message(f"Skipped {len(faults)} unreadable of {len(records)} images.")
    return readable


def _fold(data: DataSettings) -> Fold | None:
    if data.folds in (None, 1):
        return None
    return Fold(data.folds, data.fold or 0, data.fold_repeat or 0)


def data_manifest(settings: RunSettings, splits: Splits) -> dict[str, object]:
    """What ``data.json`` says."""
    data = settings.data
    return {"root": data.path, "set_root": data.root, **split_manifest(splits)}

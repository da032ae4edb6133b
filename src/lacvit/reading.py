"""The images that the settings name: read, checked, split, and recorded."""

from __future__ import annotations

from dataclasses import replace

from lacvit.config import RunSettings
from lacvit.data.faults import drop_unreadable, find_unreadable
from lacvit.data.readers import describe, notices, read_data
from lacvit.data.splits import Splits, make_splits, split_manifest
from lacvit.errors import InputError
from lacvit.training.logs import Progress


def read_splits(settings: RunSettings, progress: Progress) -> Splits:
    """The three splits of the data that the settings name, unreadable images left out.

    Raises:
        InputError: no data named, or nothing usable in it.
    """
    data = settings.data
    if data.path is None:
        raise InputError(
            "No images are named. Give a folder of class folders or a Parquet file, or a set's "
            "name with --root: lacvit train DATA, or data.path in the recipe."
        )
    by_split = read_data(data.path, data.root)
    workers = 2 if settings.workers == "auto" else settings.workers
    readable = {}
    for name, records in by_split.items():
        faults = find_unreadable(records, workers)
        readable[name] = drop_unreadable(records, faults, data.strict)
        for fault in faults[:5]:
            progress.message(f"Skipped {fault.path}: {fault.reason}.")
        if faults:
            progress.message(f"Skipped {len(faults)} unreadable of {len(records)} images.")
    for line in describe(readable):
        progress.message(line)
    splits = make_splits(
        readable,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        split_seed=data.split_seed,
        shots=data.shots,
        seed=settings.seed,
    )
    splits = replace(splits, notices=notices(data.path, data.root, by_split))
    counts = ", ".join(f"{len(records)} to {name}" for name, records in splits.items())
    progress.message(f"Split: {counts}.")
    return splits


def data_manifest(settings: RunSettings, splits: Splits) -> dict[str, object]:
    """What ``data.json`` says."""
    data = settings.data
    return {"root": data.path, "set_root": data.root, **split_manifest(splits)}

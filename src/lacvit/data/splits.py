"""Train, validation and test: taken as they are, or drawn, stratified and repeatable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lacvit.data.records import ImageRecords, some_of
from lacvit.errors import InputError

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets with the same class names; none of them is empty.

    ``notices`` is what the user should know of the data at the start and in the report.
    """

    train: ImageRecords
    validation: ImageRecords
    test: ImageRecords
    notices: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    def items(self) -> tuple[tuple[str, ImageRecords], ...]:
        """``(name, records)`` of each."""
        return ("train", self.train), ("validation", self.validation), ("test", self.test)


def make_splits(
    by_split: dict[str, ImageRecords],
    *,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    shots: int | None = None,
    seed: int = 0,
) -> Splits:
    """Three splits of what ``read_data`` gives.

    A split that is there is taken as it is. A missing test split is drawn from the train images,
    then a missing validation split from the rest: the given share of each class, at least one.
    What is drawn depends on ``split_seed`` and the images' paths alone, so that adding an image
    moves no other.

    With ``shots``, ``shots`` images a class are drawn for training, and as many again for
    validation (what is left of the class where that is less, at least one), by ``seed`` and the
    paths alone; the validation images come from the validation split if the data has one. The
    test split stays whole.

    Raises:
        InputError: no train images, one class only, a class with too few images.
    """
    for name, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 < fraction < 1:
            raise InputError(
                f"the {name} fraction is {fraction}; it must lie between 0 and 1. "
                f"Set data.{name}_fraction, such as 0.2."
            )
    pool = _pool(by_split)
    validation, test = by_split.get("validation"), by_split.get("test")
    _check_counts(pool, draws_test=test is None, draws_validation=validation is None, shots=shots)
    if test is None:
        rank = _ranks(pool, f"test {split_seed}")
        drawn = rank < _share(pool, test_fraction, leave=(shots or 1) + (validation is None))
        pool, test = pool.select(np.flatnonzero(~drawn)), pool.select(np.flatnonzero(drawn))
    if shots is not None:
        return _few_shot(pool, validation, test, shots, seed)
    if validation is None:
        rank = _ranks(pool, f"validation {split_seed}")
        drawn = rank < _share(pool, validation_fraction, leave=1)
        pool, validation = pool.select(np.flatnonzero(~drawn)), pool.select(np.flatnonzero(drawn))
    return Splits(pool, validation, test)


def split_manifest(splits: Splits) -> dict[str, Any]:
    """What ``data.json`` keeps: fingerprint, class names, counts, and each split's paths."""
    whole = hashlib.sha256()
    for _, records in splits.items():
        whole.update(records.fingerprint.encode())
    return {
        "fingerprint": whole.hexdigest(),
        "class_names": list(splits.class_names),
        "counts": {
            name: dict(zip(records.class_names, records.counts().tolist(), strict=True))
            for name, records in splits.items()
        },
        "paths": {name: list(records.paths) for name, records in splits.items()},
    }


def _pool(by_split: dict[str, ImageRecords]) -> ImageRecords:
    for name in ("train", "all"):
        if name in by_split:
            return by_split[name]
    raise InputError(
        f"the data has {' and '.join(by_split) or 'no split at all'}, but no train split. "
        f"Add a folder or file named train, or give the folder of class folders itself."
    )


def _check_counts(
    pool: ImageRecords, *, draws_test: bool, draws_validation: bool, shots: int | None
) -> None:
    """Every class must be large enough for what is drawn from it; all faults are told at once."""
    if len(pool.class_names) < 2:
        raise InputError(
            f"the data has one class, {some_of(pool.class_names)}; at least 2 are needed to tell "
            f"images apart. Give the folder that holds the class folders, or add a class."
        )
    if shots is not None and shots < 1:
        raise InputError(
            f"shots is {shots}; it must be at least 1. Set --shots 10, or leave it out."
        )
    uses = [f"{shots or 1} to train on"]
    uses += ["one to validate on"] if draws_validation else []
    uses += ["one to test on"] if draws_test else []
    needed = (shots or 1) + len(uses) - 1
    counts = pool.counts()
    small = np.flatnonzero(counts < needed)
    if len(small):
        named = [f"{pool.class_names[i]} has {counts[i]}" for i in small]
        raise InputError(
            f"too few images: {some_of(named)}; a class needs at least {needed} "
            f"({', '.join(uses)}). Add images, "
            + ("ask for fewer --shots, " if shots and shots > 1 else "")
            + "or take the class out."
        )


def _share(pool: ImageRecords, fraction: float, *, leave: int) -> Positions:
    """For each image, how many of its class are drawn: the share, at least 1, leaving some."""
    counts = pool.counts()
    drawn = np.floor(counts * fraction + 0.5).astype(np.int64)
    drawn = np.clip(drawn, 1, np.maximum(counts - leave, 1))
    return np.asarray(drawn[pool.labels], dtype=np.int64)


def _ranks(records: ImageRecords, purpose: str) -> Positions:
    """Each image's place among those of its class, shuffled by the purpose and the paths alone."""
    keys = np.array(
        [
            int.from_bytes(
                hashlib.sha256(f"{purpose}\0{path}".encode("utf-8", "surrogateescape")).digest()[:8]
            )
            for path in records.paths
        ],
        dtype=np.uint64,
    )
    order = np.lexsort((np.arange(len(keys)), keys, records.labels))
    starts = np.concatenate([[0], np.cumsum(records.counts())[:-1]])
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.arange(len(keys)) - starts[records.labels[order]]
    return ranks


def _few_shot(
    pool: ImageRecords,
    validation: ImageRecords | None,
    test: ImageRecords,
    shots: int,
    seed: int,
) -> Splits:
    rank = _ranks(pool, f"shots {seed}")
    train = pool.select(np.flatnonzero(rank < shots))
    if validation is None:
        later = np.flatnonzero((rank >= shots) & (rank < 2 * shots))
        return Splits(train, pool.select(later), test)
    chosen = np.flatnonzero(_ranks(validation, f"shots {seed}") < shots)
    return Splits(train, validation.select(chosen), test)

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
WATCHED = 0.2  # share of the training images that validation shows where every image trains


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets with the same class names; none is empty, but test where it was waived.

    Where validation was waived, some of the training images stand in it, to be watched.

    ``notices`` is what the user should know of the data at the start and in the report.
    ``held_out`` are images of classes that are in none of the three; they have names of their own.
    """

    train: ImageRecords
    validation: ImageRecords
    test: ImageRecords
    notices: tuple[str, ...] = ()
    held_out: tuple[ImageRecords, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    def items(self) -> tuple[tuple[str, ImageRecords], ...]:
        """``(name, records)`` of each."""
        return ("train", self.train), ("validation", self.validation), ("test", self.test)

    @property
    def validation_trains(self) -> bool:
        """Whether validation images train too, so that they say nothing of new ones."""
        return not set(self.validation.paths).isdisjoint(self.train.paths)


@dataclass(frozen=True)
class Fold:
    """One of the parts that test in turn: number ``number``, from 0, of ``count``.

    ``repeat`` draws the partition: the folds of one repeat test each image once, and those of
    another repeat do it in other company.

    Raises:
        InputError: fewer than two folds, a number that none of them has.
    """

    count: int
    number: int = 0
    repeat: int = 0

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"data.folds is {self.count}; give at least 2.")
        if not 0 <= self.number < self.count:
            raise InputError(
                f"data.fold is {self.number}, and {self.count} folds (data.folds) are numbered "
                f"from 0 to {self.count - 1}. Give one of these."
            )


def make_splits(
    by_split: dict[str, ImageRecords],
    *,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    shots: int | None = None,
    seed: int = 0,
    fold: Fold | None = None,
) -> Splits:
    """Three splits of what ``read_data`` gives.

    A split that is there is taken as it is. A missing test split is drawn from the train images,
    then a missing validation split from the rest: the given share of each class, at least one.
    What is drawn depends on ``split_seed`` and the images' paths alone, so that adding an image
    moves no other. A ``test_fraction`` of 0 waives the test split: every image may train. A
    ``validation_fraction`` of 0 waives the other: `WATCHED` of the training images are looked at
    in its place.

    With ``fold``, that fold of the images tests in place of the share. Folds are disjoint and
    together everything; each has its part of every class, to within one image.

    With ``shots``, ``shots`` images a class are drawn for training, and as many again for
    validation (what is left of the class where that is less, at least one), by ``seed`` and the
    paths alone; the validation images come from the validation split if the data has one. The
    test split stays whole.

    Raises:
        InputError: no train images, one class only, a class with too few images, folds where the
            data has its own test split.
    """
    _check_fractions(validation_fraction, test_fraction)
    pool = _pool(by_split)
    validation, test = by_split.get("validation"), by_split.get("test")
    draws = validation is None and (shots is not None or validation_fraction > 0)
    if test is not None and fold is not None:
        raise InputError(
            "the data has a test split of its own, so data.folds has nothing to divide. "
            "Leave it out."
        )
    if test is None:
        leave = (shots or 1) + draws  # of each class, beside its test images
        if fold is not None:
            _check_folds(pool, fold, leave)
            drawn = _folds(pool, fold, split_seed) == fold.number
        else:
            _check_counts(pool, test_fraction > 0, draws, shots)
            drawn = _test_share(pool, test_fraction, leave, split_seed)
        pool, test = pool.select(np.flatnonzero(~drawn)), pool.select(np.flatnonzero(drawn))
    else:
        _check_counts(pool, False, draws, shots)
    if shots is not None:
        return _few_shot(pool, validation, test, shots, seed)
    if validation is None:
        rank = _ranks(pool, f"validation {split_seed}")
        drawn = rank < _share(pool, validation_fraction or WATCHED, leave=1)
        validation = pool.select(np.flatnonzero(drawn))
        if validation_fraction > 0:
            pool = pool.select(np.flatnonzero(~drawn))
    return Splits(pool, validation, test)


def split_manifest(splits: Splits) -> dict[str, Any]:
    """What ``data.json`` keeps: fingerprint, class names, counts, and each split's paths.

    ``held_out`` names the classes that were never trained on, with their paths, if there are any.
    """
    whole = hashlib.sha256()
    for records in (*(records for _, records in splits.items()), *splits.held_out):
        whole.update(records.fingerprint.encode())
    return {
        "fingerprint": whole.hexdigest(),
        "class_names": list(splits.class_names),
        "counts": {
            name: dict(zip(records.class_names, records.counts().tolist(), strict=True))
            for name, records in splits.items()
        },
        "paths": {name: list(records.paths) for name, records in splits.items()},
        **_held_out_manifest(splits.held_out),
    }


def _held_out_manifest(held_out: tuple[ImageRecords, ...]) -> dict[str, Any]:
    if not held_out:
        return {}
    paths = [path for records in held_out for path in records.paths]
    return {"held_out": {"class_names": list(held_out[0].class_names), "paths": paths}}


def _pool(by_split: dict[str, ImageRecords]) -> ImageRecords:
    for name in ("train", "all"):
        if name in by_split:
            return by_split[name]
    raise InputError(
        f"the data has {' and '.join(by_split) or 'no split at all'}, but no train split. "
        f"Add a folder or file named train, or give the folder of class folders itself."
    )


def fewest_images(folds: int, *, leave: int) -> int:
    """Images that a class needs so that each of the folds has one and leaves ``leave`` others."""
    # A fold takes ceil(n / folds) of n images at most.
    return max(folds, leave + -(-leave // (folds - 1)))


def _folds(pool: ImageRecords, fold: Fold, split_seed: int) -> Positions:
    """Each image's fold. A class is cut into runs of equal length, to within one image.

    Which folds get the longer runs turns with the class, so that the folds are as large as one
    another over all classes too.
    """
    rank = _ranks(pool, f"folds {split_seed} {fold.repeat}")
    place = rank * fold.count // pool.counts()[pool.labels]
    return np.asarray((place + pool.labels) % fold.count, dtype=np.int64)


def _check_fractions(validation: float, test: float) -> None:
    if not 0 <= validation < 1:
        raise InputError(
            f"the validation fraction is {validation}; it must be 0 (every image trains) or lie "
            f"between 0 and 1. Set data.validation_fraction, such as 0.2."
        )
    if not 0 <= test < 1:
        raise InputError(
            f"the test fraction is {test}; it must be 0 (every image may train) or lie between "
            f"0 and 1. Set data.test_fraction, such as 0.2."
        )


def _check_classes(pool: ImageRecords) -> None:
    if len(pool.class_names) < 2:
        raise InputError(
            f"the data has one class, {some_of(pool.class_names)}; at least 2 are needed to tell "
            f"images apart. Give the folder that holds the class folders, or add a class."
        )


def _check_folds(pool: ImageRecords, fold: Fold, leave: int) -> None:
    _check_classes(pool)
    needed, counts = fewest_images(fold.count, leave=leave), pool.counts()
    small = np.flatnonzero(counts < needed)
    if len(small):
        named = [f"{pool.class_names[i]} has {counts[i]}" for i in small]
        raise InputError(
            f"too few images for {fold.count} folds: {some_of(named)}; a class needs at least "
            f"{needed}, one in each fold and {leave} beside any fold to train and validate on. "
            f"Set fewer data.folds, add images, or take the class out."
        )


def _check_counts(
    pool: ImageRecords, draws_test: bool, draws_validation: bool, shots: int | None
) -> None:
    """Every class must be large enough for what is drawn from it; all faults are told at once."""
    _check_classes(pool)
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


def _test_share(
    pool: ImageRecords, fraction: float, leave: int, split_seed: int
) -> npt.NDArray[np.bool_]:
    if fraction == 0:
        return np.zeros(len(pool), dtype=bool)
    return _ranks(pool, f"test {split_seed}") < _share(pool, fraction, leave=leave)


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

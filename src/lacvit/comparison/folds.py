"""Tiny data: folds that test in turn, in place of a test split that would settle nothing.

A repeat (which takes the place that a seed has elsewhere) is one partition of the images into
folds. Every method trains once without each fold and is tested on it, so that a repeat tests every
image once, by models that never saw it.

Shape letters: R repeats, N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.comparison.answers import RunAnswers, digest_of
from lacvit.comparison.plan import Request
from lacvit.config import DataSettings, make_settings
from lacvit.data.held_out import hold_out
from lacvit.data.splits import fewest_images
from lacvit.errors import InputError
from lacvit.metrics.significance import PairedDifference, fold_accuracy_interval, fold_difference
from lacvit.reading import listed_images
from lacvit.training.logs import Progress

FEWEST_TESTED = 20  # test images of a class, below which folds are used
MOST_FOLDS = 5


@dataclass(frozen=True)
class Size:
    """What decides between one test split and folds."""

    smallest: int  # images of the smallest class
    tested: int  # of these, in an ordinary test split
    beside: int  # images of each class that must be left to train and validate on
    own_test: bool


def settle_folds(
    given: Mapping[str, object], request: Request, earlier: Mapping[str, Any], progress: Progress
) -> Request:
    """The request with the number of folds that the data calls for, and says so.

    Few images are: no test split given, and fewer than 20 test images in a class to be had from
    it. ``data.folds`` decides by hand; 1 is one split. A comparison that goes on (``earlier``, its
    figures) keeps the design that it began with.

    Raises:
        InputError: data that cannot be read; no image to test on; other folds set by hand than
            those that the comparison began with.
    """
    data = make_settings(recipe=given).data
    if earlier:
        return replace(request, folds=_same_folds(earlier.get("folds"), data, request.output))
    size = size_of(data, request.shots)
    folds = choose_folds(data.folds, size)
    if folds is None and data.test_fraction == 0 and not size.own_test:
        raise InputError(
            "data.test_fraction is 0, which leaves no image to compare on. Leave it out, or set "
            "data.folds=5, by which every image is tested."
        )
    if folds is not None:
        progress.message(
            f"There is no test split, and the smallest class has {size.smallest} images, of which "
            f"{size.tested} would test: {folds} folds instead, each image tested once per repeat, "
            f"by models that never saw it; {request.seeds} repeats. "
            f"--set data.folds=1 keeps one split."
        )
    return replace(request, folds=folds)


def _same_folds(there: int | None, data: DataSettings, output: Path) -> int | None:
    if data.folds not in (None, there or 1):
        raise InputError(
            f"The comparison in {output} began with "
            f"{f'{there} folds' if there else 'one test split'}, and data.folds is {data.folds}. "
            f"Leave it out to go on, or choose a new folder with --output."
        )
    return there


def size_of(data: DataSettings, shots: Sequence[int | None]) -> Size:
    """Counts the images of the data that the settings name; none is decoded.

    Raises:
        InputError: data that cannot be read, or a class to hold out that is not there.
    """
    by_split = listed_images(data)
    if data.hold_out_classes is not None:
        by_split, _ = hold_out(by_split, data.hold_out_classes, data.split_seed)
    pool = by_split.get("train", by_split.get("all"))
    smallest = int(pool.counts().min()) if pool is not None else 0
    return Size(
        smallest=smallest,
        tested=int(smallest * data.test_fraction + 0.5),
        beside=max(number or 1 for number in shots) + ("validation" not in by_split),
        own_test="test" in by_split,
    )


def choose_folds(asked: int | None, size: Size) -> int | None:
    """How many folds; None is one split. At most five, and as many as the smallest class allows.

    ``asked`` is what the user set, which decides where there is something to decide.
    """
    if asked is not None:
        return None if asked == 1 else asked
    if size.own_test or size.tested >= FEWEST_TESTED:
        return None
    fit = (
        folds
        for folds in range(MOST_FOLDS, 1, -1)
        if fewest_images(folds, leave=size.beside) <= size.smallest
    )
    return next(fit, None)


def put_together(runs: Sequence[RunAnswers], folds: int) -> list[RunAnswers]:
    """One `RunAnswers` for each method and repeat of which every fold has ended.

    Raises:
        InputError: an image was tested by two folds, so the data changed in between.
    """

    def repeat(run: RunAnswers) -> tuple[str, int]:
        return run.method, run.seed

    whole = []
    for _, group in groupby(sorted(runs, key=repeat), key=repeat):
        parts = sorted(group, key=lambda part: part.fold or 0)
        if {part.fold for part in parts} == set(range(folds)):
            whole.append(_as_one(parts))
    return whole


def _as_one(parts: Sequence[RunAnswers]) -> RunAnswers:
    paths = [path for part in parts for path in part.paths]
    labels = [label for part in parts for label in part.labels]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    paths, labels = [paths[i] for i in order], [labels[i] for i in order]
    twice = next((path for path, after in pairwise(paths) if path == after), None)
    if twice is not None:
        raise InputError(
            f"{parts[0].folder} and its other folds tested {twice} twice: the data changed in "
            f"between. Choose a new folder with --output."
        )
    correct_N = np.concatenate([part.correct_N for part in parts])[order]
    return replace(
        parts[0],
        accuracy=float(correct_N.mean()),
        validation_accuracy=float(np.mean([part.validation_accuracy for part in parts])),
        seconds=sum(part.seconds for part in parts),
        fingerprint=" ".join(part.fingerprint for part in parts),
        test_images=digest_of(paths, labels),
        paths=tuple(paths),
        labels=tuple(labels),
        correct_N=correct_N,
        fold_N=np.concatenate([part.fold_N for part in parts])[order],
        learned_from=sum(part.learned_from for part in parts),  # over all folds, as the tests are
        fold=None,
    )


def folds_of(repeats: Sequence[RunAnswers], seeds: Sequence[int]) -> NDArray[np.int64]:
    """(R, N): which fold tested each image under each of the seeds, for every method alike.

    Raises:
        InputError: two methods were tested in other folds.
    """
    fold_RN = []
    for seed in seeds:
        first, *others = [run for run in repeats if run.seed == seed]
        for other in others:
            if (other.fold_N != first.fold_N).any():
                raise InputError(
                    f"{first.folder} and {other.folder} do not compare: their folds hold other "
                    f"images. The data changed in between: choose a new folder with --output."
                )
        fold_RN.append(first.fold_N)
    return np.stack(fold_RN)


def out_of_fold(answers: Sequence[RunAnswers], folds: int) -> str:
    """What the folds found of one method, in words: for a model that is trained on all images."""
    whole = put_together(answers, folds)
    if not whole:
        return f"In none of its repeats have all {folds} folds ended, so nothing tested it"
    seeds = sorted(run.seed for run in whole)
    correct_RN = np.stack([run.correct_N for run in sorted(whole, key=lambda run: run.seed)])
    low, high = repeats_interval(correct_RN, whole, seeds)
    repeats = "one repeat" if len(seeds) == 1 else f"each of {len(seeds)} repeats"
    return (
        f"Out of {folds} folds its method named {100 * correct_RN.mean():.1f} % of "
        f"{correct_RN.shape[1]} images rightly (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f}), each tested once in {repeats} by a model that had not seen it"
    )


def repeats_interval(
    correct_RN: NDArray[np.bool_], repeats: Sequence[RunAnswers], seeds: Sequence[int]
) -> tuple[float, float]:
    """95 % interval of a method's accuracy, of what the runs say of their folds."""
    first = repeats[0]
    return fold_accuracy_interval(
        correct_RN, folds_of(repeats, seeds), overlap=len(first.paths) / first.learned_from
    )


def compare_repeats(
    correct_a_RN: NDArray[np.bool_],
    correct_b_RN: NDArray[np.bool_],
    repeats: Sequence[RunAnswers],
    seeds: Sequence[int],
    margin: float,
) -> PairedDifference:
    """As `lacvit.metrics.significance.fold_difference`, of what the runs say of their folds."""
    first = repeats[0]
    return fold_difference(
        correct_a_RN,
        correct_b_RN,
        folds_of(repeats, seeds),
        overlap=len(first.paths) / first.learned_from,
        margin=margin,
    )

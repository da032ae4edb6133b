"""How good predictions are: accuracy with its interval, confusion, scores of each class.

Shape letters: N images, C classes. Labels and predictions are class numbers from 0 to C-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from lacvit.errors import InputError

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassScores:
    """Arrays (C,), one number a class in the order of the class numbers; 0/0 counts as 0."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]


def accuracy(labels_N: Ints, predictions_N: Ints) -> float:
    """Share of images whose prediction is their label (Accuracy@1), 0 to 1.

    Raises:
        InputError: no image, or lengths that differ.
    """
    _check_pair(labels_N, predictions_N)
    return float(np.mean(labels_N == predictions_N))


def confusion_matrix(labels_N: Ints, predictions_N: Ints, n_classes: int) -> NDArray[np.int64]:
    """Counts (C, C), int64: row the true class, column the predicted one. The sum is N.

    Raises:
        InputError: no image, lengths that differ, a number outside 0 to n_classes - 1.
    """
    _check_pair(labels_N, predictions_N, n_classes)
    counts_CC = metrics.confusion_matrix(labels_N, predictions_N, labels=np.arange(n_classes))
    return np.asarray(counts_CC, dtype=np.int64)


def per_class(labels_N: Ints, predictions_N: Ints, n_classes: int) -> ClassScores:
    """Precision TP/(TP+FP), recall TP/(TP+FN), F1 = 2TP/(2TP+FP+FN) and support TP+FN.

    0/0 counts as 0, scikit-learn's convention: precision of a class never predicted, recall of a
    class without images (its support, 0, tells), F1 of a class that is neither.

    Raises:
        InputError: no image, lengths that differ, a number outside 0 to n_classes - 1.
    """
    _check_pair(labels_N, predictions_N, n_classes)
    scores = metrics.precision_recall_fscore_support(
        labels_N, predictions_N, labels=np.arange(n_classes), zero_division=0.0
    )
    return ClassScores(*scores)


def macro_f1(labels_N: Ints, predictions_N: Ints) -> float:
    """Mean F1 over the classes that occur among labels or predictions, each with equal weight.

    A class that occurs in neither says nothing about the model and is not counted; one that is
    predicted without occurring counts as 0 (scikit-learn's convention).

    Raises:
        InputError: no image, or lengths that differ.
    """
    _check_pair(labels_N, predictions_N)
    return float(metrics.f1_score(labels_N, predictions_N, average="macro", zero_division=0.0))


def wilson_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for a share, (low, high) within 0 to 1 (Wilson 1927).

    ``(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`` with n = total,
    p = correct / n and z the normal quantile of (1 + level) / 2. It speaks of the test images
    alone: training again with another seed moves the accuracy as well.

    Raises:
        InputError: total below 1, correct outside 0 to total, level outside 0 to 1.
    """
    if total < 1 or not 0 <= correct <= total:
        raise InputError(
            f"{correct} correct of {total}: expected at least 1 image and 0 to {total} correct."
        )
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected a number between 0 and 1, such as 0.95.")
    interval = stats.binomtest(correct, total).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def _check_pair(labels_N: Ints, predictions_N: Ints, n_classes: int | None = None) -> None:
    if labels_N.ndim != 1 or labels_N.shape != predictions_N.shape or len(labels_N) == 0:
        raise InputError(
            f"labels have shape {labels_N.shape} and predictions {predictions_N.shape}; expected "
            "two arrays (N,) of one length, with at least one image."
        )
    if n_classes is None:
        return
    for name, values_N in (("label", labels_N), ("prediction", predictions_N)):
        outside_N = (values_N < 0) | (values_N >= n_classes)
        if outside_N.any():
            row = int(np.flatnonzero(outside_N)[0])
            raise InputError(f"{name} {row} is {values_N[row]}; allowed: 0 to {n_classes - 1}.")

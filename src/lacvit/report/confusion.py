"""Which class is taken for which.

Shape letters: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from lacvit.metrics.classification import confusion_matrix
from lacvit.report.record import Integers, Predictions


@dataclass(frozen=True)
class Pair:
    """`count` images of `label` were predicted as `prediction`: that `share` of the label's."""

    label: str
    prediction: str
    count: int
    share: float


def counts(predictions: Predictions) -> Integers:
    """Entry (i, j): how many images of class i were predicted as class j."""
    return confusion_matrix(
        predictions.labels_N, predictions.predictions_N, len(predictions.class_names)
    )


def side_by_side(counts_CC: Integers) -> Integers:
    """An order of the classes in which those that are confused stand near each other.

    The leaves of a tree by average linkage, turned so that neighbours are close.
    """
    shares_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    distances_CC = 1 - (shares_CC + shares_CC.T) / 2
    np.fill_diagonal(distances_CC, 0)
    tree = linkage(squareform(distances_CC, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree)


def most_confused(predictions: Predictions, limit: int) -> list[Pair]:
    """The off-diagonal cells with most images; ties in class order."""
    counts_CC = counts(predictions)
    totals_C = counts_CC.sum(axis=1)
    wrong_CC = counts_CC.copy()
    np.fill_diagonal(wrong_CC, 0)
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:limit]
    names = predictions.class_names
    return [
        Pair(names[i], names[j], int(wrong_CC[i, j]), float(wrong_CC[i, j] / totals_C[i]))
        for i, j in zip(*np.unravel_index(order, wrong_CC.shape), strict=True)
        if wrong_CC[i, j] > 0
    ]

"""Telling images of no known class: scores that fall on them, and how well they tell.

Shape letters: N known images, M unknown ones, T training rows, D dimensions, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_probabilities
from lacvit.metrics.neighbours import nearest_rows

Rows = NDArray[np.floating]
Floats = NDArray[np.float64]

NEIGHBOURS = 50


def novelty_auroc(known_N: Rows, unknown_M: Rows) -> float:
    """The chance that a known image scores above an unknown one, ties counting one half; 0 to 1.

    The area under the ROC curve by ranks (Mann and Whitney): 0.5 says that the score tells
    nothing, below it that it tells the wrong way round. It does not depend on how many of each
    there are, nor on any monotone change of the score.

    Args:
        known_N: scores of images of the classes, higher meaning more familiar.
        unknown_M: the same score of other images.

    Raises:
        InputError: arrays that are not (N,) and (M,) with at least one finite number each.
    """
    known_N, unknown_M = np.asarray(known_N), np.asarray(unknown_M)
    for name, scores in (("known", known_N), ("unknown", unknown_M)):
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise InputError(
                f"{name} scores have shape {scores.shape}; expected one finite number an image, "
                "at least one."
            )
    n, m = len(known_N), len(unknown_M)
    rank_N = stats.rankdata(np.concatenate([known_N, unknown_M]))[:n]
    return float((rank_N.sum() - n * (n + 1) / 2) / (n * m))


def top_probability(probabilities_NC: Rows) -> Floats:
    """(N,): the largest softmax probability, 1 / C to 1 (Hendrycks and Gimpel 2017, 1610.02136).

    The baseline. It rests on the head; a network that is sure everywhere tells nothing by it.

    Raises:
        InputError: a row that is no distribution.
    """
    top_N: Floats = checked_probabilities(probabilities_NC).max(axis=1)
    return top_N


def neighbour_familiarity(
    train_features_TD: Rows, features_ND: Rows, *, k: int = NEIGHBOURS
) -> Floats:
    """(N,): the cosine with the k-th nearest training image, -1 to 1 (Sun et al. 2022, 2204.06507).

    On unit rows it orders images as the negative distance ``-sqrt(2 - 2 cosine)`` does. It rests
    on the embedding alone. With k above the size of a class it asks for other classes' images
    too: k far below it is safer for few images (the authors take 50 for CIFAR-10's 5,000).

    Raises:
        InputError: as `nearest_rows`.
    """
    return nearest_rows(train_features_TD, features_ND, k=k).cosine_NK[:, -1].astype(np.float64)

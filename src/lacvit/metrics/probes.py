"""Simple classifiers on frozen features: nearest class mean, and logistic regression on few images.

Shape letters: T training rows, N test rows, D dimensions, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_labels
from lacvit.metrics._passes import class_means, unit_rows
from lacvit.metrics.estimate import Estimate

Rows = NDArray[np.floating]

DRAWS = 10
STRENGTH = 1.0  # scikit-learn's C, on unit rows, as Tian et al. 2020 have it
ITERATIONS = 1000


def nearest_class_mean_accuracy(
    train_features_TD: Rows, train_labels_T: NDArray[Any], features_ND: Rows, labels_N: NDArray[Any]
) -> float:
    """Share of rows whose cosine is largest with the mean of their class's unit rows; 0 to 1.

    No parameter and no fit (Mensink et al. 2013; with cosines, the usual few-shot baseline). High
    where each class is one clump; a class of several clumps lowers it, not k-NN.

    Raises:
        InputError: dimensions or labels that do not fit, no row, a zero or non-finite row.
    """
    train_TD, query_ND = _both(train_features_TD, features_ND)
    classes_C, class_T = checked_labels(train_labels_T, len(train_TD))
    checked_labels(labels_N, len(query_ND))
    means_CD = class_means(train_TD, class_T)
    length_C1 = np.linalg.norm(means_CD, axis=1, keepdims=True)
    means_CD /= np.where(length_C1 > 0, length_C1, 1.0)  # opposite rows: a class without direction
    chosen_N = (query_ND @ means_CD.T.astype(query_ND.dtype)).argmax(axis=1)
    return float(np.mean(classes_C[chosen_N] == labels_N))


def few_shot_accuracy(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    labels_N: NDArray[Any],
    *,
    shots: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Mean accuracy of a linear probe on `shots` images a class, over seeded draws of them.

    Multinomial logistic regression by L-BFGS on unit rows, inverse L2 strength 1 (Tian et al. 2020,
    arXiv 2003.11539), nothing tuned: few labels leave none to tune on. Draw d is a function of
    (seed, d) and the labels alone, so that every embedding is probed on the same images. Bounds:
    0 to 1; chance is 1 / C.

    Returns:
        The mean over draws and its standard error over them (0 for one draw): the luck of the
        draw, not of the test images.

    Raises:
        InputError: a class with fewer than `shots` rows, one class, shots or draws below 1;
            dimensions or labels that do not fit, a zero or non-finite row.
    """
    train_TD, query_ND = _both(train_features_TD, features_ND)
    classes_C, class_T = checked_labels(train_labels_T, len(train_TD))
    checked_labels(labels_N, len(query_ND))
    counts_C = np.bincount(class_T)
    if shots < 1 or draws < 1 or len(classes_C) < 2 or counts_C.min() < shots:
        raise InputError(
            f"{shots} shots and {draws} draws from {len(classes_C)} classes, the smallest of "
            f"{counts_C.min()} rows; expected at least 1 of each, 2 classes, and no more shots "
            "than rows."
        )
    accuracies = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(class_T == c), shots, replace=False) for c in
             range(len(classes_C))]
        )  # fmt: skip
        model = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS)
        model.fit(train_TD[rows], class_T[rows])
        accuracies.append(float(np.mean(classes_C[model.predict(query_ND)] == labels_N)))
    error = np.std(accuracies, ddof=1) / np.sqrt(draws) if draws > 1 else 0.0
    return Estimate(float(np.mean(accuracies)), float(error))


def _both(train_features_TD: Rows, features_ND: Rows) -> tuple[Rows, Rows]:
    train_TD = unit_rows(train_features_TD, "training features", min_rows=1)
    query_ND = unit_rows(features_ND, min_rows=1)
    if train_TD.shape[1] != query_ND.shape[1]:
        raise InputError(
            f"training features have {train_TD.shape[1]} dimensions and features "
            f"{query_ND.shape[1]}; both must come from one encoder."
        )
    return train_TD, query_ND

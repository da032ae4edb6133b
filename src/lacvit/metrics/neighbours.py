"""Nearest neighbours: found exactly without the full matrix, and as a classifier.

As a classifier they tell what the embedding knows before any head is trained.

Shape letters: T training rows, N rows asked for, Q of a tile, D dimensions, K neighbours,
C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._passes import unit_rows

Rows = NDArray[np.floating]

QUERY_TILE, TRAIN_TILE = 1024, 2048  # 8 MB of float32 cosines at a time, 16 MB to sort them
SHARP = 0.07  # the temperature of Wu et al. 2018


class Neighbours(NamedTuple):
    """The nearest rows of each row asked for, nearest first."""

    cosine_NK: Rows
    row_NK: NDArray[np.int64]


def nearest_rows(train_features_TD: Rows, features_ND: Rows, *, k: int) -> Neighbours:
    """The k training rows of the largest cosine to each row, exactly.

    Cosines are made tile by tile (25 MB at a time), in float32, or float64 if either side is: time
    O(T N D), memory O((T + N) D + N k). Which of several equally near rows takes the k-th place is
    not specified, but repeatable.

    Args:
        train_features_TD: any floating dtype, no zero row; scale does not matter.
        features_ND: as the training features.
        k: neighbours; more than there are means all.

    Raises:
        InputError: dimensions that differ, no training row, a zero or non-finite row (its index
            is named), k below 1.
    """
    train_TD = unit_rows(train_features_TD, "training features")
    query_ND = unit_rows(features_ND)
    if train_TD.shape[1] != query_ND.shape[1]:
        raise InputError(
            f"training features have {train_TD.shape[1]} dimensions and features "
            f"{query_ND.shape[1]}; both must come from one encoder."
        )
    if not len(train_TD):
        raise InputError("0 training rows; expected at least one row and one label a row.")
    if k < 1:
        raise InputError(f"k is {k}; expected k >= 1.")
    return largest_products(train_TD, query_ND, min(k, len(train_TD)))


def knn_accuracy(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    labels_N: NDArray[Any],
    *,
    k: int = 20,
    temperature: float = SHARP,
) -> float:
    """Share of rows that `knn_predict` gets right, 0 to 1; arguments and errors as there."""
    found = knn_accuracies(
        train_features_TD, train_labels_T, features_ND, labels_N, ks=(k,), temperature=temperature
    )
    return found[k]


def knn_accuracies(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    labels_N: NDArray[Any],
    *,
    ks: Sequence[int] = (1, 5, 20),
    temperature: float = SHARP,
) -> dict[int, float]:
    """`knn_accuracy` for each k, from one search; arguments and errors as in `knn_predict`."""
    if np.shape(labels_N) != (len(features_ND),):
        raise InputError(
            f"{len(features_ND)} rows but labels of shape {np.shape(labels_N)}; "
            f"expected ({len(features_ND)},)."
        )
    predictions = _predictions(train_features_TD, train_labels_T, features_ND, ks, temperature)
    return {k: float(np.mean(predictions[k] == labels_N)) for k in ks}


def knn_predict(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    *,
    k: int = 20,
    temperature: float = SHARP,
) -> NDArray[Any]:
    """The label with the largest sum of ``exp(cosine / temperature)`` over the k nearest rows.

    Cosine similarity and weighted vote of Wu et al. 2018 (arXiv 1805.01978), with DINO's defaults.
    Exact, by `nearest_rows`. Equal votes go to the smallest label.

    Args:
        train_features_TD: any floating dtype, no zero row; scale does not matter.
        train_labels_T: any dtype that sorts: numbers or names.
        features_ND: as the training features.
        k: neighbours; more than T means all T.
        temperature: divides the cosines; lower trusts the nearest more.

    Returns:
        (N,), in the dtype of the training labels.

    Raises:
        InputError: shapes that do not fit, no training row, a zero or non-finite row (its index
            is named), k below 1, temperature not above 0.
    """
    return _predictions(train_features_TD, train_labels_T, features_ND, (k,), temperature)[k]


def _predictions(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    ks: Sequence[int],
    temperature: float,
) -> dict[int, NDArray[Any]]:
    if np.ndim(train_features_TD) == 2 and np.shape(train_labels_T) != (len(train_features_TD),):
        raise InputError(
            f"{len(train_features_TD)} training rows with labels of shape "
            f"{np.shape(train_labels_T)}; expected at least one row and one label a row."
        )
    if min(ks) < 1 or not temperature > 0:
        raise InputError(
            f"k is {min(ks)} and temperature {temperature}; expected k >= 1 and above 0."
        )
    cosine_NK, row_NK = nearest_rows(train_features_TD, features_ND, k=max(ks))
    classes_C, class_index_T = np.unique(train_labels_T, return_inverse=True)
    found: dict[int, NDArray[Any]] = {}
    for k in ks:
        chosen_N = np.empty(len(row_NK), dtype=np.int64)
        for start in range(0, len(row_NK), QUERY_TILE):
            tile = slice(start, start + QUERY_TILE)
            class_index_QK = class_index_T[row_NK[tile, :k]]
            votes_QC = _votes(cosine_NK[tile, :k], class_index_QK, len(classes_C), temperature)
            chosen_N[tile] = votes_QC.argmax(axis=1)
        found[k] = classes_C[chosen_N]
    return found


def largest_products(gallery_TD: Rows, query_ND: Rows, k: int, *, own: bool = False) -> Neighbours:
    """The k largest inner products of each query and their rows, largest first; no checks.

    `own`: the queries are the gallery, and a row does not find itself.
    """
    value_NK = np.empty((len(query_ND), k), np.result_type(gallery_TD, query_ND))
    row_NK = np.empty((len(query_ND), k), np.int64)
    for start in range(0, len(query_ND), QUERY_TILE):
        tile = slice(start, start + QUERY_TILE)
        first = start if own else None
        value_NK[tile], row_NK[tile] = _nearest(gallery_TD, query_ND[tile], k, first)
    return Neighbours(value_NK, row_NK)


def _nearest(gallery_TD: Rows, query_QD: Rows, k: int, first: int | None) -> Neighbours:
    """The same of one tile of queries; `first`: the gallery's row that is the tile's first."""
    best_QK = np.empty((len(query_QD), 0), np.result_type(gallery_TD, query_QD))
    row_QK = np.empty((len(query_QD), 0), np.int64)
    for start in range(0, len(gallery_TD), TRAIN_TILE):
        value_QT = query_QD @ gallery_TD[start : start + TRAIN_TILE].T
        if first is not None:
            query = np.arange(len(query_QD))
            column = query + first - start
            here = (column >= 0) & (column < value_QT.shape[1])
            value_QT[query[here], column[here]] = -np.inf
        found_QK, column_QK = _candidates(value_QT, best_QK, k)
        best_QK = np.hstack([best_QK, found_QK])
        row_QK = np.hstack([row_QK, column_QK + start])
        keep_QK = _largest(best_QK, k)
        best_QK = np.take_along_axis(best_QK, keep_QK, axis=1)
        row_QK = np.take_along_axis(row_QK, keep_QK, axis=1)
    order_QK = np.argsort(-best_QK, axis=1, kind="stable")
    return Neighbours(
        np.take_along_axis(best_QK, order_QK, axis=1), np.take_along_axis(row_QK, order_QK, axis=1)
    )


def _candidates(value_QT: Rows, best_QK: Rows, k: int) -> tuple[Rows, NDArray[np.int64]]:
    """Values and columns that can be among each row's k largest, padded with -inf.

    Once k are known, few columns of a tile pass the least of them: one comparison then costs a
    fifth of a partition.
    """
    if best_QK.shape[1] < k:
        column_QK = _largest(value_QT, k)
        return np.take_along_axis(value_QT, column_QK, axis=1), column_QK
    cell = np.flatnonzero(value_QT > best_QK.min(axis=1, keepdims=True))
    query, column = np.divmod(cell, value_QT.shape[1])
    count_Q = np.bincount(query, minlength=len(value_QT))
    place = np.arange(len(cell)) - np.repeat(np.cumsum(count_Q) - count_Q, count_Q)
    shape = (len(value_QT), int(count_Q.max()))
    found_QM = np.full(shape, -np.inf, value_QT.dtype)
    column_QM = np.zeros(shape, np.int64)
    found_QM[query, place] = value_QT[query, column]
    column_QM[query, place] = column
    return found_QM, column_QM


def _largest(values_QT: Rows, k: int) -> NDArray[np.int64]:
    """Columns of each row's k largest values (all of them where there are fewer)."""
    k = min(k, values_QT.shape[1])
    return np.argpartition(values_QT, -k, axis=1)[:, -k:].copy()  # a view would keep the rest


def _votes(
    cosine_QK: Rows, class_index_QK: NDArray[np.int64], n_classes: int, temperature: float
) -> NDArray[np.float64]:
    # exp of the distance to each row's best: the largest weight is 1, whatever the temperature
    best_Q1 = cosine_QK.max(axis=1, keepdims=True)
    weight_QK = np.exp((cosine_QK - best_Q1).astype(np.float64) / temperature)
    cell_QK = np.arange(len(cosine_QK))[:, None] * n_classes + class_index_QK
    votes = np.bincount(
        cell_QK.ravel(), weights=weight_QK.ravel(), minlength=len(cosine_QK) * n_classes
    )
    return np.asarray(votes, dtype=np.float64).reshape(len(cosine_QK), n_classes)

"""Nearest neighbours as a classifier: what the embedding knows before any head is trained.

Shape letters: T training rows, N rows asked for, D dimensions, K neighbours, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features

QUERY_TILE, TRAIN_TILE = 1024, 2048  # 8 MB of float32 cosines at a time, 16 MB to sort them


def knn_accuracy(
    train_features_TD: NDArray[np.floating],
    train_labels_T: NDArray[Any],
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of rows that `knn_predict` gets right, 0 to 1; arguments and errors as there."""
    predictions_N = knn_predict(
        train_features_TD, train_labels_T, features_ND, k=k, temperature=temperature
    )
    if np.shape(labels_N) != predictions_N.shape:
        raise InputError(
            f"{len(predictions_N)} rows but labels of shape {np.shape(labels_N)}; "
            f"expected ({len(predictions_N)},)."
        )
    return float(np.mean(predictions_N == labels_N))


def knn_predict(
    train_features_TD: NDArray[np.floating],
    train_labels_T: NDArray[Any],
    features_ND: NDArray[np.floating],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> NDArray[Any]:
    """The label with the largest sum of ``exp(cosine / temperature)`` over the k nearest rows.

    Cosine similarity and weighted vote of Wu et al. 2018 (arXiv 1805.01978), with DINO's defaults.
    Exact; cosines are made tile by tile (25 MB at a time), in float32, or float64 if either
    side is. Equal votes go to the smallest label. Which of several equally near rows takes the
    k-th place is not specified, but repeatable.

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
    train_TD = _unit_rows(train_features_TD, "training features")
    query_ND = _unit_rows(features_ND, "features")
    if train_TD.shape[1] != query_ND.shape[1]:
        raise InputError(
            f"training features have {train_TD.shape[1]} dimensions and features "
            f"{query_ND.shape[1]}; both must come from one encoder."
        )
    if len(train_TD) == 0 or np.shape(train_labels_T) != (len(train_TD),):
        raise InputError(
            f"{len(train_TD)} training rows with labels of shape {np.shape(train_labels_T)}; "
            "expected at least one row and one label a row."
        )
    if k < 1 or not temperature > 0:
        raise InputError(f"k is {k} and temperature {temperature}; expected k >= 1 and above 0.")
    classes_C, class_index_T = np.unique(train_labels_T, return_inverse=True)
    k = min(k, len(train_TD))
    chosen_N = np.empty(len(query_ND), dtype=np.int64)
    for start in range(0, len(query_ND), QUERY_TILE):
        tile_QD = query_ND[start : start + QUERY_TILE]
        cosine_QK, neighbour_QK = _nearest(train_TD, tile_QD, k)
        votes_QC = _votes(cosine_QK, class_index_T[neighbour_QK], len(classes_C), temperature)
        chosen_N[start : start + QUERY_TILE] = votes_QC.argmax(axis=1)
    predictions_N: NDArray[Any] = classes_C[chosen_N]
    return predictions_N


def _nearest(
    train_TD: NDArray[np.floating], query_QD: NDArray[np.floating], k: int
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Cosines and row numbers of the k nearest training rows, in no particular order."""
    best_QK = np.empty((len(query_QD), 0), dtype=train_TD.dtype)
    row_QK = np.empty((len(query_QD), 0), dtype=np.int64)
    for start in range(0, len(train_TD), TRAIN_TILE):
        cosine_QT = query_QD @ train_TD[start : start + TRAIN_TILE].T
        column_QK = _largest(cosine_QT, k)
        best_QK = np.hstack([best_QK, np.take_along_axis(cosine_QT, column_QK, axis=1)])
        row_QK = np.hstack([row_QK, column_QK + start])
        keep_QK = _largest(best_QK, k)
        best_QK = np.take_along_axis(best_QK, keep_QK, axis=1)
        row_QK = np.take_along_axis(row_QK, keep_QK, axis=1)
    return best_QK, row_QK


def _largest(values_QT: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Columns of each row's k largest values (all of them where there are fewer)."""
    k = min(k, values_QT.shape[1])
    return np.argpartition(values_QT, -k, axis=1)[:, -k:].copy()  # a view would keep the rest


def _votes(
    cosine_QK: NDArray[np.floating],
    class_index_QK: NDArray[np.int64],
    n_classes: int,
    temperature: float,
) -> NDArray[np.float64]:
    # exp of the distance to each row's best: the largest weight is 1, whatever the temperature
    best_Q1 = cosine_QK.max(axis=1, keepdims=True)
    weight_QK = np.exp((cosine_QK - best_Q1).astype(np.float64) / temperature)
    cell_QK = np.arange(len(cosine_QK))[:, None] * n_classes + class_index_QK
    votes = np.bincount(
        cell_QK.ravel(), weights=weight_QK.ravel(), minlength=len(cosine_QK) * n_classes
    )
    return np.asarray(votes, dtype=np.float64).reshape(len(cosine_QK), n_classes)


def _unit_rows(features_ND: NDArray[np.floating], name: str) -> NDArray[np.floating]:
    wide = np.float64 if np.asarray(features_ND).dtype == np.float64 else np.float32
    features_ND = checked_features(features_ND, name, min_rows=0, zero_rows=False).astype(wide)
    if len(features_ND) == 0:
        return features_ND
    features_ND = features_ND / np.abs(features_ND).max(axis=1, keepdims=True)
    unit_ND: NDArray[np.floating] = features_ND / np.linalg.norm(features_ND, axis=1, keepdims=True)
    return unit_ND

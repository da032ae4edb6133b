"""What every measure of embeddings refuses, said once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError


def checked_features(
    features_ND: NDArray[np.floating], name: str, *, min_rows: int, zero_rows: bool
) -> NDArray[np.floating]:
    """The array itself, never a copy, if it is (N, D), floating, finite and long enough.

    Args:
        name: what a message calls the array.
        min_rows: fewer are refused.
        zero_rows: whether a row of zeros is allowed.

    Raises:
        InputError: otherwise; the first faulty row is named.
    """
    features_ND = np.asarray(features_ND)
    if features_ND.ndim != 2 or features_ND.shape[1] == 0:
        raise InputError(f"{name} have shape {features_ND.shape}; expected (N, D), one row each.")
    if not np.issubdtype(features_ND.dtype, np.floating):
        raise InputError(f"{name} are {features_ND.dtype}; expected a floating dtype.")
    if len(features_ND) < min_rows:
        raise InputError(f"{name} have {len(features_ND)} rows; at least {min_rows} are needed.")
    if not len(features_ND):
        return features_ND
    largest_N = largest_entries(features_ND)
    refuse_rows(name, ~np.isfinite(largest_N), "is not finite")
    if not zero_rows:
        refuse_rows(name, largest_N == 0, "is all zeros and has no direction")
    return features_ND


def checked_labels(labels_N: NDArray[Any], rows: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The sorted classes (C,), and the position of each row's class among them (N,), int64.

    Raises:
        InputError: not one label a row.
    """
    if np.shape(labels_N) != (rows,):
        raise InputError(
            f"{rows} rows but labels of shape {np.shape(labels_N)}; expected ({rows},)."
        )
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    return classes_C, class_N.astype(np.int64)


def checked_probabilities(
    probabilities_NC: NDArray[np.floating], name: str = "probabilities"
) -> NDArray[np.float64]:
    """(N, C) as float64, if every row is a distribution.

    Raises:
        InputError: a wrong shape, a number outside 0 to 1, a row that does not sum to 1.
    """
    rows_NC = checked_features(probabilities_NC, name, min_rows=1, zero_rows=True)
    wide_NC = rows_NC.astype(np.float64)
    faulty_N = (wide_NC.min(axis=1) < 0) | (np.abs(wide_NC.sum(axis=1) - 1) > 1e-3)
    refuse_rows(name, faulty_N, "is no distribution over the classes")
    return wide_NC


def checked_targets(labels_N: NDArray[np.integer], rows: int, n_classes: int) -> NDArray[np.int64]:
    """Class numbers (N,) as int64, if there is one a row and all are 0 to n_classes - 1.

    Raises:
        InputError: otherwise; the first faulty label is named.
    """
    labels_N = np.asarray(labels_N)
    if labels_N.shape != (rows,) or not np.issubdtype(labels_N.dtype, np.integer):
        raise InputError(
            f"{rows} rows but labels of shape {labels_N.shape}, {labels_N.dtype}; "
            f"expected ({rows},) class numbers."
        )
    outside_N = (labels_N < 0) | (labels_N >= n_classes)
    if outside_N.any():
        row = int(np.flatnonzero(outside_N)[0])
        raise InputError(f"label {row} is {labels_N[row]}; allowed: 0 to {n_classes - 1}.")
    return labels_N.astype(np.int64)


def largest_entries(features_ND: NDArray[np.floating]) -> NDArray[np.floating]:
    """The largest absolute value of each row; not a number where the row holds one that is not."""
    largest_N: NDArray[np.floating] = np.maximum(features_ND.max(axis=1), -features_ND.min(axis=1))
    return largest_N


def refuse_rows(name: str, faulty_N: NDArray[np.bool_], what: str) -> None:
    """Name the first faulty row, and how many there are.

    Raises:
        InputError: a row is faulty.
    """
    if faulty_N.any():
        row = int(np.flatnonzero(faulty_N)[0])
        raise InputError(
            f"{name}: row {row} of {len(faulty_N)} {what} ({int(faulty_N.sum())} such rows). "
            "Look at what the encoder gives for this image."
        )

"""What every measure of embeddings refuses, said once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError


def checked_features(
    features_ND: NDArray[np.floating], name: str, *, min_rows: int, zero_rows: bool
) -> NDArray[np.floating]:
    """The array itself, if it is (N, D), floating, finite and long enough.

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
    largest_N = np.abs(features_ND).max(axis=1)
    _refuse(name, ~np.isfinite(largest_N), "is not finite")
    if not zero_rows:
        _refuse(name, largest_N == 0, "is all zeros and has no direction")
    return features_ND


def _refuse(name: str, faulty_N: NDArray[np.bool_], what: str) -> None:
    if faulty_N.any():
        row = int(np.flatnonzero(faulty_N)[0])
        raise InputError(
            f"{name}: row {row} of {len(faulty_N)} {what} ({int(faulty_N.sum())} such rows). "
            "Look at what the encoder gives for this image."
        )

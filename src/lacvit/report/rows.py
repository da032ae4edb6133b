"""Rows of features as the pictures need them: of unit length, their neighbours, their directions.

Shape letters: N rows, D feature dimensions.
"""

from __future__ import annotations

import numpy as np

from lacvit.report.record import Floats, Integers

JUDGED = 10  # that say whether a row's surroundings have its label


def unit_rows(rows_ND: Floats) -> Floats:
    """Scaled to unit length, as cosines compare them; a row of zeros stays one."""
    rows_ND = np.nan_to_num(rows_ND)
    unit_ND: Floats = rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)
    return unit_ND


def agreement(cosines_NN: Floats, labels_N: Integers) -> Floats:
    """(N,): the share of each row's nearest others that have its label; nan for a row alone.

    As many are looked at as there are of its label, `JUDGED` at most, so that 1 can be reached.
    """
    count = min(JUDGED, len(labels_N) - 1)
    if count < 1:
        return np.full(len(labels_N), np.nan)
    others_NN = cosines_NN.copy()
    np.fill_diagonal(others_NN, -np.inf)
    nearest = np.argsort(-others_NN, axis=1)[:, :count]
    hits = (labels_N[nearest] == labels_N[:, None]).cumsum(axis=1)
    _, label, sizes = np.unique(labels_N, return_inverse=True, return_counts=True)
    seen_N = np.clip(sizes[label] - 1, 1, count)
    share_N: Floats = hits[np.arange(len(labels_N)), seen_N - 1] / seen_N
    return share_N


def variances(rows_ND: Floats) -> Floats:
    """Along each principal direction, times N, the largest first: (min(N, D),), float64."""
    centred_ND = np.nan_to_num(rows_ND.astype(np.float64))
    centred_ND -= centred_ND.mean(axis=0)
    tall = len(centred_ND) > centred_ND.shape[1]
    gram = centred_ND.T @ centred_ND if tall else centred_ND @ centred_ND.T
    found: Floats = np.linalg.eigvalsh(gram)[::-1].clip(min=0)
    return found

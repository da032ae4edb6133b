"""How well classes stand apart, as pictures of cosines: class separation R^2, silhouette.

Shape letters: N embeddings, D dimensions, C classes, B rows of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features, checked_labels
from lacvit.metrics._passes import Ints, UnitSums, unit_blocks, unit_sums
from lacvit.metrics.estimate import Estimate, mean_of, sampled_rows

Rows = NDArray[np.floating]

SILHOUETTE_ROWS = 50_000


def class_separation(features_ND: Rows, labels_N: NDArray[Any]) -> float:
    """R^2 of Kornblith et al. 2021 (arXiv 2010.16402): ``1 - d_within / d_total``.

    Mean cosine distances, every class with one weight and each row paired with itself too: with
    means m_c of unit rows, ``d_within = 1 - mean_c |m_c|^2`` and ``d_total = 1 - |mean_c m_c|^2``.
    O(N D). Bounds: 0 to 1 (collapsed classes); random labels give about C / N. A higher R^2 goes
    with better accuracy on the classes trained on and worse linear transfer to others.

    Returns:
        Not a number where all rows have one direction.

    Raises:
        InputError: fewer than two rows or classes, not one label a row, a zero or non-finite row.
    """
    features_ND, class_N = _at_least_two_classes(features_ND, labels_N)
    return unit_sums(features_ND, class_N).class_separation


def silhouette(features_ND: Rows, labels_N: NDArray[Any], *, seed: int = 0) -> Estimate:
    """Mean over rows of ``(b - a) / max(a, b)``: -1 to 1, cosine distance (Rousseeuw 1987).

    a is a row's mean distance to the other rows of its class, b the least of its mean distances to
    other classes; both follow exactly from class sums, ``a = (n_c - u . S_c) / (n_c - 1)``,
    ``b = min 1 - u . S_c / n_c``: O(N C D) instead of O(N^2 D). A row alone in its class counts 0,
    and so does one with a = b = 0. Collapsed separate classes give 1, random labels about 0; more
    classes lower it, since the nearest of many is nearer. Rotation and the rows' lengths do not
    move it. Above 50,000 rows the mean is over so many, drawn by the seed, with its error.

    Raises:
        InputError: fewer than two rows or classes, not one label a row, a zero or non-finite row.
    """
    features_ND, class_N = _at_least_two_classes(features_ND, labels_N)
    return silhouette_of(features_ND, class_N, unit_sums(features_ND, class_N), seed)


def silhouette_of(features_ND: Rows, class_N: Ints, sums: UnitSums, seed: int) -> Estimate:
    """`silhouette` where the class sums are at hand; no checks."""
    n = len(features_ND)
    rows_S = sampled_rows(n, SILHOUETTE_ROWS, seed)
    chosen_SD = features_ND if len(rows_S) == n else features_ND[rows_S]
    own_S, values_S = class_N[rows_S], np.zeros(len(rows_S))
    for part, unit_BD in unit_blocks(chosen_SD):
        own_B = own_S[part]
        cosines_BC = unit_BD @ sums.sums_CD.T
        index_B, count_B = np.arange(len(own_B)), sums.counts_C[own_B]
        a_B = (count_B - cosines_BC[index_B, own_B]) / np.maximum(count_B - 1, 1)
        distances_BC = 1 - cosines_BC / sums.counts_C
        distances_BC[index_B, own_B] = np.inf
        b_B = distances_BC.min(axis=1)
        larger_B = np.maximum(a_B, b_B)
        defined_B = (count_B > 1) & (larger_B > n * np.finfo(np.float64).eps)
        values_S[part] = np.where(defined_B, (b_B - a_B) / np.where(defined_B, larger_B, 1.0), 0.0)
    return mean_of(values_S, n)


def _at_least_two_classes(features_ND: Rows, labels_N: NDArray[Any]) -> tuple[Rows, Ints]:
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=False)
    classes_C, class_N = checked_labels(labels_N, len(features_ND))
    if len(classes_C) < 2:
        raise InputError("the labels name 1 class; at least 2 are needed to stand apart.")
    return features_ND, class_N

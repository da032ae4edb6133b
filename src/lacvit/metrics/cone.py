"""Whether embeddings point one way: mean cosines, and the partition function over directions.

Shape letters: N embeddings, D dimensions, C classes. All arithmetic is in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.metrics._checks import checked_features, checked_labels, refuse_rows
from lacvit.metrics._passes import mean_row, scale_of, unit_blocks, unit_sums

Rows = NDArray[np.floating]


def mean_cosine(features_ND: Rows, *, centre: bool = False) -> float:
    """Average cosine over all ordered pairs of different rows.

    Equals ``(c.sum() - N) / (N (N - 1))`` for ``c = u @ u.T`` and unit rows ``u``; here ``c.sum()``
    is the squared norm of the sum of the rows: O(N D). Bounds: -1 / (N - 1) (rows that sum to 0,
    such as equal classes on a simplex) to 1 (one direction). Raw, it grows when all embeddings
    share an offset, ``|mean|^2`` beside their variance (Ethayarajh 2019, arXiv 1909.00512,
    section 3); centred, it is near 0 for nearly everything: the drop from one to the other is
    the cone.

    Args:
        features_ND: any floating dtype, N >= 2, no zero row.
        centre: subtract the mean embedding first.

    Raises:
        InputError: fewer than two rows; a non-finite row, or a zero one, before or after
            centring (its index is named).
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=centre)
    if not centre:
        return unit_sums(features_ND).mean_cosine
    value, zero_N = centred_cosine(features_ND)
    refuse_rows("features after centring", zero_N, "is all zeros and has no direction")
    return value


def centred_cosine(features_ND: Rows) -> tuple[float, NDArray[np.bool_]]:
    """`mean_cosine` after centring, and which rows lie exactly on the mean; no checks."""
    n, scale = len(features_ND), scale_of(features_ND)
    mean_D = mean_row(features_ND, scale)
    total_D = np.zeros_like(mean_D)
    zero_N = np.zeros(n, dtype=bool)
    for part, unit_BD in unit_blocks(features_ND, scale=scale, centre_D=mean_D):
        total_D += unit_BD.sum(axis=0)
        zero_N[part] = ~unit_BD.any(axis=1)
    return float((total_D @ total_D - n) / (n * (n - 1))), zero_N


def cosine_within_and_between(features_ND: Rows, labels_N: NDArray[Any]) -> tuple[float, float]:
    """Average cosine over pairs of different rows of one class, and of two classes.

    As Cai et al. 2021 ("Isotropy in the contextual embedding space") take them of words.
    By class sums S_c of unit rows: ``sum_c (|S_c|^2 - n_c) / sum_c n_c (n_c - 1)`` and
    ``(|sum_c S_c|^2 - sum_c |S_c|^2) / (N^2 - sum_c n_c^2)``; every pair has one weight. O(N D).
    Bounds: -1 to 1 (within, at least -1 / (n - 1) for equal classes of n). Equal classes collapsed
    onto a simplex: 1 and -1 / (C - 1); random directions: 0 and 0; an offset raises both.

    Returns:
        (within, between), floats; not a number where there is no such pair.

    Raises:
        InputError: fewer than two rows, not one label a row, a zero or non-finite row.
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=False)
    sums = unit_sums(features_ND, checked_labels(labels_N, len(features_ND))[1])
    return sums.within, sums.between


def partition_isotropy(features_ND: Rows) -> float:
    """How evenly directions see the embeddings: ``min_v Z(v) / max_v Z(v)``, 0 to 1.

    ``Z(v) = sum_i exp(v . u_i)`` over unit rows u_i (the measure depends on scale), for v each
    eigenvector of ``U^T U`` with either sign (Mu and Viswanath 2018, arXiv 1702.01417, equation 5).
    Bounds: e^-2 = 0.135 (one direction) to 1 (isotropic). O(N D^2). The eigenvectors, the strongest
    of which is the shared offset, make it a measure of the cone more than of the spectrum; where
    several eigenvalues are equal their vectors, and with them the last digits, are arbitrary.

    Raises:
        InputError: no row, a zero or non-finite row (its index is named).
    """
    features_ND = checked_features(features_ND, "features", min_rows=1, zero_rows=False)
    d = features_ND.shape[1]
    gram_DD = np.zeros((d, d))
    for _, unit_BD in unit_blocks(features_ND):
        gram_DD += np.matmul(unit_BD.T, unit_BD)
    directions_DD = np.linalg.eigh(gram_DD)[1]
    along_D, against_D = np.zeros(d), np.zeros(d)
    for _, unit_BD in unit_blocks(features_ND):
        exponential_BD = np.exp(unit_BD @ directions_DD)  # within 1/e and e
        along_D += exponential_BD.sum(axis=0)
        against_D += (1 / exponential_BD).sum(axis=0)
    both = np.concatenate([along_D, against_D])
    return float(both.min() / both.max())

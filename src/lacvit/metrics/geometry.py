"""The shape of a cloud of embeddings: how many directions it uses, and whether it points one way.

"Isotropy" is said of two unrelated things. The *cone*: all embeddings share a direction; the raw
`mean_cosine` sees it. The *spectrum*: the variance is spread evenly over the directions;
`iso_score`, `participation_ratio` and `effective_rank` see it. A loss can raise one and lower the
other: report both, on the same test images for every arm, since all depend on N.

Shape letters: N embeddings, D dimensions. All arithmetic is in float64; time O(N D min(N, D)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features

Floats = NDArray[np.floating]


def mean_cosine(features_ND: Floats, *, centre: bool = False) -> float:
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
    x_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=centre)
    x_ND = _scaled(x_ND)
    if centre:
        x_ND = x_ND - x_ND.mean(axis=0)
        checked_features(x_ND, "features after centring", min_rows=2, zero_rows=False)
    x_ND = x_ND / np.abs(x_ND).max(axis=1, keepdims=True)
    unit_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    n = len(unit_ND)
    total_D = unit_ND.sum(axis=0)
    return float((total_D @ total_D - n) / (n * (n - 1)))


def effective_rank(features_ND: Floats, *, centre: bool = True) -> float:
    """How many directions the embeddings use: ``exp(-sum p ln p)``, ``p = s / sum(s)``.

    s are the *singular values* (not the variances) of the centred matrix, or of the matrix as it
    is under ``centre=False`` (RankMe's spectrum). Roy and Vetterli 2007, "The effective rank".
    Bounds: 1 to min(N - 1, D), or min(N, D) uncentred; k equal directions give k; equal classes
    collapsed onto a simplex of C points give C - 1. All rows equal: 0, the rank of the zero matrix.
    Scale and rotation do not move it. Falls towards the number of classes less one under
    supervised training, to 1 when an encoder collapses.

    Raises:
        InputError: fewer than two rows, a non-finite row (its index is named).
    """
    x_ND = _scaled(checked_features(features_ND, "features", min_rows=2, zero_rows=True))
    variance = _spectrum(_centred(x_ND) if centre else x_ND)
    if not len(variance):
        return 0.0
    singular = np.sqrt(variance)
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def participation_ratio(features_ND: Floats) -> float:
    """How many directions carry the variance: ``(tr C)^2 / ||C||_F^2``, C the covariance.

    Bounds: 1 to min(N - 1, D); at most `effective_rank`, for it weighs large variances more (the
    Renyi-2 count of the eigenvalues). k equal directions give k. All rows equal: 0.
    Scale, rotation and offset do not move it.

    Raises:
        InputError: fewer than two rows, a non-finite row (its index is named).
    """
    x_ND = _centred(_scaled(checked_features(features_ND, "features", min_rows=2, zero_rows=True)))
    gram = _smaller_gram(x_ND)
    squares = float((gram * gram).sum())
    return float(np.trace(gram)) ** 2 / squares if squares > 0 else 0.0


def iso_score(features_ND: Floats) -> float:
    """IsoScore: how evenly the variance fills the D directions, 0 (one) to 1 (all alike).

    Rudman et al. 2022 (arXiv 2108.07344). Their steps reduce exactly to ``(PR - 1) / (D - 1)`` with
    the `participation_ratio` PR: no eigenvectors are needed. At most
    ``(min(D, N - 1) - 1) / (D - 1)``, so N below D caps it; k equal directions give
    ``(k - 1) / (D - 1)``, equal classes collapsed onto a simplex ``(C - 2) / (D - 1)``. All rows
    equal: 0. Scale, rotation and offset do not move it: a cloud far from the origin, all of
    whose cosines are near 1, can score 1.

    Raises:
        InputError: fewer than two rows or dimensions, a non-finite row (its index is named).
    """
    if np.ndim(features_ND) == 2 and np.shape(features_ND)[1] < 2:
        raise InputError("features have 1 dimension; IsoScore needs at least 2.")
    ratio = participation_ratio(features_ND)
    return float(max(ratio - 1.0, 0.0) / (np.shape(features_ND)[1] - 1))


def _scaled(x_ND: Floats) -> NDArray[np.float64]:
    """float64, divided by the largest entry, so that no square can overflow or vanish."""
    wide_ND = x_ND.astype(np.float64)
    largest = np.abs(wide_ND).max()
    return wide_ND / largest if largest > 0 else wide_ND


def _centred(x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without its mean row; exactly 0 where only the mean's rounding is left."""
    centred_ND: NDArray[np.float64] = x_ND - x_ND.mean(axis=0)
    rounding = len(x_ND) * np.finfo(np.float64).eps * np.linalg.norm(x_ND)
    if np.linalg.norm(centred_ND) <= rounding:
        return np.zeros_like(centred_ND)
    return centred_ND


def _smaller_gram(x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    n, d = x_ND.shape
    gram: NDArray[np.float64] = np.matmul(x_ND.T, x_ND) if d <= n else np.matmul(x_ND, x_ND.T)
    return gram


def _spectrum(x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared singular values above rounding (those below 1e-8 of the largest are not told)."""
    squared = np.linalg.eigvalsh(_smaller_gram(x_ND))
    rounding = squared.max() * len(squared) * np.finfo(np.float64).eps
    return np.asarray(squared[squared > max(rounding, 0.0)], dtype=np.float64)

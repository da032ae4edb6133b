"""How many directions a cloud of embeddings uses, and how evenly: measures of its variances.

Shape letters: N embeddings, D dimensions, C classes. All arithmetic is in float64, by blocks of
rows; time O(N D min(N, D)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features, checked_labels
from lacvit.metrics._passes import blocks, in_own_span, scale_of, scatter

Rows = NDArray[np.floating]
Floats = NDArray[np.float64]


def effective_rank(features_ND: Rows, *, centre: bool = True) -> float:
    """How many directions the embeddings use: ``exp(-sum p ln p)``, ``p = s / sum(s)``.

    s are the *singular values* (not the variances) of the centred matrix, or of the matrix as it
    is under ``centre=False``. Roy and Vetterli 2007, "The effective rank".
    Bounds: 1 to min(N - 1, D), or min(N, D) uncentred; k equal directions give k; equal classes
    collapsed onto a simplex of C points give C - 1. All rows equal: 0, the rank of the zero matrix.
    Scale and rotation do not move it. Falls towards the number of classes less one under
    supervised training, to 1 when an encoder collapses.

    Raises:
        InputError: fewer than two rows, a non-finite row (its index is named).
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=True)
    return rank_of(scatter(features_ND).total_DD if centre else _gram(features_ND))


def rank_me(features_ND: Rows) -> float:
    """RankMe: ``exp(-sum p ln p)``, ``p = s / sum(s) + 1e-7``, s of the *uncentred* matrix.

    Garrido et al. 2023 (arXiv 2210.02885, equation 2), proposed to choose among self-supervised
    checkpoints without labels. Bounds: 1 to min(N, D). k equal directions give k; a shared offset
    lowers it, for it is one strong direction; scale and rotation do not move it. Of a supervised
    encoder it says little: it tends to the number of classes.

    Raises:
        InputError: fewer than two rows, a non-finite row (its index is named).
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=True)
    singular = np.sqrt(np.linalg.eigvalsh(_gram(features_ND)).clip(min=0))
    share = singular / (singular.sum() or 1.0) + 1e-7
    return float(np.exp(-(share * np.log(share)).sum()))


def participation_ratio(features_ND: Rows, labels_N: NDArray[Any] | None = None) -> float:
    """How many directions carry the variance: ``(tr C)^2 / ||C||_F^2``, C the covariance.

    As Gao et al. 2017 ("A theory of multineuronal dimensionality") count dimensions.
    Bounds: 1 to min(N - 1, D); at most `effective_rank`, for it weighs large variances more (the
    Renyi-2 count of the eigenvalues). k equal directions give k. All rows equal: 0.
    Scale, rotation and offset do not move it. With labels, C is the pooled covariance about the
    class means: what is left within classes, 0 where they are collapsed.

    Raises:
        InputError: fewer than two rows, not one label a row, a non-finite row (its index is named).
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=True)
    if labels_N is None:
        return ratio_of(scatter(features_ND).total_DD)
    _, class_N = checked_labels(labels_N, len(features_ND))
    return ratio_of(scatter(features_ND, class_N).within_DD)


def iso_score(features_ND: Rows, labels_N: NDArray[Any] | None = None) -> float:
    """IsoScore: how evenly the variance fills the D directions, 0 (one) to 1 (all alike).

    Rudman et al. 2022 (arXiv 2108.07344). Their steps reduce exactly to ``(PR - 1) / (D - 1)`` with
    the `participation_ratio` PR: no eigenvectors are needed. At most
    ``(min(D, N - 1) - 1) / (D - 1)``, so N below D caps it; k equal directions give
    ``(k - 1) / (D - 1)``, equal classes collapsed onto a simplex ``(C - 2) / (D - 1)``. All rows
    equal: 0. Scale, rotation and offset do not move it: a cloud far from the origin, all of
    whose cosines are near 1, can score 1. With labels it is taken within classes, their means
    removed: a global fall beside a steady score within says that the classes, not the space,
    have become few directions (Rajaee and Pilehvar 2021 look per cluster likewise).

    Raises:
        InputError: fewer than two rows or dimensions, not one label a row, a non-finite row (its
            index is named).
    """
    return iso_of(
        participation_ratio(two_dimensions(features_ND), labels_N), np.shape(features_ND)[1]
    )


def iso_score_star(
    features_ND: Rows, *, shrinkage: float, target_DD: NDArray[np.floating] | None = None
) -> float:
    """IsoScore*: `iso_score` of ``(1 - w) C + w T``, steadier where N is small; 0 to 1.

    Rudman and Eickhoff 2024 (arXiv 2305.19358) shrink the covariance C of a batch towards that of
    a larger pool, T. w is `shrinkage`, the weight of T (the paper's text and code put their zeta
    on different sides). w = 0 gives IsoScore, w = 1 that of T.

    Args:
        features_ND: any floating dtype, N and D at least 2.
        shrinkage: 0 to 1.
        target_DD: covariance of the pool, in the features' own units; without one, the identity
            times the mean variance, which raises the score of anything not isotropic.

    Raises:
        InputError: as `iso_score`; a shrinkage outside 0 to 1; a target of another shape.
    """
    features_ND = checked_features(
        two_dimensions(features_ND), "features", min_rows=2, zero_rows=True
    )
    d = features_ND.shape[1]
    if not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage is {shrinkage}; expected a number from 0 to 1.")
    if target_DD is None:
        found_DD = scatter(features_ND).total_DD
        return iso_of(shrunk_ratio(found_DD, shrinkage, d), d)
    if np.shape(target_DD) != (d, d):
        raise InputError(f"the target has shape {np.shape(target_DD)}; expected ({d}, {d}).")
    covariance_DD = np.cov(features_ND.astype(np.float64), rowvar=False)
    return iso_of(ratio_of((1 - shrinkage) * covariance_DD + shrinkage * target_DD), d)


def ratio_of(scatter_DD: Floats) -> float:
    """Participation ratio of a symmetric matrix of squares; 0 of the zero matrix."""
    squares = float((scatter_DD * scatter_DD).sum())
    return float(np.trace(scatter_DD)) ** 2 / squares if squares > 0 else 0.0


def shrunk_ratio(scatter_DD: Floats, shrinkage: float, dimensions: int) -> float:
    """Participation ratio after shrinking to the identity times the mean variance.

    That target adds to every eigenvalue, those of the directions that no row spans included:
    ``tr`` stays, and ``||.||_F^2`` becomes ``(1 - w)^2 ||C||_F^2 + (1 - (1 - w)^2) (tr C)^2 / D``.
    """
    trace, kept = float(np.trace(scatter_DD)), (1 - shrinkage) ** 2
    squares = kept * float((scatter_DD * scatter_DD).sum()) + (1 - kept) * trace**2 / dimensions
    return trace**2 / squares if squares > 0 else 0.0


def iso_of(ratio: float, dimensions: int) -> float:
    """IsoScore of a participation ratio."""
    return float(max(ratio - 1.0, 0.0) / (dimensions - 1))


def rank_of(gram: Floats) -> float:
    """Effective rank from squared singular values.

    Those below ``sqrt(D eps)`` of the largest are rounding, and left out: 4e-7 at 768 dimensions.
    """
    squared = np.linalg.eigvalsh(gram)
    rounding = squared.max() * len(squared) * np.finfo(np.float64).eps
    squared = squared[squared > max(rounding, 0.0)]
    if not len(squared):
        return 0.0
    singular = np.sqrt(squared)
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _gram(features_ND: Rows) -> Floats:
    """Squares about the origin, in the smaller of N and D dimensions."""
    scale = scale_of(features_ND)
    if len(features_ND) < features_ND.shape[1]:
        features_ND, scale = in_own_span(features_ND, scale), 1.0
    gram_DD = np.zeros((features_ND.shape[1],) * 2)
    for _, block_BD in blocks(features_ND, scale):
        gram_DD += np.matmul(block_BD.T, block_BD)
    return gram_DD


def two_dimensions(features_ND: Rows) -> Rows:
    """The features, if they have the two dimensions that IsoScore needs; else an InputError."""
    if np.ndim(features_ND) == 2 and np.shape(features_ND)[1] < 2:
        raise InputError("features have 1 dimension; IsoScore needs at least 2.")
    return features_ND

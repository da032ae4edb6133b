"""Neural collapse: whether classes shrink to points, and the points form a simplex.

Shape letters: N embeddings, D dimensions, C classes, K directions. Float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features, checked_labels, checked_targets
from lacvit.metrics._passes import Scatter, blocks, class_means, scatter, squared_lengths

Rows = NDArray[np.floating]

RANK_TOLERANCE = 1e-8  # class means' variances below so much of the largest are rounding


class LinearHead(NamedTuple):
    """A linear classifier on the features: row c of the weights is for class number c."""

    weight_CD: NDArray[np.floating]
    bias_C: NDArray[np.floating]


@dataclass(frozen=True)
class NeuralCollapse:
    """Papyan, Han and Donoho 2020 (arXiv 2008.08186); all 0 at full collapse.

    Not a number where a figure is not defined: class means that coincide, one of them on their
    mean. Compare on the same images: each depends on how many a class has.
    """

    nc1: float
    """``tr(S_W S_B^+) / C``, S_W and S_B the covariances within classes and of the class means.
    At least 0; S_B^+ is cut at its rank, so with C > D it is unsteady: read the next two beside."""
    nc1_ratio: float
    """``tr(S_W) / tr(S_B)``: the same without directions; at least 0."""
    cdnv: float
    """Mean over pairs of classes of ``(v_a + v_b) / (2 |m_a - m_b|^2)``, v the variance about the
    class mean (Galanti et al. 2022, arXiv 2112.15121). At least 0, infinite where two means
    coincide; random labels give about n / 2 for n rows a class, well apart is below 0.5."""
    nc2_norms: float
    """Deviation over mean of the lengths of the class means, about their mean; at least 0."""
    nc2_angles: float
    """Deviation of the cosines between the class means, 0 to 1."""
    nc2_simplex: float
    """Mean of ``|cos + 1 / (C - 1)|`` over pairs; 0 only if D is at least C - 1."""
    nc3: float | None = None
    """``|W / |W|_F - M / |M|_F|_F^2``, the head's weights beside the class means: 0 to 4."""
    nc4: float | None = None
    """Share of rows that the head labels otherwise than the nearest class mean does: 0 to 1."""


def neural_collapse(
    features_ND: Rows, labels_N: NDArray[Any], *, head: LinearHead | None = None
) -> NeuralCollapse:
    """NC1 to NC4 and CDNV of embeddings; O(N D^2 + C^2 D), C x C numbers in memory.

    NC1 weighs every row alike, NC2 to NC4 every class; for equal classes that is Papyan's
    definition. NC3 and NC4 need the head; on test features NC4 tells more than on train's.

    Args:
        features_ND: any floating dtype.
        labels_N: any dtype that sorts; with a head, class numbers that are rows of it.
        head: the classifier trained on these features.

    Raises:
        InputError: fewer than two classes, not one label a row, a non-finite row, a head that does
            not fit.
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=True)
    classes_C, class_N = checked_labels(labels_N, len(features_ND))
    if len(classes_C) < 2:
        raise InputError("the labels name 1 class; at least 2 are needed.")
    return collapse_of(scatter(features_ND, class_N), features_ND, labels_N, head)


def collapse_of(
    found: Scatter, features_ND: Rows, labels_N: NDArray[Any], head: LinearHead | None
) -> NeuralCollapse:
    """`neural_collapse` where the scatter is at hand; checks the head alone."""
    norms, angles, simplex = _simplex(found)
    nc3 = nc4 = None
    if head is not None:
        nc3, nc4 = _beside(head, features_ND, labels_N)
    return NeuralCollapse(
        *_variability(found), class_distance_normalised_variance(found), norms, angles, simplex,
        nc3, nc4,
    )  # fmt: skip


def class_distance_normalised_variance(found: Scatter) -> float:
    """CDNV; infinite where two class means coincide, not a number where nothing varies either."""
    centred_CD = found.means_CD - found.means_CD.mean(axis=0)
    length_C = squared_lengths(centred_CD)
    distance_CC = length_C[:, None] + length_C - 2 * (centred_CD @ centred_CD.T)
    # the product of the means is rounded: what is below its last digits is no distance
    distance_CC[distance_CC < 1e-14 * length_C.max()] = 0.0
    variance_C = found.squares_C / found.counts_C
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_CC = (variance_C[:, None] + variance_C) / (2 * distance_CC)
    pairs = ~np.eye(len(length_C), dtype=bool)
    return float(ratio_CC[pairs].mean())


def _variability(found: Scatter) -> tuple[float, float]:
    """NC1 and the ratio of the traces."""
    weight_C = np.sqrt(found.counts_C / found.counts_C.sum())
    _, root_K, direction_KD = np.linalg.svd(
        found.offsets_CD * weight_C[:, None], full_matrices=False
    )
    n_classes = len(found.counts_C)
    variance_K = root_K[: n_classes - 1] ** 2
    kept_K = variance_K > RANK_TOLERANCE * variance_K[0]
    if not kept_K.any():
        return np.nan, np.nan
    within_DD = found.within_DD / found.counts_C.sum()
    direction_KD = direction_KD[: n_classes - 1][kept_K]
    along_K = np.einsum("kd,kd->k", direction_KD @ within_DD, direction_KD)
    nc1 = float((along_K / variance_K[kept_K]).sum() / n_classes)
    return nc1, float(np.trace(within_DD) / variance_K.sum())


def _simplex(found: Scatter) -> tuple[float, float, float]:
    """NC2: the spread of lengths, of angles, and the distance of the angles from the simplex's."""
    centred_CD = found.means_CD - found.means_CD.mean(axis=0)
    length_C = np.linalg.norm(centred_CD, axis=1)
    if not length_C.min() > 1e-12 * np.abs(found.means_CD).max():
        return np.nan, np.nan, np.nan
    unit_CD = centred_CD / length_C[:, None]
    pairs = ~np.eye(len(length_C), dtype=bool)
    cosines = (unit_CD @ unit_CD.T)[pairs]
    return (
        float(length_C.std() / length_C.mean()),
        float(cosines.std()),
        float(np.abs(cosines + 1 / (len(length_C) - 1)).mean()),
    )


def _beside(head: LinearHead, features_ND: Rows, labels_N: NDArray[Any]) -> tuple[float, float]:
    """NC3 and NC4."""
    weight_CD, bias_C = (np.asarray(part, dtype=np.float64) for part in head)
    dimensions = features_ND.shape[1]
    if weight_CD.ndim != 2 or weight_CD.shape != (len(bias_C), dimensions):
        raise InputError(
            f"the head has weights {weight_CD.shape} and biases {bias_C.shape}; expected "
            f"(C, {dimensions}) and (C,)."
        )
    targets_N = checked_targets(labels_N, len(features_ND), len(weight_CD))
    present_C, class_N = checked_labels(targets_N, len(features_ND))
    means_CD = class_means(features_ND, class_N)
    centred_CD = means_CD - means_CD.mean(axis=0)
    weight_CD, bias_C = weight_CD[present_C], bias_C[present_C]
    norms = np.linalg.norm(weight_CD), np.linalg.norm(centred_CD)
    if not min(norms) > 0:
        return np.nan, np.nan
    nc3 = float(((weight_CD / norms[0] - centred_CD / norms[1]) ** 2).sum())
    half_C = squared_lengths(centred_CD) / 2
    differ, centre_D = 0, means_CD.mean(axis=0)
    for _, block_BD in blocks(features_ND):
        by_head_B = (block_BD @ weight_CD.T + bias_C).argmax(axis=1)
        block_BD -= centre_D
        by_mean_B = (block_BD @ centred_CD.T - half_C).argmax(axis=1)
        differ += int((by_head_B != by_mean_B).sum())
    return nc3, differ / len(features_ND)

"""The geometry of an embedding in one call: cone, spectrum, classes, likeness, neighbours.

"Isotropy" is said of two unrelated things. The *cone*: all embeddings share a direction; the raw
`mean_cosine` sees it. The *spectrum*: the variance is spread evenly over the directions;
`iso_score`, `participation_ratio` and `effective_rank` see it. A loss can raise one and lower the
other: tight classes on a simplex have a mean cosine near 0 and an IsoScore of (C - 2) / (D - 1).
Report both, on the same test images for every arm, since all depend on N.

Shape letters: N embeddings, D dimensions, E of the reference, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.metrics import spectrum
from lacvit.metrics._checks import checked_features, checked_labels
from lacvit.metrics._passes import Ints, Scatter, UnitSums, scatter, unit_sums
from lacvit.metrics.collapse import (
    LinearHead,
    class_distance_normalised_variance,
    collapse_of,
)
from lacvit.metrics.cone import centred_cosine, partition_isotropy
from lacvit.metrics.dimension import NEIGHBOURS, intrinsic_dimension
from lacvit.metrics.estimate import Estimate, with_errors
from lacvit.metrics.hubness import NEIGHBOURS as HUB_NEIGHBOURS
from lacvit.metrics.hubness import hubness
from lacvit.metrics.separation import silhouette_of
from lacvit.metrics.similarity import linear_cka
from lacvit.metrics.uniformity import uniformity

Rows = NDArray[np.floating]

SHRINKAGE = 0.1  # of IsoScore*


def geometry(
    features_ND: Rows,
    labels_N: NDArray[Any],
    *,
    reference_ND: Rows | None = None,
    head: LinearHead | None = None,
    extended: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Measures of one embedding by name; each is defined in the function of its name.

    By default `mean_cosine`, `mean_cosine_centred`, `iso_score`, `iso_score_within`, `alignment`,
    `uniformity`, `cdnv`, `hubness_skewness`, and with a reference `cka` (debiased). Extended adds
    cosines within and between classes, the rest of the spectrum, of neural collapse, of hubness
    and of CKA, partition isotropy, class separation, silhouette and intrinsic dimension.
    Where a measure rests on a sample, its standard error stands beside it as `NAME_error`. What
    is not defined for these embeddings (one class, classes of one image, all rows equal) is left
    out. Time O(N D^2) and samples, by blocks of rows.

    Args:
        features_ND: test features of one encoder, any floating dtype, no zero row.
        labels_N: any dtype that sorts; with a head, class numbers that are rows of it.
        reference_ND: (N, E), the same images by another encoder, such as the pretrained one.
        head: the classifier on these features, for `nc3` and `nc4` (extended).
        extended: everything; needs more rows than 20, or leaves out what needs them.
        seed: draws the samples.

    Raises:
        InputError: fewer than two rows or dimensions, not one label a row, a zero or non-finite
            row (its index is named), a reference or head that does not fit.
    """
    features_ND = checked_features(features_ND, "features", min_rows=2, zero_rows=False)
    spectrum.two_dimensions(features_ND)
    classes_C, class_N = checked_labels(labels_N, len(features_ND))
    sums, squares = unit_sums(features_ND, class_N), scatter(features_ND, class_N)
    dimensions = features_ND.shape[1]
    found: dict[str, float | Estimate] = {
        "mean_cosine": sums.mean_cosine,
        "mean_cosine_centred": _centred(features_ND),
        "iso_score": spectrum.iso_of(spectrum.ratio_of(squares.total_DD), dimensions),
        "iso_score_within": spectrum.iso_of(spectrum.ratio_of(squares.within_DD), dimensions),
        "alignment": 2 - 2 * sums.within,
        "uniformity": uniformity(features_ND, seed=seed),
    }
    if len(classes_C) > 1:
        found["cdnv"] = class_distance_normalised_variance(squares)
    found |= _hubs(features_ND, extended, seed)
    if reference_ND is not None and len(features_ND) >= 4:
        found["cka"] = linear_cka(features_ND, reference_ND, debiased=True)
        if extended:
            found["cka_biased"] = linear_cka(features_ND, reference_ND)
    if extended:
        found |= _spectrum(features_ND, squares) | _local(features_ND, seed)
        if len(classes_C) > 1:
            found |= _classes(features_ND, class_N, sums, seed)
            found |= _collapse(squares, features_ND, labels_N, head)
    return with_errors(found)


def _hubs(features_ND: Rows, extended: bool, seed: int) -> dict[str, float | Estimate]:
    if len(features_ND) <= HUB_NEIGHBOURS:
        return {}
    hubs = hubness(features_ND, seed=seed)
    found: dict[str, float | Estimate] = {"hubness_skewness": hubs.skewness}
    if extended:
        found |= {"hubness_robin_hood": hubs.robin_hood, "antihubs": hubs.antihubs}
    return found


def _spectrum(features_ND: Rows, squares: Scatter) -> dict[str, float | Estimate]:
    total_DD, dimensions = squares.total_DD, features_ND.shape[1]
    shrunk = spectrum.shrunk_ratio(total_DD, SHRINKAGE, dimensions)
    return {
        "participation_ratio": spectrum.ratio_of(total_DD),
        "participation_ratio_within": spectrum.ratio_of(squares.within_DD),
        "iso_score_star": spectrum.iso_of(shrunk, dimensions),
        "effective_rank": spectrum.rank_of(total_DD),
        "rank_me": spectrum.rank_me(features_ND),
        "partition_isotropy": partition_isotropy(features_ND),
    }


def _local(features_ND: Rows, seed: int) -> dict[str, float | Estimate]:
    if len(features_ND) <= NEIGHBOURS:
        return {}
    found = intrinsic_dimension(features_ND, seed=seed)
    return {"dimension_mle": found.mle, "dimension_two_nn": found.two_nn}


def _classes(
    features_ND: Rows, class_N: Ints, sums: UnitSums, seed: int
) -> dict[str, float | Estimate]:
    return {
        "cosine_within": sums.within,
        "cosine_between": sums.between,
        "class_separation": sums.class_separation,
        "silhouette": silhouette_of(features_ND, class_N, sums, seed),
    }


def _collapse(
    squares: Scatter, features_ND: Rows, labels_N: NDArray[Any], head: LinearHead | None
) -> dict[str, float | Estimate]:
    found = collapse_of(squares, features_ND, labels_N, head)
    names = ("nc1", "nc1_ratio", "nc2_norms", "nc2_angles", "nc2_simplex", "nc3", "nc4")
    values = {name: getattr(found, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _centred(features_ND: Rows) -> float:
    value, zero_N = centred_cosine(features_ND)
    return np.nan if zero_N.any() else value

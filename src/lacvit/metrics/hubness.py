"""Hubs: embeddings that are among the nearest neighbours of far too many others.

Shape letters: N embeddings, D dimensions, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features
from lacvit.metrics._passes import unit_rows
from lacvit.metrics.estimate import Estimate, over_parts, parts_of
from lacvit.metrics.neighbours import largest_products

Rows = NDArray[np.floating]

NEIGHBOURS = 10


@dataclass(frozen=True)
class Hubness:
    """How uneven N_k is, the times that a row is among the k nearest of another; its mean is k."""

    skewness: Estimate
    """``E (N_k - k)^3 / sd^3``: 0 where all are chosen alike, large where few are hubs."""
    robin_hood: Estimate
    """``sum |N_k - k| / (2 k N)``: the share of choices to move to make all alike; 0 to 1."""
    antihubs: Estimate
    """Share of rows that nobody chooses; 0 to 1."""


def hubness(features_ND: Rows, *, k: int = NEIGHBOURS, seed: int = 0) -> Hubness:
    """Hubness by exact cosine neighbours (Radovanovic et al. 2010; Feldbauer et al. 2018).

    Directions spread evenly have little of it in any dimension; a shared offset makes hubs of the
    rows nearest to the mean, the more so the higher the intrinsic dimension, and centring removes
    them. It spoils retrieval. Rows evenly on a circle: 0, 0, 0. Which of several copies is a
    neighbour is arbitrary, so copies alone can look like hubs. All rows up to 10,000;
    above, the mean over two to four disjoint parts of 5,000 rows drawn by the seed, with the
    standard error over them: the hubness of 5,000 rows, not of all.

    Raises:
        InputError: k below 1, no more than k rows, a zero or non-finite row (its index is named).
    """
    if k < 1:
        raise InputError(f"k is {k}; expected k >= 1.")
    features_ND = checked_features(features_ND, "features", min_rows=k + 1, zero_rows=False)
    figures = [_of_part(features_ND[part], k) for part in parts_of(len(features_ND), seed)]
    skewness, robin_hood, antihubs = (over_parts(values) for values in zip(*figures, strict=True))
    return Hubness(skewness, robin_hood, antihubs)


def _of_part(features_ND: Rows, k: int) -> tuple[float, float, float]:
    n, unit_ND = len(features_ND), unit_rows(features_ND)
    chosen_NK = largest_products(unit_ND, unit_ND, k, own=True).row_NK
    times_N = np.bincount(chosen_NK.ravel(), minlength=n)
    skewness = float(stats.skew(times_N)) if np.ptp(times_N) else 0.0
    return skewness, float(np.abs(times_N - k).sum() / (2 * k * n)), float(np.mean(times_N == 0))

"""Retrieval within one set of images: does the nearest one show the same class?

Shape letters: N embeddings, Q of a tile, D dimensions, R others of a row's class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_labels
from lacvit.metrics._passes import unit_rows
from lacvit.metrics.estimate import Estimate, mean_of, sampled_rows

Rows = NDArray[np.floating]

QUERIES = 10_000
TILE = 2**23  # cosines at a time: 32 MB of float32


@dataclass(frozen=True)
class Retrieval:
    """Every image asks for its like among all others; each figure 0 to 1, 1 at collapse."""

    recall_at_1: Estimate
    """Share whose nearest other image is of its class (precision at 1). Saturates."""
    recall_at_10: Estimate
    """Share with an image of its class among the ten nearest others."""
    map_at_r: Estimate
    """Mean of ``(1 / R) sum_{i <= R} P(i) rel(i)``, P(i) the precision among the i nearest: the
    whole class has to be near (Musgrave et al. 2020, arXiv 2003.08505). Random order gives about
    ``f^2 + f (1 - f) H_R / R`` for a class of share f, H_R the harmonic number."""


def retrieval(
    features_ND: Rows, labels_N: NDArray[Any], *, queries: int = QUERIES, seed: int = 0
) -> Retrieval:
    """Cosine retrieval, an image never finding itself; exact, by tiles of whole rows of cosines.

    Equals pytorch-metric-learning's AccuracyCalculator (`precision_at_1`,
    `mean_average_precision_at_r` with ``k="max_bin_count"``) on unit rows; as there, images
    alone in their class ask nothing, but are found. The order of equally near images is not
    specified, but repeatable. Above `queries` images so many ask, drawn by the seed, each among
    all, and the error of the sample is stated. Time O(queries N D) and a sort.

    Raises:
        InputError: no class with two images, not one label a row, a zero or non-finite row,
            queries below 1.
    """
    unit_ND = unit_rows(features_ND, min_rows=2)
    _, class_N = checked_labels(labels_N, len(unit_ND))
    others_N = np.bincount(class_N)[class_N] - 1
    able = np.flatnonzero(others_N)
    if not len(able):
        raise InputError("every image is alone in its class; retrieval needs a class of two.")
    if queries < 1:
        raise InputError(f"queries is {queries}; expected at least 1.")
    asked = able[sampled_rows(len(able), queries, seed)]
    size = max(1, TILE // len(unit_ND))
    tiles = [
        _of_tile(unit_ND, class_N, others_N, asked[start : start + size])
        for start in range(0, len(asked), size)
    ]
    found = (np.concatenate(values) for values in zip(*tiles, strict=True))
    return Retrieval(*(mean_of(values, len(able)) for values in found))


def _of_tile(
    unit_ND: Rows, class_N: NDArray[np.int64], others_N: NDArray[np.int64], rows_Q: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Hit at 1, hit at 10 and average precision at R of each row asked for."""
    others_Q1 = others_N[rows_Q][:, None]
    depth = min(max(10, int(others_Q1.max())), len(unit_ND) - 1)
    cosine_QN = unit_ND[rows_Q] @ unit_ND.T
    cosine_QN[np.arange(len(rows_Q)), rows_Q] = -np.inf
    nearest_QK = np.argpartition(cosine_QN, -depth, axis=1)[:, -depth:]
    order_QK = np.argsort(-np.take_along_axis(cosine_QN, nearest_QK, axis=1), axis=1, kind="stable")
    nearest_QK = np.take_along_axis(nearest_QK, order_QK, axis=1)
    relevant_QK = class_N[nearest_QK] == class_N[rows_Q][:, None]
    rank_K = np.arange(1, depth + 1)
    precision_QK = relevant_QK.cumsum(axis=1) / rank_K
    counted_QK = relevant_QK & (rank_K <= others_Q1)
    average_Q = (precision_QK * counted_QK).sum(axis=1) / others_Q1[:, 0]
    hit_Q = relevant_QK[:, 0].astype(np.float64)
    return hit_Q, relevant_QK[:, :10].any(axis=1).astype(np.float64), average_Q

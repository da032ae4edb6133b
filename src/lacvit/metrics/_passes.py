"""The passes over the rows that the measures share: sums by class, in float64, block by block.

A million embeddings are a gigabyte and a half of float32. No pass copies more than a block of
them, and every statistic of pairs that is quadratic in the cosine comes from these sums.

Shape letters: N rows, B rows of a block, D dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacvit.metrics._checks import checked_features, largest_entries

Rows = NDArray[np.floating]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS = 2048  # 6 MB of float64 at 384 dimensions


@dataclass(frozen=True)
class UnitSums:
    """Sums of the unit rows of each class, and how many there are."""

    counts_C: Ints
    sums_CD: Floats

    @property
    def mean_cosine(self) -> float:
        """Over all ordered pairs of different rows."""
        n = int(self.counts_C.sum())
        total_D = self.sums_CD.sum(axis=0)
        return float((total_D @ total_D - n) / (n * (n - 1)))

    @property
    def within(self) -> float:
        """Over all pairs of different rows of one class; not a number without such a pair."""
        pairs = float((self.counts_C * (self.counts_C - 1.0)).sum())
        return float((self._squares_C - self.counts_C).sum() / pairs) if pairs else np.nan

    @property
    def between(self) -> float:
        """Over all pairs of rows of two classes; not a number where there is one class."""
        n = float(self.counts_C.sum())
        pairs = n * n - float((self.counts_C**2.0).sum())
        total_D = self.sums_CD.sum(axis=0)
        return float((total_D @ total_D - self._squares_C.sum()) / pairs) if pairs else np.nan

    @property
    def class_separation(self) -> float:
        """R^2 of Kornblith et al. 2021, every class with one weight."""
        means_CD = self.sums_CD / self.counts_C[:, None]
        mean_D = means_CD.mean(axis=0)
        within = 1 - float(squared_lengths(means_CD).mean())
        total = 1 - float(mean_D @ mean_D)
        return 1 - within / total if total > np.finfo(np.float64).eps * len(means_CD) else np.nan

    @property
    def _squares_C(self) -> Floats:
        return squared_lengths(self.sums_CD)


@dataclass(frozen=True)
class Scatter:
    """Class means, and the squares about them, in units of the largest entry of the features."""

    counts_C: Ints
    means_CD: Floats
    squares_C: Floats
    """Sum over the rows of a class of the squared distance to its mean."""
    within_DD: Floats
    """Sum over all rows of (x - mean of its class)(x - mean of its class)^T."""

    @cached_property
    def offsets_CD(self) -> Floats:
        """Class means less the mean of all rows."""
        mean_D: Floats = self.counts_C @ self.means_CD / self.counts_C.sum()
        return self.means_CD - mean_D

    @cached_property
    def total_DD(self) -> Floats:
        """The squares about the mean of all rows: what is within, and what the class means add."""
        weighted_CD = self.offsets_CD * np.sqrt(self.counts_C)[:, None]
        total_DD: Floats = self.within_DD + weighted_CD.T @ weighted_CD
        return total_DD


def blocks(features_ND: Rows, scale: float = 1.0) -> Iterator[tuple[slice, Floats]]:
    """Float64 copies of ROWS rows at a time, divided by the scale, and which rows they are."""
    for start in range(0, len(features_ND), ROWS):
        block_BD = features_ND[start : start + ROWS].astype(np.float64)
        block_BD /= scale
        yield slice(start, start + len(block_BD)), block_BD


def unit_blocks(
    features_ND: Rows, *, scale: float = 1.0, centre_D: Floats | None = None
) -> Iterator[tuple[slice, Floats]]:
    """The same rows at length 1, the centre subtracted first; a row of zeros stays one."""
    for part, block_BD in blocks(features_ND, scale):
        if centre_D is not None:
            block_BD -= centre_D
        largest_B = largest_entries(block_BD)  # first, so that no square overflows or vanishes
        block_BD /= np.where(largest_B > 0, largest_B, 1.0)[:, None]
        length_B = np.sqrt(squared_lengths(block_BD))
        block_BD /= np.where(length_B > 0, length_B, 1.0)[:, None]
        yield part, block_BD


def unit_rows(features_ND: Rows, name: str = "features", *, min_rows: int = 0) -> Rows:
    """All rows at length 1: one copy, float64 if the features are, else float32.

    Raises:
        InputError: as `checked_features`, and for a row of zeros.
    """
    features_ND = checked_features(features_ND, name, min_rows=min_rows, zero_rows=False)
    wide = np.float64 if features_ND.dtype == np.float64 else np.float32
    unit_ND: Rows = features_ND.astype(wide)
    if len(unit_ND):
        np.divide(unit_ND, largest_entries(unit_ND)[:, None], out=unit_ND)
        np.divide(unit_ND, np.sqrt(squared_lengths(unit_ND))[:, None], out=unit_ND)
    return unit_ND


def squared_lengths(rows_ND: Floats | Rows) -> Floats:
    """The sum of the squares of each row, without an array of the squares."""
    squares_N: Floats = np.einsum("nd,nd->n", rows_ND, rows_ND)
    return squares_N


def scale_of(features_ND: Rows) -> float:
    """The largest absolute entry: divided by it, no square can overflow or vanish."""
    return float(largest_entries(features_ND).max()) or 1.0


def mean_row(features_ND: Rows, scale: float) -> Floats:
    """The mean of the rows divided by the scale."""
    total_D = np.zeros(features_ND.shape[1])
    for _, block_BD in blocks(features_ND, scale):
        total_D += block_BD.sum(axis=0)
    return total_D / len(features_ND)


def unit_sums(features_ND: Rows, class_N: Ints | None = None) -> UnitSums:
    """Sums of unit rows; without classes all rows are of one. O(N D)."""
    class_N = np.zeros(len(features_ND), np.int64) if class_N is None else class_N
    counts_C = np.bincount(class_N)
    sums_CD = np.zeros((len(counts_C), features_ND.shape[1]))
    for part, unit_BD in unit_blocks(features_ND):
        _add_by_class(sums_CD, class_N[part], unit_BD)
    return UnitSums(counts_C, sums_CD)


def scatter(features_ND: Rows, class_N: Ints | None = None) -> Scatter:
    """Means of the classes and squares about them, in two passes; O(N D min(N, D)).

    Where there are fewer rows than dimensions, the rows are first written in N coordinates of
    the space that they span: a rotation, which no use of the squares sees.
    """
    class_N = np.zeros(len(features_ND), np.int64) if class_N is None else class_N
    scale = scale_of(features_ND)
    if len(features_ND) < features_ND.shape[1]:
        features_ND = in_own_span(features_ND, scale)
        scale = 1.0
    counts_C = np.bincount(class_N)
    means_CD = class_means(features_ND, class_N, scale)
    squares_C = np.zeros(len(counts_C))
    within_DD = np.zeros((features_ND.shape[1],) * 2)
    size = 0.0
    for part, block_BD in blocks(features_ND, scale):
        size += float(np.vdot(block_BD, block_BD))
        block_BD -= means_CD[class_N[part]]
        squares_C += np.bincount(class_N[part], squared_lengths(block_BD), len(counts_C))
        within_DD += np.matmul(block_BD.T, block_BD)
    return _without_rounding(Scatter(counts_C, means_CD, squares_C, within_DD), size)


def class_means(features_ND: Rows, class_N: Ints, scale: float = 1.0) -> Floats:
    """The mean of the rows of each class (C, D), divided by the scale; every class has rows."""
    counts_C = np.bincount(class_N)
    means_CD = np.zeros((len(counts_C), features_ND.shape[1]))
    for part, block_BD in blocks(features_ND, scale):
        _add_by_class(means_CD, class_N[part], block_BD)
    return means_CD / counts_C[:, None]


def in_own_span(features_ND: Rows, scale: float) -> Floats:
    """Fewer rows than dimensions, divided by the scale, as rows of N coordinates: same geometry."""
    upper_NN = np.linalg.qr((features_ND.astype(np.float64) / scale).T).R
    return np.ascontiguousarray(upper_NN.T)


def _add_by_class(sums_CD: Floats, class_B: Ints, block_BD: Floats) -> None:
    present_P, position_B = np.unique(class_B, return_inverse=True)
    size = len(block_BD)
    one_hot_PB = sparse.csr_array(
        (np.ones(size), (position_B, np.arange(size))), shape=(len(present_P), size)
    )
    summed_PD: Floats = np.asarray(one_hot_PB @ block_BD)
    sums_CD[present_P] += summed_PD


def _without_rounding(found: Scatter, size: float) -> Scatter:
    """Exact zeros where nothing but the rounding of the means is left."""
    smallest = (found.counts_C.sum() * np.finfo(np.float64).eps) ** 2 * size
    if found.squares_C.sum() <= smallest:
        found = Scatter(found.counts_C, found.means_CD, 0 * found.squares_C, 0 * found.within_DD)
    if (found.counts_C @ found.offsets_CD**2).sum() <= smallest:
        means_CD = np.broadcast_to(found.means_CD[0], found.means_CD.shape)
        found = Scatter(found.counts_C, means_CD, found.squares_C, found.within_DD)
    return found

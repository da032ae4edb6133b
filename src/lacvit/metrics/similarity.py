"""How alike two encoders see the same images: linear CKA.

Shape letters: N images, D and E dimensions of the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features
from lacvit.metrics._passes import Floats, blocks, in_own_span, mean_row, scale_of, squared_lengths

Rows = NDArray[np.floating]


def linear_cka(features_ND: Rows, reference_NE: Rows, *, debiased: bool = False) -> float:
    """Centred kernel alignment of two embeddings of the same images, row by row the same.

    ``||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)`` with columns centred (Kornblith et al. 2019,
    arXiv 1905.00414). Bounds: 0 to 1; 1 where one is a rotation, scaling or shift of the other;
    k of k + m equal directions kept give ``sqrt(k / (k + m))``. Strong directions dominate.
    Unrelated Gaussians give about ``D / (N + D)`` instead of 0, so compare at one N, or use
    ``debiased``: the unbiased HSIC of Song et al. 2012 in all three places, about 0 for unrelated
    ones (it can be a little below). O(N D E), by blocks of rows.

    Returns:
        Not a number where an embedding is constant, or the debiased norm is not above 0.

    Raises:
        InputError: rows that do not pair, fewer than two (debiased: four), a non-finite row.
    """
    least = 4 if debiased else 2
    x_ND = checked_features(features_ND, "features", min_rows=least, zero_rows=True)
    y_NE = checked_features(reference_NE, "reference features", min_rows=least, zero_rows=True)
    if len(x_ND) != len(y_NE):
        raise InputError(
            f"features have {len(x_ND)} rows and reference features {len(y_NE)}; "
            "expected the same images in both."
        )
    products = _Products(x_ND, y_NE)
    hsic = products.unbiased if debiased else products.plain
    norm = hsic("xx") * hsic("yy")
    return float(hsic("xy") / np.sqrt(norm)) if min(hsic("xx"), hsic("yy")) > 0 else np.nan


class _Products:
    """Squared Frobenius norms of X^T X, Y^T Y and X^T Y, centred, and what is on the diagonals."""

    def __init__(self, x_ND: Rows, y_NE: Rows) -> None:
        self.n = len(x_ND)
        (x_ND, scale_x), (y_NE, scale_y) = _narrow(x_ND), _narrow(y_NE)
        mean_x, mean_y = mean_row(x_ND, scale_x), mean_row(y_NE, scale_y)
        sums = {
            "xx": np.zeros((len(mean_x), len(mean_x))),
            "yy": np.zeros((len(mean_y), len(mean_y))),
            "xy": np.zeros((len(mean_x), len(mean_y))),
        }
        length_x, length_y = np.empty(self.n), np.empty(self.n)
        for (part, x_BD), (_, y_BE) in zip(
            blocks(x_ND, scale_x), blocks(y_NE, scale_y), strict=True
        ):
            x_BD -= mean_x
            y_BE -= mean_y
            sums["xx"] += np.matmul(x_BD.T, x_BD)
            sums["yy"] += np.matmul(y_BE.T, y_BE)
            sums["xy"] += x_BD.T @ y_BE
            length_x[part] = squared_lengths(x_BD)
            length_y[part] = squared_lengths(y_BE)
        self._norms = {pair: float((total * total).sum()) for pair, total in sums.items()}
        self._lengths = {"x": length_x, "y": length_y}
        # A constant embedding leaves nothing but the rounding of its mean.
        smallest = (self.n * np.finfo(np.float64).eps) ** 2 * self.n
        for name in "xy":
            if self._lengths[name].sum() <= smallest:
                self._norms[name * 2] = 0.0
                self._lengths[name] = np.zeros(self.n)

    def plain(self, pair: str) -> float:
        return self._norms[pair]

    def unbiased(self, pair: str) -> float:
        """n (n - 3) times HSIC_1: the same norm without the diagonals of both kernels."""
        a_N, b_N, n = self._lengths[pair[0]], self._lengths[pair[1]], self.n
        shared = float(a_N @ b_N)
        alone = float(a_N.sum() * b_N.sum())
        return self._norms[pair] - shared + alone / ((n - 1) * (n - 2)) - 2 * shared / (n - 2)


def _narrow(features_ND: Rows) -> tuple[Rows, float]:
    """The features and their scale; in N coordinates where there are fewer rows than dimensions."""
    scale = scale_of(features_ND)
    if len(features_ND) < features_ND.shape[1]:
        narrow_NN: Floats = in_own_span(features_ND, scale)
        return narrow_NN, 1.0
    return features_ND, scale

"""Positions for another number of patches, each as the authors of that model resize them.

Shape letters: D dimensions, G and H old and new patches a side, R = (2G - 1)^2 + 3 distances,
N heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

EXTRA_DISTANCES = 3  # class token to patch, patch to class token, class token to itself
DINO_OFFSET = 0.1  # against rounding down in the number of patches; it shifts the samples too
SMALLEST_GRID = 3  # a cubic spline needs four distances along a side

# A map of absolute positions (1, D, G, G) and H -> the map (1, D, H, H).
ResizeMap = Callable[[Tensor, int], Tensor]


def bicubic(map_1DGG: Tensor, grid: int) -> Tensor:
    """DeiT, MAE: without antialiasing, by size."""
    return interpolate(map_1DGG, size=(grid, grid), mode="bicubic", align_corners=False)


def bicubic_by_factor(map_1DGG: Tensor, grid: int) -> Tensor:
    """DINO, and DINOv2 without registers: by the factor (H + 0.1) / G."""
    factor = (grid + DINO_OFFSET) / map_1DGG.shape[-1]
    return interpolate(map_1DGG, scale_factor=(factor, factor), mode="bicubic")


def bicubic_antialiased(map_1DGG: Tensor, grid: int) -> Tensor:
    """DINOv2 with registers."""
    return interpolate(map_1DGG, size=(grid, grid), mode="bicubic", antialias=True)


def bilinear(map_1DGG: Tensor, grid: int) -> Tensor:
    """timm, for the files in JAX's layout."""
    return interpolate(map_1DGG, size=(grid, grid), mode="bilinear", align_corners=False)


def resize_absolute(positions_1LD: Tensor, prefix: int, grid: int, resize: ResizeMap) -> Tensor:
    """Positions (1, prefix + G^2, D) for H = ``grid``; those of the prefix tokens are kept."""
    head, patches = positions_1LD[:, :prefix], positions_1LD[:, prefix:]
    old = round(patches.shape[1] ** 0.5)
    if old == grid:
        return positions_1LD
    map_1DGG = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = resize(map_1DGG, grid).permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([head, resized], 1)


def resize_relative(table_RN: Tensor, grid: int) -> Tensor:
    """A table of relative position biases for H = ``grid`` patches a side.

    As BEiT, SimMIM and data2vec do it: the old distances are placed at a geometric progression
    whose end meets the new end, a cubic spline goes through them, and is read at whole
    distances; outside it the edge is repeated. The three distances of the class token are kept.
    """
    old, new = distances_along(table_RN), 2 * grid - 1
    if old == new:
        return table_RN
    from scipy.interpolate import RectBivariateSpline  # half a second that few models need

    places = _geometric_places(old // 2, new // 2)
    wanted = np.arange(-(new // 2), new // 2 + 1, dtype=float)
    biases = table_RN[:-EXTRA_DISTANCES].reshape(old, old, -1).double().numpy()
    columns = [
        RectBivariateSpline(places, places, biases[:, :, head])(wanted, wanted).reshape(-1)
        for head in range(biases.shape[-1])
    ]
    resized = torch.from_numpy(np.stack(columns, 1)).to(table_RN.dtype)
    return torch.cat([resized, table_RN[-EXTRA_DISTANCES:]])


def distances_along(table_RN: Tensor) -> int:
    """2G - 1, from the number of rows of a table."""
    return math.isqrt(max(0, len(table_RN) - EXTRA_DISTANCES))


def _geometric_places(old: int, new: int) -> np.ndarray:
    """Places of the distances -old .. old, so that 1 + q + q^2 + ... ends at ``new``.

    q is bisected between 1.01 and 1.5 to 1e-6, as in the authors' programs.
    """
    low, high, q = 1.01, 1.5, 1.01
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (q**old - 1) / (q - 1) > new else (q, high)
    right = np.cumsum(q ** np.arange(old))
    return np.concatenate([-right[::-1], [0.0], right])

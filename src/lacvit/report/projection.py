"""High-dimensional features as points on a plane, the same images in every panel.

Shape letters: N images, D feature dimensions, 2 plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from lacvit.report.record import Floats, Integers
from lacvit.report.rows import agreement, unit_rows

PCA_POINTS = 2_000
# 0.7 s a panel on one core, 1.6 s for 1,000 points (measured): the dearest part of a report.
TSNE_POINTS = 500
TSNE_ITERATIONS = 400


@dataclass(frozen=True)
class Plane:
    """One panel: where each sampled image lies."""

    name: str
    points_N2: Floats
    labels_N: Integers
    variance: float | None
    agreement: float


def sampled(count: int, seed: int = 0) -> Integers:
    """The images that :func:`planes` shows, of ``count``, in its order."""
    return np.random.default_rng(seed).permutation(count)[:PCA_POINTS]


def planes(
    features: Mapping[str, Floats], labels_N: Integers, *, seed: int = 0, fewer: int = TSNE_POINTS
) -> tuple[list[Plane], list[Plane]]:
    """The features of each stage by PCA, and the first ``fewer`` of the same images by t-SNE.

    Rows are scaled to unit length first, as cosine compares them. Each panel is turned and
    mirrored, never stretched, to lie as the one before it.
    """
    chosen = sampled(len(labels_N), seed)
    few = chosen[:fewer]
    linear: list[Plane] = []
    neighbour: list[Plane] = []
    for name, rows_ND in features.items():
        unit_ND = unit_rows(rows_ND[chosen].astype(np.float64))
        labels = labels_N[chosen]
        agreeing = float(agreement(unit_ND @ unit_ND.T, labels).mean())
        points_N2, variance = principal_components(unit_ND, 2)
        points_N2 = _turned(points_N2, linear)
        linear.append(Plane(name, points_N2, labels, variance, agreeing))
        if len(few) >= 10:
            points = _turned(_tsne(unit_ND[: len(few)], seed), neighbour)
            neighbour.append(Plane(name, points, labels_N[few], None, agreeing))
    return linear, neighbour


def principal_components(rows_ND: Floats, count: int) -> tuple[Floats, float]:
    """Coordinates along the `count` directions of largest variance, and their share of it all."""
    centred = rows_ND - rows_ND.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    total = float(variances.sum())
    points = centred @ directions[:, ::-1][:, :count]
    if points.shape[1] < count:
        points = np.pad(points, ((0, 0), (0, count - points.shape[1])))
    return points, float(variances[::-1][:count].sum()) / total if total > 0 else 0.0


def _tsne(unit_ND: Floats, seed: int) -> Floats:
    points, _ = principal_components(unit_ND, 50)
    if float(np.ptp(points)) == 0.0:  # a collapsed encoder: every image in one place
        return np.zeros((len(unit_ND), 2))
    perplexity = min(30.0, (len(unit_ND) - 1) / 3)
    model = TSNE(init="pca", perplexity=perplexity, max_iter=TSNE_ITERATIONS, random_state=seed)
    # On a busy machine more threads wait for one another at every step: 60 s in place of 1.
    with threadpool_limits(1):
        return np.asarray(model.fit_transform(points.astype(np.float32)), dtype=np.float64)


def _turned(points_N2: Floats, before: list[Plane]) -> Floats:
    """`points_N2` under the rotation or reflection nearest to the panel before (Procrustes)."""
    if not before:
        return points_N2
    left, _, right = np.linalg.svd(points_N2.T @ before[-1].points_N2)
    return np.asarray(points_N2 @ (left @ right))

"""The arms' embeddings of the same test images: planes, similarities, spectra, neighbours.

Shape letters: N images, M of them sampled, D feature dimensions, 2 plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lacvit.arms import UNTOUCHED
from lacvit.report.arm_runs import ArmRun
from lacvit.report.charts import Axis, Chart, Series
from lacvit.report.projection import Plane, planes
from lacvit.report.record import Floats, Integers
from lacvit.report.rows import JUDGED, agreement, unit_rows, variances
from lacvit.report.words import FEATURES

TSNE_POINTS = 1_000
BINS = 50
QUERIES = 4  # half of them where the neighbours became better, half where worse
NEIGHBOURS = 6
EDGE = 999  # coordinates are whole numbers from 0 to it: three digits a point and axis


@dataclass(frozen=True, eq=False)
class Embedding:
    """One encoder's features of all test images; ``arms`` trained it, none the untouched one."""

    arms: tuple[str, ...]
    features_ND: Floats

    @property
    def title(self) -> str:
        return " and ".join(self.arms) or FEATURES[UNTOUCHED]


@dataclass(frozen=True)
class Query:
    """An image and, for each embedding, its nearest others; numbers are places in the sample."""

    image: int
    before: float
    after: float
    nearest: tuple[tuple[int, ...], ...]


def embeddings(arms: Sequence[ArmRun]) -> list[Embedding]:
    """The untouched encoder first, then each that a method trained.

    What several methods trained to the same features (``cross-entropy`` and ``cross-entropy-refit``
    differ in their heads alone) comes once, in the first one's colour.
    """
    found: list[Embedding] = []
    for arm in arms:
        if UNTOUCHED in arm.features and not found:
            found.append(Embedding((), arm.features[UNTOUCHED]))
    for arm in arms:
        if not arm.encoder:
            continue
        features_ND = arm.features[arm.encoder]
        for number, one in enumerate(found):
            if one.arms and np.array_equal(one.features_ND, features_ND):
                found[number] = replace(one, arms=(*one.arms, arm.method))
                break
        else:
            found.append(Embedding((arm.method,), features_ND))
    return found


def place(found: Sequence[Embedding], labels_N: Integers) -> tuple[list[Plane], list[Plane]]:
    """Every embedding by PCA and by t-SNE, in the order of :func:`sampled`."""
    named = {str(number): one.features_ND for number, one in enumerate(found)}
    return planes(named, labels_N, fewer=TSNE_POINTS)


def whole_numbers(points_N2: Floats) -> list[int]:
    """x and y in turn, one scale for both axes, 0 to `EDGE`; y grows upwards."""
    low = points_N2.min(axis=0)
    span = float((points_N2.max(axis=0) - low).max()) or 1.0
    moved = (points_N2 - low) / span
    moved += (1 - moved.max(axis=0)) / 2
    return [int(value) for value in np.round(EDGE * moved).ravel()]


def cosines(features_ND: Floats, chosen_M: Integers) -> Floats:
    """(M, M), of the sampled rows, float32."""
    rows_MD = unit_rows(features_ND[chosen_M].astype(np.float32))
    return rows_MD @ rows_MD.T


def lowest_cosine(cosines_EMM: Sequence[Floats]) -> float:
    """Where histograms of all embeddings begin: below all but a thousandth of the pairs."""
    lowest = min(float(np.quantile(cosines_MM, 0.001)) for cosines_MM in cosines_EMM)
    return max(-1.0, math.floor(10 * lowest) / 10)


def similarity_chart(
    key: str, one: Embedding, cosines_MM: Floats, labels_M: Integers, lowest: float
) -> Chart:
    """Cosines of pairs of the same class and of different classes, each as shares of their own.

    What is below ``lowest`` is counted with the first bin.
    """
    same_MM = labels_M[:, None] == labels_M[None, :]
    upper_MM = np.triu(np.ones_like(same_MM), 1)
    edges = np.linspace(lowest, 1, BINS + 1)
    series, said = [], []
    for name, ink, where_MM in (
        ("different classes", "wrong", upper_MM & ~same_MM),
        ("same class", "right", upper_MM & same_MM),
    ):
        values = np.clip(cosines_MM[where_MM], lowest, 1)
        if len(values) == 0:
            continue
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        x = tuple(round(float(middle), 4) for middle in (edges[1:] + edges[:-1]) / 2)
        y = tuple(round(float(share), 3) for share in shares)
        series.append(Series(name, x, y, mode="area", ink=ink))
        said.append(f"{name} {values.mean():.2f}")
    return Chart(
        key,
        one.title,
        f"Cosine similarity of pairs of images, {one.title}; means: {', '.join(said)}.",
        Axis("cosine similarity"),
        Axis("pairs", "%"),
        tuple(series),
    )


def spectrum_chart(key: str, found: Sequence[Embedding]) -> Chart:
    """The variance along each principal direction as a share of all, of centred features."""
    series = []
    for one in found:
        along = variances(one.features_ND)
        total = float(along.sum())
        if total <= 0:
            continue
        shares = 100 * along / total
        kept = [(rank, share) for rank, share in enumerate(shares, 1) if share > 1e-4]
        series.append(
            Series(
                one.title,
                tuple(float(rank) for rank, _ in kept),
                tuple(float(f"{share:.4g}") for _, share in kept),
                arms=one.arms,
                ink="" if one.arms else "muted",
            )
        )
    return Chart(
        key,
        "Spectra",
        "Share of the variance along each principal direction; the first holds "
        + "; ".join(f"{one.y[0]:.0f} % for {one.name}" for one in series),
        Axis("principal direction", log=True),
        Axis("share of the variance", "%", log=True),
        tuple(series),
    )


def queries(
    cosines_EMM: Sequence[Floats], labels_M: Integers, before: int, after: int
) -> list[Query]:
    """The images whose surroundings changed most from one embedding to another, for the better
    and for the worse; the neighbours in every embedding."""
    if len(labels_M) <= JUDGED:
        return []
    shares = [agreement(cosines_EMM[number], labels_M) for number in (before, after)]
    gain_M = shares[1] - shares[0]
    order = np.argsort(-gain_M, kind="stable")
    better = [int(i) for i in order[: QUERIES // 2] if gain_M[i] > 0]
    worse = [int(i) for i in order[::-1][: QUERIES // 2] if gain_M[i] < 0]
    return [
        Query(
            image,
            float(shares[0][image]),
            float(shares[1][image]),
            tuple(_nearest(cosines_MM[image], image) for cosines_MM in cosines_EMM),
        )
        for image in (*better, *worse)
    ]


def _nearest(cosines_M: Floats, image: int) -> tuple[int, ...]:
    order = np.argsort(-cosines_M, kind="stable")
    return tuple(int(other) for other in order if other != image)[:NEIGHBOURS]

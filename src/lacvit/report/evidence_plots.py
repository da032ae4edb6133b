"""What is drawn of an embedding's geometry and of a classifier's probabilities.

Shape letters: N images, D feature dimensions, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from lacvit.report.frames import Frame
from lacvit.report.record import Bins, Floats, Integers
from lacvit.report.rows import unit_rows, variances
from lacvit.report.theme import light

FRAME = Frame(3.5, 2.3, left=0.5, right=0.12, bottom=0.45, top=0.12)
SQUARE = Frame(3.2, 3.05, left=0.65, right=0.12, bottom=0.45, top=0.12)
COSINE_IMAGES = 1_000  # half a million pairs
COSINE_BINS = 50
SMALLEST = 1e-3  # of the largest singular value: below it a direction is not used
ROOM = 0.15  # free above a histogram, for its key


@dataclass(frozen=True)
class Cosines:
    """Shares of pairs by cosine, each adding up to 1 over the bins between `edges`."""

    edges: Floats
    within: Floats
    between: Floats
    means: tuple[float, float]


def singular_values(features_ND: Floats) -> Floats:
    """Of the centred features, (min(N, D),), the largest 1; zeros where all rows are equal."""
    values: Floats = np.sqrt(variances(features_ND))
    return values / values[0] if values[0] > 0 else values


def cosines(
    features: Mapping[str, Floats], labels_N: Integers, seed: int = 0
) -> dict[str, Cosines]:
    """Of pairs of at most 1,000 images, the same ones and the same bins for every encoder."""
    rows = np.random.default_rng(seed).permutation(len(labels_N))[:COSINE_IMAGES]
    one, other = np.triu_indices(len(rows), k=1)
    same = labels_N[rows][one] == labels_N[rows][other]
    if not same.any() or same.all():
        return {}
    values = {}
    for name, features_ND in features.items():
        x = unit_rows(features_ND[rows].astype(np.float64))
        values[name] = (x @ x.T)[one, other].clip(-1, 1)
    least = min(float(v.min()) for v in values.values())
    edges = np.linspace(np.floor(10 * least) / 10, 1, COSINE_BINS + 1)
    found = {}
    for name, v in values.items():
        shares = [np.histogram(v[w], edges)[0] / w.sum() for w in (same, ~same)]
        means = float(v[same].mean()), float(v[~same].mean())
        found[name] = Cosines(edges, shares[0], shares[1], means)
    return found


def draw_spectrum(axes: Axes, spectra: Sequence[Floats]) -> None:
    """Singular values by rank, both axes logarithmic: the first grey and dashed, the last blue."""
    _plain(axes)
    axes.set_yscale("log")
    axes.set_xscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("direction, the strongest first")
    styles = [("muted", (0, (4, 2)), "before"), ("right", "-", "after")]
    used = styles if len(spectra) > 1 else [("right", "-", "untouched")]
    for values, (ink, dashes, name) in zip(spectra, used, strict=True):
        shown = values[values > SMALLEST]
        axes.plot(
            np.arange(1, len(shown) + 1), shown, color=light(ink), linestyle=dashes, linewidth=1.6,
            label=name,
        )  # fmt: skip
    axes.set_ylim(SMALLEST, 1.6)
    _key(axes, "lower left")


def draw_cosines(axes: Axes, found: Cosines) -> None:
    """Two histograms, each of its own pairs: between classes and, over it, within."""
    _plain(axes)
    axes.set_xlabel("cosine of two test images")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    styles = [
        ("wrong", found.between, "different classes", (0, (4, 2))),
        ("right", found.within, "one class", "-"),
    ]
    for ink, shares, name, dashes in styles:
        axes.stairs(shares, found.edges, fill=True, color=light(ink), alpha=0.18)
        axes.stairs(
            shares, found.edges, color=light(ink), linewidth=1.4, linestyle=dashes, label=name
        )
    highest = max(float(found.within.max()), float(found.between.max()))
    axes.set_ylim(0, highest * (1 + 2 * ROOM))
    axes.set_xlim(found.edges[0], found.edges[-1])
    _key(axes, "upper left")


def draw_reliability(axes: Axes, bins: Bins) -> None:
    """Share that is right by what was promised; the larger the point, the more images."""
    _plain(axes)
    axes.set_aspect("equal")
    axes.plot([0, 1], [0, 1], color=light("muted"), linewidth=0.9, linestyle=(0, (4, 3)))
    seen = bins.counts > 0
    share = bins.counts[seen] / bins.counts.sum()
    x, y = bins.confidence[seen], bins.accuracy[seen]
    axes.vlines(x, x, y, color=light("wrong"), linewidth=1.2)
    axes.plot(x, y, color=light("right"), linewidth=1.2)
    axes.scatter(x, y, s=10 + 160 * share, color=light("right"), zorder=3)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
        axis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_xlabel("probability of the prediction")
    axes.set_ylabel("share that is right")


def _plain(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", color=light("rule"), linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def _key(axes: Axes, place: Literal["lower left", "upper left"]) -> None:
    axes.legend(loc=place, frameon=False, fontsize=8, handlelength=1.8, borderaxespad=0.2)

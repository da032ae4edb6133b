"""What each section of the page says and shows; the template only sets it.

A section that has nothing to show is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from lacvit.report import confusion, plots, theme
from lacvit.report.curves import StageCurves, stage_curves
from lacvit.report.frames import side_by_side, single
from lacvit.report.panels import Panel, svg_of, titled, with_title, write_png
from lacvit.report.projection import Plane, planes
from lacvit.report.record import EvaluationRecord, Mistake, Predictions, RunRecord
from lacvit.report.thumbnails import (
    Thumbnails,
    draw_pictures,
    inline,
    pictures_frame,
    read_or_reason,
)
from lacvit.report.words import FEATURES, percent, shortened, whole
from lacvit.report.words import figures as figures_of

MISTAKES = 24
PAIRS = 12
PLANES = {"pca": "PCA", "tsne": "t-SNE"}


@dataclass(frozen=True)
class CurvesSection:
    stage: StageCurves
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class ConfusionSection:
    svg: Markup
    named: bool
    classes: int
    pairs: tuple[confusion.Pair, ...]


@dataclass(frozen=True)
class MistakesSection:
    shown: tuple[Mistake, ...]
    thumbnails: tuple[str, ...]
    total: int
    missing: str


@dataclass(frozen=True)
class EmbeddingSection:
    linear: tuple[Panel, ...]
    neighbour: tuple[Panel, ...]
    key: tuple[str, ...]
    others: int
    images: int
    fewer: int


def curves_sections(run: RunRecord, figures: Path) -> list[CurvesSection]:
    """One for each stage; draws `curves-<stage>.png`."""
    sections = []
    for stage in map(stage_curves, run.stages):
        draws = [partial(plots.draw_curve, curve=curve) for curve in stage.curves]
        panels = []
        for number, (draw, curve) in enumerate(zip(draws, stage.curves, strict=True)):
            words = f"{stage.title}: {curve.title} over {curve.x_name}; {_ends(curve)}"
            drawn = svg_of(draw, plots.CURVE_FRAME, f"{stage.name}-{number}", words)
            panels.append(Panel(drawn, curve.title))
        if draws:
            row = [
                partial(titled, draw=draw, title=curve.title)
                for draw, curve in zip(draws, stage.curves, strict=True)
            ]
            write_png([row], with_title(plots.CURVE_FRAME), figures / f"curves-{stage.name}.png")
        sections.append(CurvesSection(stage, tuple(panels)))
    return sections


def confusion_section(predictions: Predictions | None, figures: Path) -> ConfusionSection | None:
    """Draws `confusion.png`."""
    if predictions is None or len(predictions.labels_N) == 0:
        return None
    names = predictions.class_names
    counts_CC = confusion.counts(predictions)
    named = len(names) <= plots.NAMED_CLASSES
    if not named:
        order = confusion.side_by_side(counts_CC)
        counts_CC = counts_CC[np.ix_(order, order)]
    draw = partial(plots.draw_confusion, counts_CC=counts_CC, class_names=names)
    pairs = tuple(confusion.most_confused(predictions, PAIRS))
    words = f"Confusion matrix of {len(names)} classes. "
    words += "The table beside it names the most confused pairs." if pairs else "No mistake."
    frame = plots.confusion_frame(names)
    write_png([[draw]], frame, figures / "confusion.png")
    return ConfusionSection(
        svg=svg_of(draw, frame, "confusion", words),
        named=named,
        classes=len(names),
        pairs=pairs,
    )


def mistakes_section(
    evaluation: EvaluationRecord, thumbnails: Thumbnails, figures: Path
) -> MistakesSection | None:
    """The most confident ones with their pictures; draws `mistakes.png`."""
    if not evaluation.mistakes:
        return None
    shown = evaluation.mistakes[:MISTAKES]
    images, reason = read_or_reason(thumbnails, [mistake.path for mistake in shown])
    if images:
        captions = [_mistake_words(mistake) for mistake in shown]
        draw = partial(draw_pictures, images=images, captions=captions)
        with theme.drawing():
            figure = single(draw, pictures_frame(len(images)))
        theme.png(figure, figures / "mistakes.png")
    return MistakesSection(
        shown=shown,
        thumbnails=tuple(map(inline, images)),
        total=len(evaluation.mistakes),
        missing=f"The images themselves cannot be shown: {reason}" if reason else "",
    )


def embedding_section(evaluation: EvaluationRecord, figures: Path) -> EmbeddingSection | None:
    """The test images on a plane, before and after each stage; draws `embedding.png`."""
    predictions = evaluation.predictions
    if predictions is None or not evaluation.features or len(predictions.labels_N) < 3:
        return None
    key = key_classes(predictions)
    linear, neighbour = planes(evaluation.features, predictions.labels_N)
    names = [shortened(predictions.class_names[position], 24) for position in key]
    rows = [
        [partial(_draw_plane, plane=plane, key=key) for plane in row]
        for row in (linear, neighbour)
        if row
    ]
    with theme.drawing():
        figure = side_by_side(rows, with_title(plots.PLANE_FRAME, lines=2), foot=0.5)
        plots.add_key(figure, names)
    theme.png(figure, figures / "embedding.png")
    return EmbeddingSection(
        linear=tuple(_plane_panel(plane, key, "pca") for plane in linear),
        neighbour=tuple(_plane_panel(plane, key, "tsne") for plane in neighbour),
        key=tuple(names),
        others=len(predictions.class_names) - len(key),
        images=len(linear[0].labels_N),
        fewer=len(neighbour[0].labels_N) if neighbour else 0,
    )


def key_classes(predictions: Predictions) -> list[int]:
    """The classes that get a colour: all, or those of the most confused pairs, then the largest."""
    size = len(predictions.class_names)
    if size <= plots.COLOURED_CLASSES:
        return list(range(size))
    index = {name: position for position, name in enumerate(predictions.class_names)}
    chosen: dict[int, None] = {}
    for pair in confusion.most_confused(predictions, size):
        chosen |= {index[pair.label]: None, index[pair.prediction]: None}
    support = np.bincount(predictions.labels_N, minlength=size)
    chosen |= {int(position): None for position in np.argsort(-support, kind="stable")}
    return list(chosen)[: plots.COLOURED_CLASSES]


def class_counts(
    counts: Mapping[str, Mapping[str, int]], names: Sequence[str]
) -> list[list[object]]:
    """A row a class: its name, then how many images it has in each split of `counts`."""
    return [[name, *(by_class.get(name, 0) for by_class in counts.values())] for name in names]


def _plane_panel(plane: Plane, key: Sequence[int], kind: str) -> Panel:
    title = FEATURES.get(plane.name, plane.name)
    words = f"{title}: {whole(len(plane.labels_N))} test images on a plane by {PLANES[kind]}"
    caption = title
    if plane.variance is not None:
        caption += f": {percent(plane.agreement, 0)} of the neighbours share the label"
        words += f"; the plane holds {percent(plane.variance, 0)} of the variance"
    draw = partial(
        plots.draw_projection, points_N2=plane.points_N2, labels_N=plane.labels_N, key=key
    )
    name = f"{kind}-{''.join(letter for letter in plane.name if letter.isalnum())}"
    return Panel(svg_of(draw, plots.PLANE_FRAME, name, words), caption)


def _draw_plane(axes: Axes, plane: Plane, key: Sequence[int]) -> None:
    plots.draw_projection(axes, plane.points_N2, plane.labels_N, key)
    method = "t-SNE" if plane.variance is None else f"PCA, {percent(plane.variance, 0)} of variance"
    axes.set_title(f"{FEATURES.get(plane.name, plane.name)}\n{method}")


def _mistake_words(mistake: Mistake) -> str:
    label, prediction = shortened(mistake.label, 20), shortened(mistake.prediction, 14)
    return f"{prediction} {percent(mistake.confidence)}\nlabelled {label}"


def _ends(curve: plots.Curve) -> str:
    said = percent if curve.percent else figures_of
    known = [said(value) for value in curve.y if value == value]
    return f"from {known[0]} to {known[-1]}" if known else "no values"

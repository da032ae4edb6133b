"""The sections that say what training did to the embedding, and what a probability is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lacvit.report import evidence_plots as plots
from lacvit.report.measures import ERROR, GEOMETRY, QUALITY
from lacvit.report.panels import Panel, svg_of, titled, with_title, write_png
from lacvit.report.record import Embeddings, EvaluationRecord, Floats
from lacvit.report.words import FEATURES, decimals, percent

SCORES = {
    "ece": ("ECE", "How far probability and share of right answers are apart; 0 is best."),
    "brier": ("Brier score", "Squared error of all probabilities; 0 is best, 2 sure and wrong."),
    "nll": ("Log loss", "Mean surprise at the label, in nats; 0 is best."),
}


@dataclass(frozen=True)
class MeasureRow:
    title: str
    meaning: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class GeometrySection:
    verdict: tuple[str, ...]
    encoders: tuple[str, ...]
    geometry: tuple[MeasureRow, ...]
    quality: tuple[MeasureRow, ...]
    panels: tuple[Panel, ...]
    images: int
    of: int


@dataclass(frozen=True)
class CalibrationSection:
    temperature: float
    sentence: str
    rows: tuple[MeasureRow, ...]
    panels: tuple[Panel, ...]


def geometry_section(evaluation: EvaluationRecord, figures: Path) -> GeometrySection | None:
    """The figures of `geometry.json`; draws `geometry.png`: spectra, and cosines of pairs."""
    found = evaluation.embeddings
    if found is None or not any(groups["geometry"] for groups in found.figures.values()):
        return None
    return GeometrySection(
        verdict=found.verdict,
        encoders=tuple(FEATURES.get(name, name) for name in found.figures),
        geometry=_rows(found, "geometry"),
        quality=_rows(found, "quality"),
        panels=_geometry_panels(evaluation, figures),
        images=found.images,
        of=found.of,
    )


def _rows(found: Embeddings, group: str) -> tuple[MeasureRow, ...]:
    """A row a measure that any encoder has, in the order of the list of their meanings."""
    meanings = GEOMETRY if group == "geometry" else QUALITY
    there = {name for groups in found.figures.values() for name in groups[group]}
    others = sorted(name for name in there - meanings.keys() if not name.endswith(ERROR))
    rows = []
    for name in [*(name for name in meanings if name in there), *others]:
        title, meaning = meanings.get(name, (name, ""))
        values = [groups[group].get(name) for groups in found.figures.values()]
        said = percent if group == "quality" else decimals
        rows.append(MeasureRow(title, meaning, tuple("" if v is None else said(v) for v in values)))
    return tuple(rows)


def _geometry_panels(evaluation: EvaluationRecord, figures: Path) -> tuple[Panel, ...]:
    features, predictions = evaluation.features, evaluation.predictions
    if not features or predictions is None or len(predictions.labels_N) < 3:
        return ()
    spectra = [plots.singular_values(rows_ND) for rows_ND in features.values()]
    if not all(values[0] > 0 for values in spectra):
        return ()  # one point has no direction
    ends = [spectra[0], spectra[-1]][: len(spectra)]
    draws = [partial(plots.draw_spectrum, spectra=ends)]
    names = ["spectrum"]
    captions = ["Singular values of the centred features, the largest 1"]
    words = [f"Singular values by rank, the flatter the more even; {_halves(ends)}"]
    for name, cosines in plots.cosines(features, predictions.labels_N).items():
        title = FEATURES.get(name, name)
        draws.append(partial(plots.draw_cosines, found=cosines))
        names.append(f"cosines-{''.join(letter for letter in name if letter.isalnum())}")
        captions.append(f"Similarity: {title[0].lower()}{title[1:]}")
        words.append(
            f"{title}: cosines of pairs of test images; within a class {cosines.means[0]:.2f} on "
            f"average, between classes {cosines.means[1]:.2f}"
        )
    rows = [[partial(titled, draw=d, title=c) for d, c in zip(draws, captions, strict=True)]]
    write_png(rows, with_title(plots.FRAME), figures / "geometry.png")
    return tuple(
        Panel(svg_of(draw, plots.FRAME, name, said), caption)
        for draw, name, said, caption in zip(draws, names, words, captions, strict=True)
    )


def _halves(spectra: Sequence[Floats]) -> str:
    """How many directions hold half of the variance, before training and after."""
    needed = [int((np.cumsum(values**2) < 0.5 * (values**2).sum()).sum()) + 1 for values in spectra]
    said = f"half of the variance lies in {needed[0]} of {len(spectra[0])} directions"
    return said if len(needed) == 1 else f"{said} before, in {needed[1]} after"


def calibration_section(evaluation: EvaluationRecord, figures: Path) -> CalibrationSection | None:
    """What probabilities are worth; draws `reliability.png`, before and after the temperature."""
    found = evaluation.calibration
    if found is None:
        return None
    scaled = found.temperature != 1
    shown = [("Before the temperature", found.before)] if scaled else []
    shown.append(("After the temperature" if scaled else "As trained", found.after))
    draws = [partial(plots.draw_reliability, bins=bins) for _, bins in shown]
    titles = [title for title, _ in shown]
    rows = [[partial(titled, draw=d, title=t) for d, t in zip(draws, titles, strict=True)]]
    write_png(rows, with_title(plots.SQUARE), figures / "reliability.png")
    ece = found.scores["ece"]
    errors = ece if scaled else ece[1:]
    panels = tuple(
        Panel(
            svg_of(
                draw,
                plots.SQUARE,
                f"reliability-{number}",
                f"{title}: share of right answers by probability; off by {percent(error)}",
            ),
            title,
        )
        for number, (draw, title, error) in enumerate(zip(draws, titles, errors, strict=True))
    )
    return CalibrationSection(
        found.temperature, _sentence(found.temperature), _scores(found.scores), panels
    )


def _sentence(temperature: float) -> str:
    if temperature == 1:
        return (
            "Probabilities are given as the head was trained: the validation images were too few "
            "or too easy to fit a temperature on, or the head was fitted on them, or it needs none."
        )
    was = "too sure" if temperature > 1 else "not sure enough"
    return (
        f"By the validation images the head was {was} of its answers. A temperature of "
        f"{temperature:.2f}, fitted on them, divides its outputs; it changes no answer, only how "
        f"sure it is."
    )


def _scores(scores: Mapping[str, tuple[float, float]]) -> tuple[MeasureRow, ...]:
    return tuple(
        MeasureRow(*SCORES[name], (decimals(before), decimals(after)))
        for name, (before, after) in scores.items()
    )

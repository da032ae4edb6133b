"""A comparison cell by cell: its static plots, its pairs of methods, what changed between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lacvit.report.charts import Chart, gains_chart
from lacvit.report.compared import Answers, Change, ClassGain, changes, class_gains, read_answers
from lacvit.report.comparison_detail import Detail
from lacvit.report.comparison_plots import (
    SHOTS_FRAME,
    draw_accuracies,
    draw_differences,
    draw_over_shots,
    row_names,
    rows_frame,
)
from lacvit.report.panels import svg_of
from lacvit.report.words import standing_of


@dataclass(frozen=True)
class Gallery:
    """The clearest of ``total`` images that one method gets right and the other does not."""

    shown: tuple[Change, ...]
    total: int

    @property
    def lines(self) -> list[tuple[object, ...]]:
        """A line an image that is shown, for the CSV."""
        return [(one.path, one.label, one.wrong, one.share) for one in self.shown]


@dataclass(frozen=True)
class PairView:
    """One pair of methods of a cell, in detail."""

    figures: Mapping[str, Any]
    gains: tuple[ClassGain, ...]
    chart: Chart
    fixed: Gallery
    broken: Gallery


@dataclass(frozen=True)
class CellView:
    """One cell: its figures, its plots, its pairs."""

    figures: Mapping[str, Any]
    accuracies: Markup
    differences: tuple[tuple[str, Markup], ...]  # by the method that is set against the others
    pairs: tuple[PairView, ...]
    detail: Detail
    told: bool  # whether its methods' answers are drawn one by one

    @property
    def accuracy_rows(self) -> list[tuple[object, ...]]:
        """A line a method, for the CSV."""
        return [
            (m["method"], m["accuracy"], *(m["interval"] or ("", "")), len(m["runs"]), m["seconds"])
            for m in self.figures["methods"]
        ]

    def of_each(self, methods: Sequence[str]) -> list[float | None]:
        """Each method's accuracy; None of one that has no run here."""
        found = {m["method"]: float(m["accuracy"]) for m in self.figures["methods"]}
        return [found.get(method) for method in methods]

    @property
    def run_rows(self) -> list[tuple[object, ...]]:
        """A line a run, for the CSV."""
        return [
            (
                run["folder"], run["seed"], run["accuracy"], run["validation_accuracy"],
                run["seconds"],
            )
            for method in self.figures["methods"]
            for run in method["runs"]
        ]  # fmt: skip

    @property
    def difference_rows(self) -> list[tuple[object, ...]]:
        """A line a pair, for the CSV."""
        return [
            (
                p["method"], p["against"], p["difference"], *p["interval"], p["detectable"],
                p["p_value"], p["p_holm"], standing_of(p),
            )
            for p in self.figures["pairs"]
        ]  # fmt: skip

    @property
    def charts(self) -> list[Chart]:
        return [*self.detail.charts, *(pair.chart for pair in self.pairs)]

    @property
    def pictured(self) -> list[str]:
        """The paths of the images that the cell's pairs show."""
        return [
            change.path
            for pair in self.pairs
            for of in (pair.fixed, pair.broken)
            for change in of.shown
        ]


def pairs_of(folder: Path, key: str, cell: Mapping[str, Any], shown: int) -> tuple[PairView, ...]:
    """Every pair of the cell, with up to ``shown`` images fixed and as many broken."""
    told = {pair[side] for pair in cell["pairs"] for side in ("method", "against")}
    answers = {
        m["method"]: _answers(folder, m, cell["seeds"])
        for m in cell["methods"]
        if m["method"] in told
    }
    return tuple(
        _pair(f"{key}-gains-{number}", pair, answers, shown)
        for number, pair in enumerate(cell["pairs"])
    )


def _answers(folder: Path, method: Mapping[str, Any], seeds: Sequence[int]) -> Answers | None:
    by_seed = [
        [folder / run["folder"] for run in method["runs"] if run["seed"] == seed] for seed in seeds
    ]
    return read_answers([runs for runs in by_seed if runs]) if any(by_seed) else None


def _pair(
    key: str, pair: Mapping[str, Any], answers: Mapping[str, Answers | None], shown: int
) -> PairView:
    ours, other = answers[pair["method"]], answers[pair["against"]]
    assert ours is not None  # a pair is made only of methods that have a seed in common
    assert other is not None
    gains = tuple(class_gains(ours, other))
    return PairView(
        figures=pair,
        gains=gains,
        chart=gains_chart(key, pair, gains),
        fixed=_gallery(ours, other, shown),
        broken=_gallery(other, ours, shown),
    )


def _gallery(right: Answers, wrong: Answers, limit: int) -> Gallery:
    found = changes(right, wrong)
    return Gallery(tuple(found[:limit]), len(found))


def accuracies(number: int, cell: Mapping[str, Any]) -> Markup:
    methods = cell["methods"]
    named = ", ".join(f"{m['method']} {100 * m['accuracy']:.1f} %" for m in methods)
    return svg_of(
        partial(draw_accuracies, methods=methods),
        rows_frame([method["method"] for method in methods]),
        f"accuracies-{number}",
        f"Accuracy@1, {cell['name']}: {named}",
    )


def differences(
    number: int, cell: Mapping[str, Any], margin: float
) -> tuple[tuple[str, Markup], ...]:
    """A plot for each method that is set against others."""
    plots = []
    for place, method in enumerate(dict.fromkeys(pair["method"] for pair in cell["pairs"])):
        pairs = [pair for pair in cell["pairs"] if pair["method"] == method]
        drawn = svg_of(
            partial(draw_differences, pairs=pairs, margin=margin),
            rows_frame(row_names(pairs)),
            f"differences-{number}-{place}",
            " ".join(pair["words"] for pair in pairs),
        )
        plots.append((method, drawn))
    return tuple(plots)


def over_shots(
    cells: Sequence[Mapping[str, Any]], methods: Sequence[str]
) -> list[tuple[str, Markup]]:
    """A plot for each backbone that was tried at two numbers of images a class or more."""
    plots = []
    for number, backbone in enumerate(dict.fromkeys(cell["backbone"] for cell in cells)):
        found = sorted(
            (c for c in cells if c["backbone"] == backbone and c["shots"] and c["methods"]),
            key=lambda cell: int(cell["shots"]),
        )
        if len(found) > 1:
            words = f"Accuracy@1 by labelled images a class, {backbone}: {_shots_words(found)}"
            draw = partial(draw_over_shots, cells=found, methods=methods)
            plots.append((backbone, svg_of(draw, SHOTS_FRAME, f"shots-{number}", words)))
    return plots


def _shots_words(cells: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"with {cell['shots']} "
        + ", ".join(f"{m['method']} {100 * m['accuracy']:.1f} %" for m in cell["methods"])
        for cell in cells
    )


def shots_rows(cells: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """A line a point of :func:`over_shots`, for the CSV."""
    return [
        (cell["backbone"], cell["shots"], m["method"], m["accuracy"], *(m["interval"] or ("", "")))
        for cell in cells
        if cell["shots"]
        for m in cell["methods"]
    ]

"""The interactive charts of a comparison as plain data; `charts.js` draws them with plotly.

A chart's series are also the rows of its table and of the CSV that the page offers, so that
nothing is drawn that cannot be read, and the other way round.

Shape letters: B bins, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lacvit.metrics.calibration import reliability
from lacvit.report.arm_runs import ArmRun
from lacvit.report.compared import ClassGain
from lacvit.report.curves import DRAWN
from lacvit.report.record import StageRecord
from lacvit.report.words import STAGES

BINS = 10  # of a reliability diagram: few enough that each holds images
NAMED = 30  # classes; more have no room for their names at an axis
DIGITS = 5
WIDE_TIMES = 8.0  # from the shortest to the longest run; beyond, the axis is logarithmic

Runs = Mapping[str, Sequence[tuple[int, Sequence[StageRecord]]]]  # method -> (seed, its stages)


@dataclass(frozen=True)
class Axis:
    name: str
    unit: str = ""
    log: bool = False
    names: tuple[str, ...] = ()  # for the values 0, 1, ...


@dataclass(frozen=True)
class Series:
    """Points in order, in the colour of the first of ``arms``; seen while one of them is shown."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    arms: tuple[str, ...] = ()
    mode: str = "lines"  # or markers, lines+markers, bar, area
    ink: str = ""  # of the page, in place of the arm's colour
    faint: bool = False
    notes: tuple[str, ...] = ()  # one a point, said on hover


@dataclass(frozen=True)
class Chart:
    """``words`` say to a screen reader what is drawn."""

    key: str
    title: str
    words: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    diagonal: bool = False

    def payload(self) -> dict[str, Any]:
        return asdict(self)


def learning_curves(key: str, runs: Runs) -> list[Chart]:
    """A chart for each number of each stage that was measured over epochs; a line a method.

    Thick is the mean of a method's seeds, thin each of them.
    """
    charts = []
    for stage in STAGES:
        for column, title, is_share in DRAWN:
            series = [s for method in runs for s in _curves(runs[method], method, stage, column)]
            if series:
                name = f"{title.replace(', validation', ' on validation')}, {STAGES[stage].lower()}"
                charts.append(
                    Chart(
                        f"{key}-{stage}-{column}",
                        name,
                        f"{name}, over epochs; {_ends(series)}",
                        Axis("epoch"),
                        Axis(title, "%" if is_share else ""),
                        tuple(series),
                    )
                )
    return charts


def _curves(
    runs: Sequence[tuple[int, Sequence[StageRecord]]], method: str, stage: str, column: str
) -> list[Series]:
    shares = {key: is_share for key, _, is_share in DRAWN}
    scale = 100.0 if shares[column] else 1.0
    rows = []
    for seed, stages in runs:
        for record in stages:
            over_epochs = not any(map(record.has, ("strength", "k")))
            if record.name == stage and over_epochs and record.has(column):
                rows.append((seed, [scale * value for value in record.column(column)]))
    if not rows or max(len(values) for _, values in rows) < 2:
        return []
    found = []
    if len(rows) > 1:
        found = [_series(f"{method}, seed {seed}", y, method, faint=True) for seed, y in rows]
    shortest = min(len(values) for _, values in rows)
    mean = np.array([values[:shortest] for _, values in rows]).mean(axis=0)
    return [*found, _series(method, mean.tolist(), method)]


def _series(name: str, y: Sequence[float], method: str, *, faint: bool = False) -> Series:
    known = [(epoch, value) for epoch, value in enumerate(y, 1) if math.isfinite(value)]
    few = not faint and len(known) <= 12
    return Series(
        name,
        tuple(float(epoch) for epoch, _ in known),
        _short(value for _, value in known),
        arms=(method,),
        mode="lines+markers" if few else "lines",
        faint=faint,
    )


def over_time(key: str, cell: Mapping[str, Any]) -> Chart | None:
    """Test accuracy over the seconds of a run: small dots are runs, the large one is the
    mean accuracy at the median time, as the table of accuracies has them.
    """
    series = []
    for method in cell["methods"]:
        name, runs = method["method"], method["runs"]
        notes = tuple(f"seed {run['seed']}" for run in runs)
        seconds = [run["seconds"] for run in runs]
        accuracies = [100 * run["accuracy"] for run in runs]
        if not all(second > 0 for second in seconds):
            return None  # a run that was copied without its times
        if len(runs) > 1:
            series.append(
                Series(
                    f"{name}, each run", _short(seconds), _short(accuracies), (name,), "markers",
                    faint=True, notes=notes,
                )
            )  # fmt: skip
        middle = (float(method["seconds"]), 100 * method["accuracy"])
        series.append(
            Series(name, _short(middle[:1]), _short(middle[1:]), (name,), "markers", notes=(name,))
        )
    times = [second for one in series for second in one.x]
    return Chart(
        key,
        "Accuracy against training time",
        "Accuracy@1 over the time of a run; " + "; ".join(
            f"{one.name} {one.y[0]:.1f} % in {one.x[0]:.3g} s" for one in series if not one.faint
        ),
        Axis("time of a run", "s", log=max(times) > WIDE_TIMES * min(times)),
        Axis("Accuracy@1", "%"),
        tuple(series),
    )  # fmt: skip


def gains_chart(key: str, pair: Mapping[str, Any], gains: Sequence[ClassGain]) -> Chart:
    """A bar a class, the largest gain first."""
    values = [100 * (gain.ours - gain.other) for gain in gains]
    won = sum(value > 0 for value in values)
    lost = sum(value < 0 for value in values)
    notes = tuple(
        f"{gain.name}: {100 * gain.other:.1f} to {100 * gain.ours:.1f} %, {gain.images} images"
        for gain in gains
    )
    places = range(len(gains))
    up = [number for number in places if values[number] >= 0]
    down = [number for number in places if values[number] < 0]
    series = tuple(
        Series(
            name,
            tuple(float(number) for number in chosen),
            _short(values[number] for number in chosen),
            mode="bar",
            ink=ink,
            notes=tuple(notes[number] for number in chosen),
        )
        for name, ink, chosen in (("gained", "right", up), ("lost", "wrong", down))
        if chosen
    )
    over = f"{pair['method']} over {pair['against']}"
    return Chart(
        key,
        f"Gain of each class, {over}",
        f"Gain of each of {len(gains)} classes in points, {over}: {won} gained, {lost} lost.",
        Axis("class", names=tuple(gain.name for gain in gains) if len(gains) <= NAMED else ()),
        Axis("gain in points"),
        series,
    )


def reliability_chart(key: str, arms: Sequence[ArmRun], names: Sequence[str]) -> Chart | None:
    """How often answers of each stated probability are right; on the diagonal they are honest."""
    series = []
    for arm in arms:
        if arm.probabilities_NC.shape[1] != len(arm.columns):
            continue
        place = {name: number for number, name in enumerate(arm.columns)}
        if any(names[label] not in place for label in np.unique(arm.labels_N)):
            continue
        own_N = np.array([place.get(name, -1) for name in names])[arm.labels_N]
        table = reliability(arm.probabilities_NC, own_N, bins=BINS)
        held = np.flatnonzero(table.counts)
        notes = tuple(f"{table.counts[number]} images" for number in held)
        error = 100 * table.expected_calibration_error
        series.append(
            Series(
                f"{arm.method}, error {error:.1f} points",
                _short(100 * table.confidence[held]),
                _short(100 * table.accuracy[held]),
                (arm.method,),
                "lines+markers",
                notes=notes,
            )
        )
    if not series:
        return None
    return Chart(
        key,
        "Reliability",
        f"Share of right answers over the stated probability, in {BINS} bins; expected "
        "calibration error: " + "; ".join(one.name for one in series),
        Axis("stated probability", "%"),
        Axis("right answers", "%"),
        tuple(series),
        diagonal=True,
    )


def _ends(series: Sequence[Series]) -> str:
    said = [s for s in series if not s.faint and s.y]
    return "; ".join(f"{one.name} from {one.y[0]:.3g} to {one.y[-1]:.3g}" for one in said)


def _short(values: Any) -> tuple[float, ...]:
    return tuple(float(f"{float(value):.{DIGITS}g}") for value in values)

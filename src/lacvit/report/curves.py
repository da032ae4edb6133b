"""Learning curves: which numbers of a stage are drawn, and the sentence above them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lacvit.report.plots import Curve
from lacvit.report.record import StageRecord
from lacvit.report.words import MINUS, STAGES, figures, percent

# Every other number of `metrics.jsonl` stays in the file and in TensorBoard.
DRAWN = (
    ("loss", "Loss", False),
    ("knn_accuracy", "k-NN accuracy, validation", True),
    ("validation_accuracy", "Accuracy, validation", True),
    ("effective_rank", "Effective rank", False),
)


@dataclass(frozen=True)
class StageCurves:
    """What the page says and draws of one stage."""

    name: str
    title: str
    sentences: tuple[str, ...]
    curves: tuple[Curve, ...]


def stage_curves(stage: StageRecord) -> StageCurves:
    """Curves over epochs; over strengths for a head that was solved exactly."""
    title = STAGES.get(stage.name, stage.name)
    if _strengths(stage) > 1:
        curves = _over_strength(stage)
    elif stage.has("k"):
        curves = ()  # the sentence says all that a few k come to
    elif len(stage.rows) > 1:
        curves = _over_time(stage)
    else:
        curves = ()
    return StageCurves(stage.name, title, tuple(_sentences(stage)), curves)


def _over_time(stage: StageRecord) -> tuple[Curve, ...]:
    x = _epochs(stage)
    return tuple(
        Curve(
            title=title,
            x=x,
            y=stage.column(key),
            x_name="epoch",
            marks=_marks(stage) if key == "loss" else None,
            percent=is_share,
        )
        for key, title, is_share in DRAWN
        if stage.has(key)
    )


def _epochs(stage: StageRecord) -> list[float]:
    """From 1, as people count; the files count from 0."""
    values = stage.column("epoch")
    if not all(map(math.isfinite, values)):
        return [float(number) for number in range(1, len(values) + 1)]
    return [value + 1 for value in values] if min(values) == 0 else values


def _over_strength(stage: StageRecord) -> tuple[Curve, ...]:
    strengths = np.array(stage.column("strength"))
    order = np.argsort(strengths, kind="stable")
    order = order[np.isfinite(strengths[order]) & (strengths[order] > 0)]
    chosen = _chosen_row(stage)
    return tuple(
        Curve(
            title=title,
            x=[float(value) for value in strengths[order]],
            y=[stage.column(key)[position] for position in order],
            best=order.tolist().index(chosen) if chosen in order else None,
            x_name="C, inverse strength of the penalty",
            percent=is_share,
            logarithmic_x=True,
        )
        for key, title, is_share in DRAWN
        if stage.has(key)
    )


def _marks(stage: StageRecord) -> dict[str, float]:
    """The loss of untrained random directions, and the lowest that it can reach."""
    marks = {
        f"at start, ln(N{MINUS}1)": _last(stage, "loss_start"),
        "floor": _last(stage, "loss_floor"),
    }
    return {name: value for name, value in marks.items() if math.isfinite(value)}


def _sentences(stage: StageRecord) -> list[str]:
    return [text for text in (_length(stage), _loss(stage), _best(stage), _chosen(stage)) if text]


def _length(stage: StageRecord) -> str:
    if stage.has("strength") or stage.has("k"):
        return ""
    count = len(stage.rows)
    text = f"{count} epoch{'' if count == 1 else 's'}"
    steps = np.array(stage.column("step_seconds"))
    waits = np.array(stage.column("data_seconds"))
    known = np.isfinite(steps) & np.isfinite(waits)
    if known.any() and (total := float(steps[known].sum())) > 0:
        waited = float(waits[known].sum()) / total
        text += f", {percent(waited)} of the step time spent waiting for data"
    return text + "."


def _loss(stage: StageRecord) -> str:
    losses = [value for value in stage.column("loss") if math.isfinite(value)]
    if not losses or _strengths(stage) > 1:
        return ""
    start, floor = _last(stage, "loss_start"), _last(stage, "loss_floor")
    if math.isfinite(start) and math.isfinite(floor) and start > floor:
        way = (start - losses[-1]) / (start - floor)
        return (
            f"The loss came to {figures(losses[-1])}: {percent(way, 0)} of the way from its value "
            f"at start, ln(N{MINUS}1) = {figures(start)}, to its floor, {figures(floor)}."
        )
    if len(losses) == 1:
        return f"The loss came to {figures(losses[0])}."
    return f"The loss went from {figures(losses[0])} to {figures(losses[-1])}."


def _best(stage: StageRecord) -> str:
    for key, name in (("validation_accuracy", "accuracy"), ("knn_accuracy", "k-NN accuracy")):
        values = stage.column(key)
        if not stage.has(key):
            continue
        if len(values) == 1:
            return f"Validation {name}: {percent(values[0])}."
        if _strengths(stage) > 1 or stage.has("k"):
            continue
        best = int(np.nanargmax(values))
        return f"Best validation {name}: {percent(values[best])}, {_when(stage, best)}."
    return ""


def _when(stage: StageRecord, position: int) -> str:
    return f"epoch {_epochs(stage)[position]:.0f}"


def _chosen(stage: StageRecord) -> str:
    if stage.has("k"):
        chosen = _chosen_row(stage)
        accuracy = stage.column("validation_accuracy")[chosen]
        return (
            f"The nearest training images vote; of {len(stage.rows)} numbers of them "
            f"k\u00a0=\u00a0{stage.column('k')[chosen]:.0f} did best on validation, "
            f"{percent(accuracy)}."
        )
    strengths = stage.column("strength")
    if _strengths(stage) == 1:
        known = next(value for value in strengths if math.isfinite(value))
        return f"Solved exactly, inverse strength of the penalty C = {figures(known)}."
    if _strengths(stage) > 1 and stage.has("validation_accuracy"):
        chosen = _chosen_row(stage)
        return (
            f"Solved exactly for {_strengths(stage)} strengths of the penalty; "
            f"C\u00a0=\u00a0{figures(strengths[chosen])} did best on validation, "
            f"{percent(stage.column('validation_accuracy')[chosen])}."
        )
    return ""


def _chosen_row(stage: StageRecord) -> int:
    """The row marked so; or of the best validation accuracy, among equals of least loss there."""
    for position, row in enumerate(stage.rows):
        if row.get("chosen") is True:
            return position
    accuracies = np.nan_to_num(stage.column("validation_accuracy"))
    losses = np.nan_to_num(stage.column("validation_loss"))
    return int(np.lexsort((losses, -accuracies))[0])


def _strengths(stage: StageRecord) -> int:
    return len({value for value in stage.column("strength") if math.isfinite(value)})


def _last(stage: StageRecord, key: str) -> float:
    known = [value for value in stage.column(key) if math.isfinite(value)]
    return known[-1] if known else math.nan

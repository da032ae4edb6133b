"""From the runs' answers to `comparison.json`: accuracies, differences, and the answer in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.comparison.answers import RunAnswers, correct_by_seed
from lacvit.comparison.plan import Cell, PlannedRun, Request
from lacvit.metrics.classification import wilson_interval
from lacvit.metrics.significance import PairedDifference, holm, paired_difference

OURS = "lacvit"


def judge(
    request: Request, runs: Sequence[tuple[PlannedRun, RunAnswers | None]], data: str
) -> dict[str, Any]:
    """All that `comparison.json` says of the runs that have ended."""
    by_cell = sorted(runs, key=lambda pair: (pair[0].cell.backbone, pair[0].cell.shots or 0))
    cells = [
        _cell(cell, [answers for _, answers in group if answers], request)
        for cell, group in groupby(by_cell, key=lambda pair: pair[0].cell)
    ]
    pairs = [pair for cell in cells for pair in cell["pairs"]]
    for pair, p_holm in zip(pairs, holm([pair["p_value"] for pair in pairs]), strict=True):
        pair["p_holm"] = p_holm
    missing = [planned.folder.name for planned, answers in runs if answers is None]
    return {
        "data": data,
        "methods": list(request.methods),
        "seeds": request.seeds,
        "margin": request.margin,
        "complete": not missing,
        "missing": missing,
        "answer": " ".join(cell["answer"] for cell in cells),
        "cells": cells,
    }


def _cell(cell: Cell, runs: Sequence[RunAnswers], request: Request) -> dict[str, Any]:
    methods = [m for m in request.methods if any(run.method == m for run in runs)]
    seeds, correct = correct_by_seed(runs, methods)
    ours = OURS if OURS in methods else methods[-1] if methods else OURS
    found = [
        (other, paired_difference(correct[ours], correct[other], margin=request.margin))
        for other in methods
        if other != ours and seeds
    ]
    return {
        "name": cell.name,
        "backbone": cell.backbone,
        "shots": cell.shots,
        "images": len(runs[0].correct_N) if runs else 0,
        "classes": len(runs[0].class_names) if runs else 0,
        "seeds": seeds,
        "methods": [
            _method(m, [r for r in runs if r.method == m], correct.get(m)) for m in methods
        ],
        "pairs": [
            {"method": ours, "against": other, **_pair(ours, other, difference)}
            for other, difference in found
        ],
        "answer": _answer(cell, ours, found),
    }


def _method(
    name: str, runs: Sequence[RunAnswers], correct_SN: NDArray[np.bool_] | None
) -> dict[str, Any]:
    accuracies = [run.accuracy for run in runs]
    return {
        "method": name,
        "accuracy": float(np.mean(accuracies)),
        "interval": _accuracy_interval(correct_SN),
        "least": min(accuracies),
        "most": max(accuracies),
        "seconds": float(np.median([run.seconds for run in runs])),
        "runs": [
            {
                "seed": run.seed,
                "accuracy": run.accuracy,
                "validation_accuracy": run.validation_accuracy,
                "seconds": run.seconds,
                "folder": f"runs/{run.folder.name}",
            }
            for run in sorted(runs, key=lambda run: run.seed)
        ],
    }


def _accuracy_interval(correct_SN: NDArray[np.bool_] | None) -> tuple[float, float] | None:
    """95 %, over images and seeds; of one seed Wilson's, over images alone."""
    if correct_SN is None:
        return None
    if len(correct_SN) == 1:
        return wilson_interval(int(correct_SN.sum()), correct_SN.size)
    return paired_difference(correct_SN, np.zeros_like(correct_SN)).two_way


def _pair(ours: str, other: str, found: PairedDifference) -> dict[str, Any]:
    return {**asdict(found), "verdict": found.verdict, "words": in_words(ours, other, found)}


def in_words(ours: str, other: str, found: PairedDifference) -> str:
    """The difference in a sentence that claims no more than was measured."""
    points = _points(found.difference)
    low, high = (_points(end) for end in found.interval)
    over = f"{ours} is {points} points over {other} (95 % interval {low} to {high})"
    won = f"ahead in {found.seeds_won:g} of {found.seeds} seeds"
    images = f"{found.images:,} test images"
    smallest = f"The smallest difference this design finds: {100 * found.detectable:.1f} points."
    if found.verdict == "better":
        said = f"{over}, {won}, on {images}: better."
    elif found.verdict == "worse":
        said = f"{over}, {won}, on {images}: worse. Use {other} here."
    elif found.verdict == "equal":
        said = f"{over}, {won}, on {images}: equal within the margin."
    else:
        said = (
            f"{over}, {won}, on {images}: not settled; differences beyond {low} and {high} are "
            f"unlikely."
        )
    if found.seeds == 1:
        said += " One run each: what another seed would change was not measured."
    return f"{said} {smallest}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _answer(cell: Cell, ours: str, found: Sequence[tuple[str, PairedDifference]]) -> str:
    """One sentence a cell."""
    if not found:
        return f"{cell.name}: no two methods have ended on the same seed yet."
    verdicts: dict[str, list[str]] = {}
    for other, difference in found:
        low, high = (_points(end) for end in difference.interval)
        text = f"{other} ({_points(difference.difference)} points, {low} to {high})"
        verdicts.setdefault(difference.verdict, []).append(text)
    forms: Mapping[str, str] = {
        "worse": "is worse than {}",
        "unsettled": "cannot be told from {}",
        "equal": "equals {}",
        "better": "is better than {}",
    }
    parts = [
        form.format(" and ".join(verdicts[verdict]))
        for verdict, form in forms.items()
        if verdict in verdicts
    ]
    return f"{cell.name}: {ours} {'; it '.join(parts)}."

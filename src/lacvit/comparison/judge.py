"""From the runs' answers to `comparison.json`: accuracies, differences, and the answer in words.

Shape letters: S seeds (repeats, where folds test in turn), N test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.arms import PUBLISHED_ARM
from lacvit.comparison.answers import RunAnswers, correct_by_seed
from lacvit.comparison.folds import compare_repeats, put_together, repeats_interval
from lacvit.comparison.plan import Cell, PlannedRun, Request
from lacvit.comparison.words import VERDICTS, Found, answer, over_cells, pair_words, standing
from lacvit.metrics.classification import wilson_interval
from lacvit.metrics.significance import (
    PairedDifference,
    accuracy_interval,
    holm,
    paired_difference,
)

Bools = NDArray[np.bool_]

# What an interval covers, by the design.
COVERS = {
    "split": (
        "Every method met the same test images under each seed. Intervals cover other test images "
        "of the same kind and other training runs: the wider of a bootstrap of images and seeds, "
        "and a t interval over the seeds."
    ),
    "one": (
        "Every method met the same test images, once. Intervals cover other test images of the "
        "same kind, by a bootstrap (of one accuracy, Wilson's), and not the luck of the training "
        "runs: for that, more seeds are needed."
    ),
    "folds": (
        "Each image was tested once per repeat, by models that had not seen it. Intervals cover "
        "other images of the same kind and other training runs: the wider of a bootstrap of the "
        "images, and a t interval over the folds, widened because folds share training images "
        "(Nadeau and Bengio 2003). They speak of models trained without a fold; a model kept is "
        "trained on all images."
    ),
}


def judge(
    request: Request, runs: Sequence[tuple[PlannedRun, RunAnswers | None]], data: str
) -> dict[str, Any]:
    """All that `comparison.json` says of the runs that have ended."""
    by_cell = sorted(runs, key=lambda pair: (pair[0].cell.backbone, pair[0].cell.shots or 0))
    compared = [
        _compare(cell, [answers for _, answers in group if answers], request)
        for cell, group in groupby(by_cell, key=lambda pair: pair[0].cell)
    ]
    # Any method could have led, so every pair counts as looked at, not only those that are told.
    looked_at = sum(len(cell.correct) * (len(cell.correct) - 1) // 2 for cell in compared)
    p_values = [found.p_value for cell in compared for found in cell.found.values()]
    p_holm = iter(holm(p_values, of=looked_at))
    cells = [
        _cell(cell, {pair: (found, next(p_holm)) for pair, found in cell.found.items()}, request)
        for cell in compared
    ]
    overall = over_cells(cells)
    missing = [planned.folder.name for planned, answers in runs if answers is None]
    design = "folds" if request.folds else "split"
    once = not request.folds and all(len(cell.seeds) < 2 for cell in compared)
    return {
        "data": data,
        "design": design,
        **({"folds": request.folds, "repeats": request.seeds} if request.folds else {}),
        "covers": COVERS["one" if once else design],
        "methods": list(request.methods),
        "seeds": request.seeds,
        "margin": request.margin,
        "pairs_looked_at": looked_at,
        "complete": not missing,
        "missing": missing,
        "overall": overall,  # a sentence over several, empty of one
        "answer": " ".join(filter(None, [overall, *(cell["answer"] for cell in cells)])),
        "cells": cells,
    }


def shortfalls(figures: Mapping[str, Any], points: float) -> Iterator[str]:
    """In words, where lacvit (or the last method) is not ``points`` above another that was asked.

    A pair without a run of both on the same images has not shown that it is.
    """
    methods = figures["methods"]
    ours = PUBLISHED_ARM if PUBLISHED_ARM in methods else methods[-1]
    for cell in figures["cells"]:
        told = {pair["against"]: pair for pair in cell["pairs"] if pair["method"] == ours}
        for other in methods:
            if other != ours and other not in told:
                yield f"{cell['name']}: {_why_untold(cell, ours, other)}"
            elif other != ours and 100 * told[other]["difference"] < points:
                yield told[other]["words"]


def _why_untold(cell: Mapping[str, Any], ours: str, other: str) -> str:
    there = {method["method"] for method in cell["methods"]}
    missing = [name for name in (ours, other) if name not in there]
    if missing:
        return f"{' and '.join(missing)} has no run that ended, to set {ours} against {other}."
    return f"there is no seed on which every method ended, to set {ours} against {other}."


@dataclass(frozen=True)
class _Compared:
    """One cell's runs, and the differences that are told of it, each pair of methods once."""

    cell: Cell
    runs: Sequence[RunAnswers]
    whole: Sequence[RunAnswers]  # the same, or their folds put together
    methods: Sequence[str]
    seeds: Sequence[int]
    correct: Mapping[str, Bools]
    ours: str
    default: str
    leader: str | None
    found: Mapping[tuple[str, str], PairedDifference]


def _compare(cell: Cell, runs: Sequence[RunAnswers], request: Request) -> _Compared:
    """Ours, then the default, then the leader, each against all others."""
    methods = [m for m in request.methods if any(run.method == m for run in runs)]
    whole = put_together(runs, request.folds) if request.folds else list(runs)
    able = [m for m in methods if any(run.method == m for run in whole)]
    seeds, correct = correct_by_seed(whole, able)
    ours = PUBLISHED_ARM if PUBLISHED_ARM in methods else methods[-1] if methods else PUBLISHED_ARM
    leader = max(correct, key=lambda m: int(correct[m].sum()), default=None)
    found: dict[tuple[str, str], PairedDifference] = {}
    default = request.defaults.get(cell.backbone, "")  # of a plan that timed no backbone, none
    for one in (ours, default, leader):
        for other in correct:
            if one not in correct or other == one or {(one, other), (other, one)} & found.keys():
                continue
            found[one, other] = (
                compare_repeats(correct[one], correct[other], whole, seeds, request.margin)
                if request.folds
                else paired_difference(correct[one], correct[other], margin=request.margin)
            )
    return _Compared(cell, runs, whole, methods, seeds, correct, ours, default, leader, found)


def _cell(
    compared: _Compared, found: Mapping[tuple[str, str], Found], request: Request
) -> dict[str, Any]:
    cell, runs, whole = compared.cell, compared.runs, compared.whole
    pairs = [
        {
            "method": one,
            "against": other,
            **asdict(difference),
            "verdict": difference.verdict,
            "p_holm": p_holm,
            "standing": VERDICTS[standing(difference.verdict, p_holm)],
            "words": pair_words(one, other, difference, p_holm, request.folds),
        }
        for (one, other), (difference, p_holm) in found.items()
    ]
    methods = [
        _method(
            m,
            [run for run in runs if run.method == m],
            [run for run in whole if run.method == m],
            compared.seeds,
            _accuracy_interval(
                compared.correct.get(m), whole if request.folds else None, compared.seeds
            ),
        )
        for m in compared.methods
    ]
    accuracies = {m["method"]: m["accuracy"] for m in methods if m["method"] in compared.correct}
    return {
        "name": cell.name,
        "backbone": cell.backbone,
        "shots": cell.shots,
        "images": len(whole[0].correct_N) if whole else 0,
        "classes": len(runs[0].class_names) if runs else 0,
        "seeds": compared.seeds,
        "methods": methods,
        "leader": compared.leader,
        "reference": compared.ours,
        "default": compared.default,
        "pairs": pairs,  # the reference against all others, then the default method, the leader
        "answer": f"{cell.name}: {_answer(compared, accuracies, found, request)}",
    }


def _answer(
    compared: _Compared,
    accuracies: Mapping[str, float],
    found: Mapping[tuple[str, str], Found],
    request: Request,
) -> str:
    if compared.leader is None or not found:
        unit = "repeat of folds" if request.folds else "seed"
        return f"no two methods have ended on the same {unit} yet."
    said = answer(compared.ours, compared.default, compared.leader, accuracies, found)
    once = not request.folds and len(compared.seeds) == 1
    return f"{said} One run each: another seed may change this." if once else said


def _method(
    name: str,
    runs: Sequence[RunAnswers],
    whole: Sequence[RunAnswers],
    seeds: Sequence[int],
    interval: tuple[float, float] | None,
) -> dict[str, Any]:
    """Of one method, by the seeds that all methods have, as the differences are.

    Until there is one, every run that has ended speaks for it, or every fold.
    """
    shared = [run.accuracy for run in whole if run.seed in seeds]
    accuracies = shared or [run.accuracy for run in whole or runs]
    return {
        "method": name,
        "accuracy": float(np.mean(accuracies)),
        "interval": interval,
        "least": min(accuracies),
        "most": max(accuracies),
        "seconds": float(np.median([run.seconds for run in runs])),
        "runs": [
            {
                "seed": run.seed,
                **({} if run.fold is None else {"fold": run.fold}),
                "accuracy": run.accuracy,
                "validation_accuracy": run.validation_accuracy,
                "seconds": run.seconds,
                "folder": f"runs/{run.folder.name}",
            }
            for run in sorted(runs, key=lambda run: (run.seed, run.fold or 0))
        ],
    }


def _accuracy_interval(
    correct_SN: Bools | None, repeats: Sequence[RunAnswers] | None, seeds: Sequence[int]
) -> tuple[float, float] | None:
    """95 %, over images and training runs; of one run Wilson's, over images alone."""
    if correct_SN is None:
        return None
    if repeats is not None:
        return repeats_interval(correct_SN, repeats, seeds)
    if len(correct_SN) == 1:
        return wilson_interval(int(correct_SN.sum()), correct_SN.size)
    return accuracy_interval(correct_SN)

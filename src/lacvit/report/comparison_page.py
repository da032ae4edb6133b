"""The report of a comparison: `comparison.html`, one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lacvit.report import theme
from lacvit.report.collect import read_run
from lacvit.report.compared import Answers, Change, ClassGain, changes, class_gains, read_answers
from lacvit.report.comparison_plots import (
    SHOTS_FRAME,
    draw_accuracies,
    draw_differences,
    draw_over_shots,
    rows_frame,
)
from lacvit.report.frames import Draw, Frame, single
from lacvit.report.render import render
from lacvit.report.thumbnails import Thumbnails, from_data, inline, read_or_reason
from lacvit.report.words import METHODS, clean
from lacvit.run_folder import read_json, write_bytes

SHOWN = 16  # images that a change fixed, and as many that it broke
OPEN_ROWS = 20


@dataclass(frozen=True)
class Pictures:
    """Changed images with their thumbnails, or the reason why these cannot be shown."""

    shown: tuple[Change, ...]
    thumbnails: tuple[str, ...]
    missing: str


@dataclass(frozen=True)
class PairView:
    """One pair of methods of a cell, in detail."""

    figures: Mapping[str, Any]
    gains: tuple[ClassGain, ...]
    fixed: Pictures
    broken: Pictures


@dataclass(frozen=True)
class CellView:
    """One cell: its figures, its plots, its pairs."""

    figures: Mapping[str, Any]
    accuracies: Markup
    differences: Markup | None
    pairs: tuple[PairView, ...]


def write_comparison_report(folder: Path, thumbnails: Thumbnails | None = None) -> Path:
    """Writes `comparison.html` from `comparison.json` and the runs beside it; returns its path.

    Args:
        folder: what `lacvit compare` wrote; it may still be going on.
        thumbnails: gives the images for a list of paths; by default they are read from the data.

    Raises:
        InputError: no comparison there, or a file of it is damaged.
    """
    figures = read_json(folder / "comparison.json")
    reader = thumbnails or _from_first_run(folder, figures)
    cells = [
        _cell(folder, number, cell, figures["margin"], reader)
        for number, cell in enumerate(figures["cells"])
        if cell["methods"]
    ]
    content = {
        "comparison": figures,
        "name": Path(figures["data"]).name or folder.resolve().name,
        "cells": cells,
        "over_shots": list(_over_shots(figures["cells"])),
        "names": {name: METHODS.get(name, name) for name in figures["methods"]},
        "open_rows": OPEN_ROWS,
        "folder": folder,
    }
    page = folder / "comparison.html"
    write_bytes(page, render("comparison.html.j2", content).encode("utf-8", errors="replace"))
    return page


def _from_first_run(folder: Path, figures: Mapping[str, Any]) -> Thumbnails:
    for cell in figures["cells"]:
        for method in cell["methods"]:
            data = read_run(folder / method["runs"][0]["folder"]).data
            if data is not None:
                return from_data(data.root, data.set_root or None)
    return from_data(figures["data"])


def _cell(
    folder: Path, number: int, cell: Mapping[str, Any], margin: float, thumbnails: Thumbnails
) -> CellView:
    methods, pairs = cell["methods"], cell["pairs"]
    answers = {method["method"]: _answers(folder, method, cell["seeds"]) for method in methods}
    named = ", ".join(f"{m['method']} {100 * m['accuracy']:.1f} %" for m in methods)
    differences = None
    if pairs:
        differences = _svg(
            partial(draw_differences, pairs=pairs, margin=margin),
            rows_frame(len(pairs)),
            f"differences-{number}",
            " ".join(pair["words"] for pair in pairs),
        )
    return CellView(
        figures=cell,
        accuracies=_svg(
            partial(draw_accuracies, methods=methods),
            rows_frame(len(methods)),
            f"accuracies-{number}",
            f"Accuracy@1, {cell['name']}: {named}",
        ),
        differences=differences,
        pairs=tuple(
            _pair(pair, answers[pair["method"]], answers[pair["against"]], thumbnails)
            for pair in pairs
        ),
    )


def _answers(folder: Path, method: Mapping[str, Any], seeds: Sequence[int]) -> Answers | None:
    runs = [folder / run["folder"] for run in method["runs"] if run["seed"] in seeds]
    return read_answers(runs) if runs else None


def _pair(
    pair: Mapping[str, Any], ours: Answers | None, other: Answers | None, thumbnails: Thumbnails
) -> PairView:
    assert ours is not None  # a pair is made only of methods that have a seed in common
    assert other is not None
    return PairView(
        figures=pair,
        gains=tuple(class_gains(ours, other)),
        fixed=_pictures(changes(ours, other, SHOWN), thumbnails),
        broken=_pictures(changes(other, ours, SHOWN), thumbnails),
    )


def _pictures(shown: Sequence[Change], thumbnails: Thumbnails) -> Pictures:
    images, reason = read_or_reason(thumbnails, [change.path for change in shown])
    missing = f"The images themselves cannot be shown: {reason}" if reason else ""
    return Pictures(tuple(shown), tuple(map(inline, images)), missing)


def _over_shots(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """A plot for each backbone that was tried at two numbers of images a class or more."""
    plots = []
    for number, backbone in enumerate(dict.fromkeys(cell["backbone"] for cell in cells)):
        found = sorted(
            (c for c in cells if c["backbone"] == backbone and c["shots"] and c["methods"]),
            key=lambda cell: int(cell["shots"]),
        )
        if len(found) > 1:
            words = f"Accuracy@1 over labelled images a class, {backbone}"
            draw = partial(draw_over_shots, cells=found)
            plots.append((backbone, _svg(draw, SHOTS_FRAME, f"shots-{number}", words)))
    return plots


def _svg(draw: Draw, frame: Frame, name: str, words: str) -> Markup:
    with theme.drawing():
        figure = single(draw, frame)
    return theme.svg(figure, name, clean(words))

"""The report of a comparison: `comparison.html`, one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacvit.errors import InputError
from lacvit.report import theme
from lacvit.report.arm_runs import ArmRun, class_names, read_arms
from lacvit.report.comparison_cells import (
    CellView,
    accuracies,
    differences,
    over_shots,
    pairs_of,
    shots_rows,
)
from lacvit.report.comparison_detail import Detail, detail, outline
from lacvit.report.comparison_payload import (
    NO_PICTURES,
    page_data,
    plotly_licence,
    plotly_script,
    read_pictures,
)
from lacvit.report.page_data import compact_json, csv_link
from lacvit.report.pool import Pool, choose
from lacvit.report.render import render
from lacvit.report.thumbnails import Thumbnails, from_data
from lacvit.run_folder import read_object, write_bytes

GALLERY = 16  # images that a change fixed, and as many that it broke
FEW = 4  # of them, where many pairs would bring all galleries together above the next number
ALL_GALLERIES = 400
OPEN_ROWS = 20
DETAILED = 3  # cells whose answers and embeddings are drawn: t-SNE takes its time
SCRIPTS = ("sort.js", "charts.js", "embedding.js", "confusion.js")


def write_comparison_report(
    folder: Path, thumbnails: Thumbnails | None = None, *, brief: bool = False
) -> Path:
    """Writes `comparison.html` from `comparison.json` and the runs beside it; returns its path.

    Args:
        folder: what `lacvit compare` wrote; it may still be going on.
        thumbnails: gives the images for a list of paths; by default they are read from the data.
        brief: without pictures, confusion and embeddings, which take their time.

    Raises:
        InputError: no comparison there, or a file of it is damaged.
    """
    figures = read_object(folder / "comparison.json")
    if missing := {"cells", "data", "margin", "methods"} - figures.keys():
        raise InputError(
            f"{folder / 'comparison.json'} is none that lacvit compare wrote: it has no "
            f"{', '.join(sorted(missing))}."
        )
    held = [cell for cell in figures["cells"] if cell["methods"]]
    names = class_names(folder, held)
    arms = {} if brief else _arms(folder, held, figures["methods"], names)
    pool = choose([arm for of_cell in arms.values() for arm in of_cell]) if arms else None
    cells, payloads = _cells(folder, held, arms, pool, names, figures["margin"])
    reference = (next(iter(arms.values()))[0], pool, names) if pool is not None else None
    pictures = NO_PICTURES
    if not brief:
        found = thumbnails or _from_first_run(folder, figures)
        pictures = read_pictures(found, *_pictured(cells, reference))
    charts = [chart for cell in cells for chart in cell.charts]
    content = {
        "comparison": figures,
        "name": Path(figures["data"]).name or folder.resolve().name,
        "brief": brief,
        "cells": cells,
        "overview": [(cell.figures["name"], cell.of_each(figures["methods"])) for cell in cells],
        "overview_rows": [
            (cell.figures["name"], *row) for cell in cells for row in cell.accuracy_rows
        ],
        "over_shots": over_shots(figures["cells"], figures["methods"]),
        "shots_rows": shots_rows(figures["cells"]),
        "looks": [theme.method_look(number) for number in range(len(figures["methods"]))],
        "classes": list(names),
        "pictures": pictures,
        "csv": csv_link,
        "json": compact_json,
        "open_rows": OPEN_ROWS,
        "folder": folder,
        "licence": plotly_licence(),
        "data": page_data(figures["methods"], charts, payloads, reference, pictures),
    }
    page = folder / "comparison.html"
    text = render("comparison.html.j2", content, scripts=SCRIPTS, library=plotly_script())
    write_bytes(page, text.encode("utf-8", errors="replace"))
    return page


def _cells(
    folder: Path,
    held: Sequence[Mapping[str, Any]],
    arms: Mapping[int, Sequence[ArmRun]],
    pool: Pool | None,
    names: Sequence[str],
    margin: float,
) -> tuple[list[CellView], dict[int, Any]]:
    """What the page shows of each cell, and the data of those that are drawn in detail."""
    shown = _gallery(held)
    cells, payloads = [], {}
    for number, cell in enumerate(held):
        key = f"cell{number}"
        told = outline(folder, key, cell)
        if pool is not None and number in arms:
            told, payloads[number] = detail(told, key, arms[number], pool, names)
        cells.append(
            CellView(
                figures=cell,
                accuracies=accuracies(number, cell),
                differences=differences(number, cell, margin),
                pairs=pairs_of(folder, key, cell, shown),
                detail=told,
                told=number in arms,
            )
        )
    return cells, payloads


def _arms(
    folder: Path,
    cells: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    names: Sequence[str],
) -> dict[int, list[ArmRun]]:
    """The runs of the cells that are told in detail: the first few that share their test images."""
    found: dict[int, list[ArmRun]] = {}
    for number, cell in enumerate(cells):
        if len(found) == DETAILED:
            break
        arms = read_arms(folder, cell, methods, names)
        first = next(iter(found.values()), arms)
        if arms and arms[0].paths and all(arm.paths == first[0].paths for arm in arms):
            found[number] = arms
    return found


def _gallery(cells: Sequence[Mapping[str, Any]]) -> int:
    galleries = 2 * sum(len(cell["pairs"]) for cell in cells)
    return max(FEW, min(GALLERY, ALL_GALLERIES // max(galleries, 1)))


def _pictured(
    cells: Sequence[CellView], reference: tuple[ArmRun, Pool, Sequence[str]] | None
) -> tuple[list[str], list[str]]:
    """The paths of the small pictures, and those of the large."""
    large = [path for cell in cells for path in cell.pictured]
    if reference is None:
        return [], large
    arm, pool, _ = reference
    details: list[Detail] = [cell.detail for cell in cells]
    large += [path for told in details for query in told.queries for path in query.paths]
    return [arm.paths[row] for row in pool.rows_P], large


def _from_first_run(folder: Path, figures: Mapping[str, Any]) -> Thumbnails:
    for cell in figures["cells"]:
        for method in cell["methods"]:
            manifest = folder / method["runs"][0]["folder"] / "data.json"
            if manifest.exists():
                data = read_object(manifest)
                return from_data(str(data.get("root") or ""), data.get("set_root"))
    return from_data(figures["data"])

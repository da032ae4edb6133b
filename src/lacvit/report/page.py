"""The report of one run: `report.html`, one page that needs nothing but itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lacvit.report import evidence, sections, words
from lacvit.report.collect import read_run
from lacvit.report.held_out import held_out_section
from lacvit.report.record import EvaluationRecord, RunRecord
from lacvit.report.render import render
from lacvit.report.thumbnails import Thumbnails, from_data, inline_sheet
from lacvit.run_folder import write_bytes

OPEN_ROWS = 20  # longer tables start folded


def write_report(run_folder: Path, thumbnails: Thumbnails | None = None) -> Path:
    """Writes `report.html` and the PNG files in `figures/`, and returns the page's path.

    Args:
        run_folder: what `lacvit train` wrote; the run may still be going on.
        thumbnails: gives the images for a list of paths as `mistakes.csv` names them;
            by default they are read from the data that the run was trained on.

    Raises:
        InputError: no run folder, or nothing in it to report yet.
    """
    run = read_run(run_folder)
    root, set_root = (run.data.root, run.data.set_root) if run.data else ("", "")
    content = _content(run, thumbnails or from_data(root, set_root or None))
    page = run_folder / "report.html"
    write_bytes(page, render("run.html.j2", content).encode("utf-8", errors="replace"))
    return page


def _content(run: RunRecord, thumbnails: Thumbnails) -> dict[str, object]:
    figures = run.folder / "figures"
    evaluation = run.evaluation
    content: dict[str, object] = {
        "run": run,
        "name": _name(run),
        "method": words.METHODS.get(run.method, run.method) or "A run",
        "backbone": _setting(run, "backbone", "spec"),
        "answer": _answer(run),
        "views": inline_sheet(run.views) if run.views else None,
        "curves": sections.curves_sections(run, figures),
        "confusion": None,
        "mistakes": None,
        "embedding": None,
        "geometry": None,
        "calibration": None,
        "held_out": held_out_section(run.folder),
        "counts": None,
        "settings": _setting_tables(run.settings),
        "command": run.environment.get("command"),
        "open_rows": OPEN_ROWS,
        "recipe": _again(run.folder),
    }
    if evaluation is not None:
        content["confusion"] = sections.confusion_section(evaluation.predictions, figures)
        content["mistakes"] = sections.mistakes_section(evaluation, thumbnails, figures)
        content["embedding"] = sections.embedding_section(evaluation, figures)
        content["geometry"] = evidence.geometry_section(evaluation, figures)
        content["calibration"] = evidence.calibration_section(evaluation, figures)
    if run.data is not None and run.data.counts:
        content["counts"] = sections.class_counts(run.data.counts, run.data.class_names)
    return content


def _answer(run: RunRecord) -> dict[str, object] | None:
    evaluation = run.evaluation
    split = next(
        (
            name
            for name in ("test", "validation", "training")
            if evaluation and name in evaluation.scores
        ),
        None,
    )
    if evaluation is None or split is None:
        return None
    return {
        "split": split,
        "score": evaluation.scores[split],
        "guess": _largest_class(evaluation) if split == "test" else None,
        "validation": evaluation.scores.get("validation") if split == "test" else None,
    }


def _largest_class(evaluation: EvaluationRecord) -> float | None:
    """Accuracy of always naming the class with most test images."""
    if evaluation.predictions is None or len(evaluation.predictions.labels_N) == 0:
        return None
    return float(np.bincount(evaluation.predictions.labels_N).max()) / len(
        evaluation.predictions.labels_N
    )


def _name(run: RunRecord) -> str:
    root = run.data.root if run.data else ""
    return Path(root).name or run.folder.resolve().name


def _setting(run: RunRecord, section: str, key: str) -> str:
    table = run.settings.get(section)
    return str(table.get(key) or "") if isinstance(table, Mapping) else ""


def _setting_tables(settings: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Section -> key -> value; the keys above all sections come first, as `run`."""
    top = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    tables = {key: dict(value) for key, value in settings.items() if isinstance(value, Mapping)}
    return ({"run": top} if top else {}) | tables


def _again(folder: Path) -> str:
    """A command that trains the same run once more, beside it."""
    recipe, output = folder / "settings.toml", folder.with_name(f"{folder.name}-again")
    return shlex.join(["lacvit", "train", "--recipe", str(recipe), "--output", str(output)])

"""One comparison a data set, each whole in a folder of its own, and a table of them all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lacvit.comparison.begin import Work, begin
from lacvit.comparison.compare import Comparison, carry_out, plan_lines
from lacvit.comparison.identity import FIGURES, earlier_figures
from lacvit.comparison.latex import latex_row
from lacvit.comparison.plan import Request
from lacvit.comparison.tables import (
    DIFFERENCES,
    accuracies,
    cells_of,
    difference_row,
    markdown_table,
    unfinished,
)
from lacvit.data.named_sets import names_a_set
from lacvit.errors import InputError
from lacvit.naming import name_of
from lacvit.run_folder import write_json, write_text
from lacvit.training.logs import Progress, Silence

COLUMNS = (
    "data", "backbone", "shots", "images", "method", "accuracy", "low", "high", "least", "most",
    "seeds", "complete",
)  # fmt: skip


def compare_several(
    given: Mapping[str, object],
    request: Request,
    data: Sequence[str],
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """`compare` on each data set, once all of them were found sound.

    Under ``request.output`` each set has the folder of its name, the same as by a command of its
    own. Beside these folders one table, named after the sets, is written anew after each.

    Args:
        given: settings for every run, without ``data.path``; ``data.root`` is for those sets that
            are given by their names.
        request: what is compared on each.
        data: the sets.
        progress: who watches.

    Raises:
        InputError: two sets of one name, or anything that `compare` raises.
    """
    progress = progress or Silence()
    works: dict[str, Work] = {}
    of_each = given_for_each(given, data)
    for path, of_set in requests_of(request, data).items():
        works[path] = begin(of_each[path], of_set, progress)
        for line in (f"{path}:", *plan_lines(works[path])):
            progress.message(line)
    figures: dict[str, Mapping[str, Any]] = {
        path: earlier_figures(work.request.output) for path, work in works.items()
    }
    ended: list[Comparison] = []
    for number, path in enumerate(data, 1):
        progress.message(f"Data set {number} of {len(data)}: {path}")
        ended.append(carry_out(works.pop(path)))  # its images are held no longer than needed
        figures[path] = ended[-1].figures
        so_far = [found for found in figures.values() if found]
        write_text(table_of(request, data, "md"), as_markdown(so_far))
        write_text(table_of(request, data, "tex"), as_latex(so_far))
        write_text(table_of(request, data, "csv"), as_csv(so_far))
        write_json(table_of(request, data, "json"), so_far)
    return tuple(ended)


def table_of(request: Request, data: Sequence[str], ending: str) -> Path:
    """Where the table of several sets is, named after them."""
    return request.output / f"{'+'.join(map(name_of, data))}.{ending}"


def requests_of(request: Request, data: Sequence[str]) -> dict[str, Request]:
    """Each set's own request, whose folder lies in ``request.output``.

    Raises:
        InputError: two sets that would share a folder, or that folder's parent holds a comparison.
    """
    if (request.output / FIGURES).exists():
        raise InputError(
            f"{request.output} holds the comparison on one data set; several go into folders below "
            f"--output. Choose another."
        )
    by_name: dict[str, str] = {}
    for path in data:
        name = name_of(path)
        if name in by_name:
            raise InputError(
                f"{by_name[name]} and {path} would share the folder {request.output / name}. "
                f"Name each set once; compare sets of one name apart, with an --output each."
            )
        by_name[name] = path
    return {path: replace(request, output=request.output / name) for name, path in by_name.items()}


def given_for_each(
    given: Mapping[str, object], data: Sequence[str]
) -> dict[str, dict[str, object]]:
    """The settings for each set: beside sets that are named, a folder has no use for their root."""
    root = given.get("data.root")
    named = {path: names_a_set(path, None if root is None else str(root)) for path in data}
    rootless = {key: value for key, value in given.items() if key != "data.root"}
    return {
        path: {**(given if named[path] or not any(named.values()) else rootless), "data.path": path}
        for path in data
    }


def as_csv(figures: Sequence[Mapping[str, Any]]) -> str:
    """A line for each method in each setting of each set; ``seeds`` are repeats of folds."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for comparison, cell in cells_of(figures):
        about = {"data": comparison["data"], "complete": comparison["complete"]}
        for method in cell["methods"]:
            low, high = method["interval"] or ("", "")
            seeds = len(cell["seeds"]) or len({run["seed"] for run in method["runs"]})
            more = {"low": low, "high": high, "seeds": seeds}
            writer.writerow({**cell, **method, **about, **more})
    return buffer.getvalue()


def as_markdown(figures: Sequence[Mapping[str, Any]]) -> str:
    """Accuracies, a method a column, and how the reference compares with the others."""
    lines = [f"# Methods on {', '.join(name_of(one['data']) for one in figures)}", ""]
    for comparison in figures:
        if said := _reserve(comparison):
            lines += [f"{name_of(comparison['data'])}: {said}", ""]
    lines += markdown_table(*accuracies(figures))
    lines += ["Accuracy@1 in per cent, mean of the seeds, on test images or out of folds, as each"]
    lines += ["set's own report says. A mean over settings says nothing of other data sets.", ""]
    differences = _differences(figures)
    if differences:
        lines += markdown_table(("data", "setting", *DIFFERENCES), differences)
        lines += ["p (Holm) is p corrected for all pairs of methods of that data set.", ""]
    return "\n".join(lines)


def _differences(figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A line a pair of the reference, for every setting of every set."""
    return [
        (name_of(comparison["data"]), cell["name"], *difference_row(pair))
        for comparison, cell in cells_of(figures)
        for pair in cell["pairs"]
        if pair["method"] == cell["reference"]
    ]


def _reserve(comparison: Mapping[str, Any]) -> str:
    """What must be known beside a set's figures; empty where nothing must."""
    said = [] if comparison["complete"] else [f"{unfinished(comparison)}."]
    if copies := comparison.get("copies"):
        said.append(f"Test images were seen in training. {copies['words']}")
    return " ".join(said)


def as_latex(figures: Sequence[Mapping[str, Any]]) -> str:
    """The accuracies as one tabular (booktabs), and the differences. Nothing is set bold."""
    names, rows = accuracies(figures)
    lines = [
        f"% {name_of(comparison['data'])}: {said}"
        for comparison in figures
        if (said := _reserve(comparison))
    ]
    lines += [rf"\begin{{tabular}}{{ll{'r' * (len(names) - 2)}}}", r"\toprule"]
    lines += [latex_row(names), r"\midrule", *map(latex_row, rows)]
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    if differences := _differences(figures):
        lines += ["% Holm's p is over all pairs of methods of that data set."]
        lines += [r"\begin{tabular}{llllrrrrrl}", r"\toprule"]
        lines += [latex_row(("data", "setting", *DIFFERENCES)), r"\midrule"]
        lines += [*map(latex_row, differences), r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)

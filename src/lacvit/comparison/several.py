"""One comparison a data set, each whole in a folder of its own, and a table of them all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from lacvit.comparison.compare import Comparison, compare, plan
from lacvit.comparison.identity import FIGURES
from lacvit.comparison.plan import Request
from lacvit.comparison.tables import difference_row, latex_row, markdown_table
from lacvit.errors import InputError
from lacvit.run_folder import write_text
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
    own, and ``table.md``, ``table.tex`` and ``table.csv`` are written anew after each set.

    Args:
        given: settings for every run, without ``data.path``.
        request: what is compared on each.
        data: the sets.
        progress: who watches.

    Raises:
        InputError: two sets of one name, or anything that `compare` raises.
    """
    progress = progress or Silence()
    asked = requests_of(request, data)
    for path, of_set in asked.items():
        progress.message(f"{path}:")
        for line in plan({**given, "data.path": path}, of_set, progress, folders=False):
            progress.message(line)
    ended: list[Comparison] = []
    for number, (path, of_set) in enumerate(asked.items(), 1):
        progress.message(f"Data set {number} of {len(asked)}: {path}")
        ended.append(compare({**given, "data.path": path}, of_set, progress))
        figures = [comparison.figures for comparison in ended]
        to_come = [other for other in asked if other not in list(asked)[:number]]
        write_text(request.output / "table.md", as_markdown(figures, to_come))
        write_text(request.output / "table.tex", as_latex(figures))
        write_text(request.output / "table.csv", as_csv(figures))
    return tuple(ended)


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
        other = by_name.setdefault(name_of(path), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would share the folder {request.output / name_of(path)}, "
                f"which goes by a set's name. Name each set once; compare sets of one name apart, "
                f"with an --output each."
            )
    return {path: replace(request, output=request.output / name_of(path)) for path in data}


def name_of(path: str) -> str:
    """What a data set's folder is called."""
    return Path(path).resolve().stem


def as_csv(figures: Sequence[Mapping[str, Any]]) -> str:
    """A line for each method in each setting of each set."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for comparison, cell in _cells(figures):
        about = {"data": comparison["data"], "complete": comparison["complete"]}
        for method in cell["methods"]:
            low, high = method["interval"] or ("", "")
            seeds = {"low": low, "high": high, "seeds": len(cell["seeds"])}
            writer.writerow({**cell, **method, **about, **seeds})
    return buffer.getvalue()


def as_markdown(figures: Sequence[Mapping[str, Any]], to_come: Sequence[str]) -> str:
    """Accuracies, a method a column, and how the reference compares with the others."""
    lines = [f"# Methods on {', '.join(name_of(one['data']) for one in figures)}", ""]
    if to_come:
        lines += [f"Unfinished: {', '.join(to_come)} to come.", ""]
    lines += [
        *markdown_table(*accuracies(figures)),
        "Accuracy@1 on test images, mean of the seeds.",
    ]
    lines += ["A mean over settings says nothing of other data sets.", ""]
    names = ("data", "setting", "method", "less", "points", "95 % interval", "p", "p (Holm)")
    differences = [
        (name_of(comparison["data"]), cell["name"], *difference_row(pair))
        for comparison, cell in _cells(figures)
        for pair in cell["pairs"]
        if pair["method"] == cell["reference"]
    ]
    if differences:
        lines += markdown_table((*names, "verdict"), differences)
        lines += ["p (Holm) is p corrected for all pairs of methods of that data set.", ""]
    return "\n".join(lines)


def as_latex(figures: Sequence[Mapping[str, Any]]) -> str:
    """The accuracies as one tabular (booktabs). Nothing is set bold."""
    names, rows = accuracies(figures)
    lines = [rf"\begin{{tabular}}{{ll{'r' * (len(names) - 2)}}}", r"\toprule"]
    lines += [latex_row(names), r"\midrule", *map(latex_row, rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def accuracies(figures: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: a setting a row, a method a column, in per cent.

    A last row has the means over the settings, where every method has ended in each.
    """
    found = [
        (comparison, cell, {one["method"]: 100 * one["accuracy"] for one in cell["methods"]})
        for comparison, cell in _cells(figures)
    ]
    methods = list(dict.fromkeys(method for *_, by_method in found for method in by_method))
    rows = [
        [
            name_of(comparison["data"]),
            cell["name"],
            f"{cell['images']:,}",
            *(f"{by_method[m]:.1f}" if m in by_method else "" for m in methods),
        ]
        for comparison, cell, by_method in found
    ]
    if len(found) > 1 and all(len(by_method) == len(methods) for *_, by_method in found):
        means = [fmean(by_method[m] for *_, by_method in found) for m in methods]
        rows.append(["mean", "", "", *(f"{mean:.1f}" for mean in means)])
    return ["data", "setting", "images", *methods], rows


def _cells(
    figures: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for comparison in figures:
        for cell in comparison["cells"]:
            yield comparison, cell

"""A comparison's figures as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = (
    "backbone", "shots", "method", "seed", "fold", "accuracy", "validation_accuracy", "seconds",
    "folder",
)  # fmt: skip


def as_csv(comparison: Mapping[str, Any]) -> str:
    """A line a run."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in comparison["cells"]:
        for method in cell["methods"]:
            for run in method["runs"]:
                row = {**cell, "fold": None, "method": method["method"], **run}
                writer.writerow(["" if row[name] is None else row[name] for name in COLUMNS])
    return buffer.getvalue()


def as_markdown(comparison: Mapping[str, Any]) -> str:
    """The answer, a table of accuracies a cell, and the differences in words."""
    lines = [f"# Methods on {comparison['data']}", "", comparison["answer"], ""]
    if not comparison["complete"]:
        lines += [f"Unfinished: {len(comparison['missing'])} runs are missing.", ""]
    for cell in comparison["cells"]:
        lines += [f"## {cell['name']}", "", _tested(comparison, cell), ""]
        lines += [
            "| method | Accuracy@1 | 95 % interval | least to most | seeds |",
            "|---" * 5 + "|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in _rows(cell)]
        lines += ["", *(f"- {pair['words']}" for pair in cell["pairs"]), ""]
    lines += [comparison["covers"], ""]
    return "\n".join(lines)


def as_latex(comparison: Mapping[str, Any]) -> str:
    """One tabular (booktabs) over all cells; nothing is set bold: intervals overlap."""
    lines = [r"\begin{tabular}{llrrr}", r"\toprule"]
    lines += [r"setting & method & Accuracy@1 & 95\,\% interval & seeds \\"]
    for cell in comparison["cells"]:
        lines.append(r"\midrule")
        for method, accuracy, interval, _, seeds in _rows(cell):
            words = (cell["name"], method, accuracy, interval.replace(" to ", "--"), seeds)
            lines.append(" & ".join(_escaped(word) for word in words) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _tested(comparison: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    if comparison["design"] == "folds":
        return f"{cell['images']:,} images, each tested out of {comparison['folds']} folds."
    return f"{cell['images']:,} test images."


def _rows(cell: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    for method in cell["methods"]:
        interval = method["interval"]
        yield (
            method["method"],
            f"{100 * method['accuracy']:.1f}",
            "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
            f"{100 * method['least']:.1f} to {100 * method['most']:.1f}",
            str(len(method["runs"])),
        )


def _escaped(text: str) -> str:
    for sign in "&%_#":
        text = text.replace(sign, f"\\{sign}")
    return text

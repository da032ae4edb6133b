"""A comparison's figures as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lacvit.comparison.tables import (
    DIFFERENCES,
    accuracy_rows,
    difference_row,
    how_made,
    measures,
    of_embeddings,
    pairs_told,
    unfinished,
)

LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
    }
)


def as_latex(comparison: Mapping[str, Any]) -> str:
    """Tabulars (booktabs): accuracies and differences over all cells, then the measures of each.

    Nothing is set bold.
    """
    lines = [] if comparison["complete"] else [f"% {unfinished(comparison)}."]
    lines += [f"% {' '.join(said.split())}" for said in how_made(comparison)]
    lines += [r"\begin{tabular}{llrrr}", r"\toprule"]
    lines += [r"setting & method & Accuracy@1 & 95\,\% interval & seeds \\"]
    for cell in comparison["cells"]:
        lines.append(r"\midrule")
        for method, accuracy, interval, _, seeds in accuracy_rows(cell):
            words = (cell["name"], method, accuracy, interval.replace(" to ", "--"), seeds)
            lines.append(latex_row(words))
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    if any(cell["pairs"] for cell in comparison["cells"]):
        lines += _differences(comparison)
    for cell in comparison["cells"]:
        if measured := cell.get("embeddings"):
            lines += _measures(f"{cell['name']}: embeddings", of_embeddings(measured))
        if held_out := cell.get("held_out"):
            lines += _measures(f"{cell['name']}: classes never trained on", held_out["measures"])
    return "\n".join(lines)


def _differences(comparison: Mapping[str, Any]) -> list[str]:
    lines = [f"% Holm's p is over {pairs_told(comparison)} of methods."]
    lines += [r"\begin{tabular}{lllrrrrrl}", r"\toprule", latex_row(("setting", *DIFFERENCES))]
    for cell in comparison["cells"]:
        if pairs := cell["pairs"]:
            lines.append(r"\midrule")
            lines += [latex_row((cell["name"], *difference_row(pair))) for pair in pairs]
    return [*lines, r"\bottomrule", r"\end{tabular}", ""]


def _measures(title: str, found: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    names, rows = measures(found)
    lines = [f"% {title}, means of the runs", rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}"]
    lines += [r"\toprule", latex_row(names), r"\midrule", *map(latex_row, rows)]
    return [*lines, r"\bottomrule", r"\end{tabular}", ""]


def latex_row(words: Sequence[str]) -> str:
    """A line of a tabular."""
    return " & ".join(_escaped(word) for word in words) + r" \\"


def _escaped(text: str) -> str:
    return text.translate(LATEX)

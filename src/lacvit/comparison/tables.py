"""A comparison's figures as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from lacvit.comparison.words import VERDICTS, points, standing
from lacvit.naming import name_of
from lacvit.report.words import chance, decimals

COLUMNS = (
    "backbone", "shots", "method", "seed", "fold", "accuracy", "validation_accuracy", "seconds",
    "folder", "complete",
)  # fmt: skip
TOLD = ("difference", "low", "high", "detectable", "p_value", "p_holm", "verdict")
DIFFERENCES = (
    "method", "less", "points", "95 % interval", "smallest found", "p", "p (Holm)", "verdict",
)  # fmt: skip
TURNED = {"better": "worse", "worse": "better", "ahead": "behind", "behind": "ahead"}


def as_csv(comparison: Mapping[str, Any]) -> str:
    """A line a run. Beside it stands how its method compares, over all seeds.

    ``difference_to_lacvit`` is the method's accuracy less that of lacvit, and so on for the other
    columns of `TOLD`; the same for the default method of ``lacvit train``. ``complete`` says
    whether every run of the comparison has ended.
    """
    ours = {cell["reference"] for cell in comparison["cells"] if cell["pairs"]}
    known = {m["method"] for cell in comparison["cells"] for m in cell["methods"]}
    defaults = {cell["default"] for cell in comparison["cells"]}
    references = [*sorted(ours), *sorted(defaults & known - ours)]
    columns = [*COLUMNS, *(f"{told}_to_{name}" for name in references for told in TOLD)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in comparison["cells"]:
        for method in cell["methods"]:
            name = method["method"]
            compared = {
                f"{told}_to_{reference}": value
                for reference in references
                for told, value in _told(cell, name, reference).items()
            }
            for run in method["runs"]:
                row = {**cell, "fold": None, "complete": comparison["complete"], "method": name}
                writer.writerow({**row, **compared, **run})
    return buffer.getvalue()


def pairs_told(comparison: Mapping[str, Any]) -> str:
    """Over how many pairs Holm corrects."""
    number = comparison["pairs_looked_at"]
    return "1 pair" if number == 1 else f"{number} pairs"


def _told(cell: Mapping[str, Any], method: str, reference: str) -> dict[str, object]:
    """The pair of both, from the side of ``method``; empty where there is none."""
    for pair in cell["pairs"]:
        if {pair["method"], pair["against"]} != {method, reference}:
            continue
        low, high = pair["interval"]
        kind = standing(pair["verdict"], pair["p_holm"])
        if pair["method"] == method:
            found = (pair["difference"], low, high)
        else:
            found = (0.0 - pair["difference"], 0.0 - high, 0.0 - low)
            kind = TURNED.get(kind, kind)
        values = (*found, pair["detectable"], pair["p_value"], pair["p_holm"], VERDICTS[kind])
        return dict(zip(TOLD, values, strict=True))
    return {}


def as_markdown(comparison: Mapping[str, Any]) -> str:
    """The answer, and for each cell its accuracies, its differences, and these in words."""
    lines = [f"# Methods on {comparison['data']}", "", comparison["answer"], ""]
    if not comparison["complete"]:
        lines += [f"{unfinished(comparison)}.", ""]
    if copies := comparison.get("copies"):
        lines += [f"**Test images were seen in training.** {copies['words']}", ""]
    if failed := comparison.get("failed"):
        lines += ["Runs that diverged, and are left out of every figure:", ""]
        lines += [*(f"- {one['folder']}: {one['reason']}" for one in failed), ""]
    once = "repeats" if comparison["design"] == "folds" else "seeds"
    if len(comparison["cells"]) > 1:
        lines += [f"Accuracy@1 in per cent, mean of the {once}; intervals and differences follow."]
        lines += [""]
        lines += markdown_table(*accuracies([comparison]))
    for cell in comparison["cells"]:
        lines += [f"## {cell['name']}", "", _tested(comparison, cell), ""]
        lines += markdown_table(
            ("method", "Accuracy@1", "95 % interval", "least to most", once), accuracy_rows(cell)
        )
        if pairs := cell["pairs"]:
            lines += markdown_table(
                DIFFERENCES,
                (difference_row(pair) for pair in pairs),
            )
            lines += [*(f"- {pair['words']}" for pair in pairs), ""]
            lines += _mcnemar(comparison, cell)
        if measured := cell.get("embeddings"):
            lines += _embeddings(measured)
        if held_out := cell.get("held_out"):
            lines += _held_out(held_out)
    if any(cell["pairs"] for cell in comparison["cells"]):
        lines += [
            f"p (Holm) is p corrected for all that could have been told, {pairs_told(comparison)} "
            f"of methods, so that it grows with every method; where it is above 0.05, better and "
            f"worse are said of the pair alone.",
            "",
        ]
    for said in how_made(comparison):
        lines += [said, ""]
    return "\n".join(lines)


def how_made(comparison: Mapping[str, Any]) -> list[str]:
    """How the comparison was made, a sentence or more each."""
    told = [comparison.get(key) for key in ("auto", "budget", "trials", "picked")]
    auto, budget, trials, picked = (one or {} for one in told)
    found = [
        auto.get("words"),
        comparison.get("asked"),
        comparison.get("features"),
        *(cell["words"] for cell in budget.get("cells", ())),
        trials.get("words"),
        f"The model that is kept: {picked['words']}" if picked else None,
        comparison["covers"],
    ]
    return [said for said in found if said]


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one."""
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    escaped = ([word.replace("|", "\\|") for word in row] for row in rows)
    return [*lines, *(f"| {' | '.join(row)} |" for row in escaped), ""]


def _mcnemar(comparison: Mapping[str, Any], cell: Mapping[str, Any]) -> list[str]:
    """Each seed's p: of two models, or by folds of the models of one repeat."""
    by_folds = comparison["design"] == "folds"
    about = "the trained models of that repeat" if by_folds else "those two trained models"
    unit = "repeat" if by_folds else "seed"
    lines = [f"McNemar's exact p of each {unit}, about {about} only and not about the methods:", ""]
    for pair in cell["pairs"]:
        found = zip(cell["seeds"], pair["mcnemar"], strict=True)
        said = ", ".join(f"{unit} {seed}: {chance(p)}" for seed, p in found)
        lines.append(f"- {pair['method']} and {pair['against']}: {said}")
    return [*lines, ""]


def _embeddings(measured: Mapping[str, Any]) -> list[str]:
    """Geometry and quality of each encoder, and the verdict on isotropy, as the page has them."""
    lines = ["Embeddings of the test images, means of the runs:", ""]
    lines += markdown_table(*measures(of_embeddings(measured)))
    return [*lines, *(f"- {who}: {said}" for who, said in measured["verdicts"].items()), ""]


def _held_out(found: Mapping[str, Any]) -> list[str]:
    """What each method's encoder makes of classes that it was never trained on."""
    names = ", ".join(found["class_names"])
    lines = [f"Classes never trained on ({names}; {found['images']:,} images), means of the runs:"]
    return [*lines, "", *markdown_table(*measures(found["measures"]))]


def of_embeddings(measured: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    """Geometry, then quality, by measure."""
    return {**measured.get("geometry", {}), **measured.get("quality", {})}


def measures(
    found: Mapping[str, Mapping[str, float | None]],
) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: a measure a row, an encoder or method a column."""
    columns = list(dict.fromkeys(name for values in found.values() for name in values))

    def said(value: float | None) -> str:
        return "" if value is None else decimals(value)

    rows = [
        [measure, *(said(values.get(name)) for name in columns)]
        for measure, values in found.items()
    ]
    return ["measure", *columns], rows


def accuracies(figures: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: a setting a row, a method a column, in per cent.

    Of several comparisons a last row has the means over the settings, where each is complete and
    has the same methods.
    """
    found = [
        (comparison, cell, {one["method"]: 100 * one["accuracy"] for one in cell["methods"]})
        for comparison, cell in cells_of(figures)
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
    whole = all(comparison["complete"] for comparison in figures)
    if (
        len(figures) > 1
        and whole
        and all(len(by_method) == len(methods) for *_, by_method in found)
    ):
        means = [fmean(by_method[m] for *_, by_method in found) for m in methods]
        rows.append(["mean", "", "", *(f"{mean:.1f}" for mean in means)])
    return ["data", "setting", "images", *methods], rows


def cells_of(
    figures: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every cell with the comparison that it is of."""
    for comparison in figures:
        for cell in comparison["cells"]:
            yield comparison, cell


def unfinished(comparison: Mapping[str, Any]) -> str:
    """How many runs are missing, and how many of them diverged."""
    missing = len(comparison["missing"])
    failed = len(comparison.get("failed", ()))
    said = f"Unfinished: {missing} run{' is' if missing == 1 else 's are'} missing"
    return f"{said}, {failed} of them because they diverged" if failed else said


def difference_row(pair: Mapping[str, Any]) -> tuple[str, ...]:
    """A line under `DIFFERENCES`; the smallest difference is the one found four times in five."""
    low, high = pair["interval"]
    return (
        pair["method"],
        pair["against"],
        points(pair["difference"]),
        f"{points(low)} to {points(high)}",
        f"{100 * pair['detectable']:.1f}",
        chance(pair["p_value"]),
        chance(pair["p_holm"]),
        VERDICTS[standing(pair["verdict"], pair["p_holm"])],
    )


def _tested(comparison: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    if comparison["design"] == "folds":
        return f"{cell['images']:,} images, each tested out of {comparison['folds']} folds."
    return f"{cell['images']:,} test images."


def accuracy_rows(cell: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    for method in cell["methods"]:
        interval = method["interval"]
        yield (
            method["method"],
            f"{100 * method['accuracy']:.1f}",
            "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
            f"{100 * method['least']:.1f} to {100 * method['most']:.1f}",
            str(len(cell["seeds"]) or len({run["seed"] for run in method["runs"]})),
        )

"""What ``lacvit compare`` shows on a terminal at its end."""

from __future__ import annotations

import shlex
from typing import Any


def tell(comparison: Any, request: Any, *, quiet: bool) -> None:
    """What one comparison came to."""
    _show(comparison.figures)
    if len(comparison.figures["cells"]) > 1:
        show_all([comparison.figures])
    # What the progress says where it is not silent.
    if quiet and (copies := comparison.figures["copies"]):
        print(f"Test images were seen in training. {copies['words']}")
    if quiet and (failed := comparison.figures["failed"]):
        print(f"Left out, because they diverged: {', '.join(one['folder'] for one in failed)}")
    if "auto" in comparison.figures:
        print(comparison.figures["auto"]["words"])
    if "trials" in comparison.figures:
        print(comparison.figures["trials"]["words"])
    if request.pick:
        print(f"Model: {comparison.figures['picked']['words']}")
        print(f"Use it: lacvit predict {shlex.quote(str(comparison.folder))} IMAGE...")
    print(f"\nReport: {comparison.folder / 'comparison.html'}")


def show_all(figures: Any) -> None:
    """Every method on every data set, a row a cell."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from lacvit.comparison import accuracies

    names, rows = accuracies(figures)
    table = Table(
        *names, title="Accuracy@1 in per cent, mean of seeds or repeats", title_justify="left"
    )
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _tested(figures: Any, cell: Any) -> str:
    times = len(cell["seeds"])
    more = "" if times == 1 else "s"
    if figures["design"] == "folds":
        return f"{cell['images']:,} images, {times} repeat{more} of {figures['folds']} folds"
    return f"{cell['images']:,} test images, {times} seed{more}"


def _show(figures: Any) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for cell in figures["cells"]:
        table = Table(
            "method",
            "Accuracy@1",
            "95 % interval",
            "least to most",
            title=escape(f"{cell['name']}: {_tested(figures, cell)}"),
            title_justify="left",
        )
        for method in cell["methods"]:
            interval = method["interval"]
            table.add_row(
                method["method"],
                f"{100 * method['accuracy']:.1f} %",
                "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
                f"{100 * method['least']:.1f} to {100 * method['most']:.1f}",
            )
        console.print(table)
        for pair in cell["pairs"]:
            print(pair["words"])
    print(f"\n{figures['answer']}")

"""``lacvit report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders or comparisons, finished or not.")
    ],
) -> None:
    """Make the report of a run or a comparison again, from what its folder holds."""
    from lacvit.report import write_comparison_report, write_report

    for run in runs:
        compared = (run / "comparison.json").exists()
        print(write_comparison_report(run) if compared else write_report(run))

"""``lacvit report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not.")],
) -> None:
    """Make the report of a run again, from what its folder holds."""
    from lacvit.report.page import write_report

    for run in runs:
        print(write_report(run))

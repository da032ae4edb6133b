"""``lacvit report``."""

from __future__ import annotations

import sys
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
        # Of a comparison any run knows where its images are.
        known = sorted(run.glob("runs/*/data.json")) if compared else [run / "data.json"]
        if known and known[0].is_file():
            _tell_of_pictures(known[0])


def _tell_of_pictures(known_data: Path) -> None:
    """Pictures come from the data, which may have been moved since."""
    from lacvit.data.named_sets import names_a_set
    from lacvit.run_folder import read_object

    known = read_object(known_data)
    data = str(known.get("root") or known.get("data") or "")
    if data and not Path(data).exists() and not names_a_set(data, known.get("set_root")):
        print(f"Note: {data} is not there any more, so the page shows no images.", file=sys.stderr)

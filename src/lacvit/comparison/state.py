"""How far a planned run is: ended, diverged, or still to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lacvit.comparison.plan import PlannedRun
from lacvit.errors import Diverged
from lacvit.run_folder import RunFolder


def has_ended(run: PlannedRun) -> bool:
    """Whether nothing is left to do of it: it is finished, or its training diverged."""
    return bool(status_of(run).get("finished") or why_failed(run))


def why_failed(run: PlannedRun) -> str:
    """What its training diverged with; empty for a run that did not."""
    return str(status_of(run).get("diverged") or "")


def failed_runs(runs: Sequence[PlannedRun]) -> list[dict[str, object]]:
    """What `comparison.json` says of the runs that diverged."""
    return [
        {
            "cell": run.cell.name,
            "method": run.method,
            "seed": run.seed,
            **({} if run.fold is None else {"fold": run.fold}),
            "folder": f"runs/{run.folder.name}",
            "reason": reason,
        }
        for run in runs
        if (reason := why_failed(run))
    ]


def record_failure(run: PlannedRun, error: Diverged) -> str:
    """Keep in its folder why a run has no answers, so that it is not tried again; the reason."""
    # What follows the first sentence is advice for `lacvit train`, by flags that it alone has.
    reason = str(error).partition(". ")[0].removesuffix(".") + "."
    RunFolder(run.folder).update_status(diverged=reason)
    return reason


def status_of(run: PlannedRun) -> Mapping[str, Any]:
    """Its ``status.json``; empty where it has not begun."""
    folder = RunFolder(run.folder)
    return folder.status() if folder.status_file.exists() else {}

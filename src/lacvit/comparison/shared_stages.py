"""Runs that begin alike: what one has trained of the encoder, another need not train again.

``cross-entropy`` and ``cross-entropy-refit`` train one encoder under one seed, and so do ``joint``
and ``joint-refit``: an epoch is a function of the settings, the seed and the checkpoint before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lacvit.arms import find_arm
from lacvit.comparison.plan import PlannedRun
from lacvit.comparison.state import has_ended, status_of
from lacvit.run_folder import RunFolder

# What no stage but the last head reads.
OF_THE_LAST_HEAD: dict[str, Any] = {
    "method": True,
    "features": True,
    "head": {"fit_on", "features", "lr", "batch_size"},
}


def begin_alike(one: PlannedRun, other: PlannedRun) -> bool:
    """Whether two runs have their first stage in common, and it trains the encoder."""
    first, its = (find_arm(run.method).encoder_stages[:1] for run in (one, other))
    return (
        one.folder != other.folder
        and bool(first)
        and first == its
        and (one.cell, one.seed, one.fold) == (other.cell, other.seed, other.fold)
        and _of_the_beginning(one) == _of_the_beginning(other)
    )


def trained_before(run: PlannedRun, runs: Iterable[PlannedRun]) -> Path | None:
    """The folder of a finished run that began alike and still has its checkpoint, if any."""
    for other in runs:
        kept = any(_first_checkpoints(other).glob("epoch-*"))
        if kept and status_of(other).get("finished") and begin_alike(run, other):
            return other.folder
    return None


def drop_checkpoints(run: PlannedRun, runs: Iterable[PlannedRun] = ()) -> None:
    """Of a run that has ended, unless one of ``runs`` is still to begin where it did.

    They are most of a run's size on disk, and nothing else goes on from them.
    """
    alike = [other for other in runs if begin_alike(run, other)]
    if not all(map(has_ended, alike)):
        return
    for ended in (run, *alike):
        for stage in find_arm(ended.method).stages:
            shutil.rmtree(RunFolder(ended.folder).stage(stage).checkpoints, ignore_errors=True)


def _of_the_beginning(run: PlannedRun) -> dict[str, object]:
    return run.settings.model_dump(exclude=OF_THE_LAST_HEAD)


def _first_checkpoints(run: PlannedRun) -> Path:
    return RunFolder(run.folder).stage(find_arm(run.method).stages[0]).checkpoints

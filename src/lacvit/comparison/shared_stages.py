"""Runs that begin alike: what one has trained of the encoder, another need not train again.

``cross-entropy`` and ``cross-entropy-refit`` train one encoder under one seed, and so do ``joint``
and ``joint-refit``: an epoch is a function of the settings, the seed and the checkpoint before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lacvit.arms import find_arm
from lacvit.comparison.plan import PlannedRun
from lacvit.comparison.state import has_ended
from lacvit.run_folder import RunFolder

# What no stage but the last head reads.
OF_THE_LAST_HEAD: dict[str, Any] = {
    "method": True,
    "features": True,
    "head": {"fit_on", "features", "lr", "batch_size"},
}


def begin_alike(one: PlannedRun, other: PlannedRun) -> bool:
    """Whether two runs train the same encoder: the same stage, settings, images and seed.

    An arm with a second stage of the encoder divides its budget, and begins as no other does.
    """
    if (one.cell, one.seed, one.fold) != (other.cell, other.seed, other.fold):
        return False
    stages, its = (find_arm(run.method).encoder_stages for run in (one, other))
    return (
        one.folder != other.folder
        and len(stages) == 1
        and stages == its
        and _of_the_encoder(one) == _of_the_encoder(other)
    )


def trained_before(run: PlannedRun, runs: Iterable[PlannedRun]) -> Path | None:
    """The folder of a run that ended, began alike and still has its checkpoint, if any.

    One that diverged has what it kept before: gone on from there, it diverges at once.
    """
    alike = (other.folder for other in runs if begin_alike(run, other) and has_ended(other))
    return next((it for it in alike if any(it.glob("*/checkpoints/epoch-*"))), None)


def begins_trained(runs: Sequence[PlannedRun], number: int) -> bool:
    """Whether a run that is still to come, the ``number``-th, will not train its encoder itself."""
    run, earlier = runs[number], runs[:number]
    coming = any(begin_alike(run, other) and not has_ended(other) for other in earlier)
    return coming or trained_before(run, runs) is not None


def drop_checkpoints(place: Path, runs: Sequence[PlannedRun]) -> None:
    """Of every run in ``place`` that has ended, unless one of ``runs`` is to take them over.

    They are most of a run's size on disk, and nothing else goes on from them.
    """
    to_come = [run for run in runs if not has_ended(run)]
    needed = {other.folder for run in to_come for other in runs if begin_alike(run, other)}
    for folder in place.iterdir() if place.exists() else ():
        status = RunFolder(folder).status() if RunFolder(folder).status_file.exists() else {}
        if folder not in needed and (status.get("finished") or status.get("diverged")):
            for checkpoints in folder.glob("*/checkpoints"):
                shutil.rmtree(checkpoints, ignore_errors=True)


def _of_the_encoder(run: PlannedRun) -> dict[str, object]:
    return run.settings.model_dump(exclude=OF_THE_LAST_HEAD)

"""The runs in which settings are tried, and what they come to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lacvit import pipeline
from lacvit.comparison.outlook import Outlook
from lacvit.comparison.plan import (
    Cell,
    Changes,
    Kind,
    PlannedRun,
    Request,
    folder_name,
    settings_of,
)
from lacvit.comparison.shared_stages import drop_checkpoints, trained_before
from lacvit.comparison.state import has_ended, record_failure
from lacvit.comparison.trials import TRIAL_SEED, Candidate, as_settings, best_of, candidates
from lacvit.errors import Diverged, InputError
from lacvit.run_folder import RunFolder, read_json
from lacvit.shared import Shared
from lacvit.training.logs import Progress


@dataclass(frozen=True)
class Trial:
    """One candidate of a method in a cell, and the run that judges it."""

    candidate: Candidate
    changes: Mapping[str, object]  # dotted settings
    run: PlannedRun


Trials = Mapping[Kind, tuple[Trial, ...]]


def check_trials(request: Request, given: Mapping[str, object]) -> None:
    """Before anything is read: whether the trials asked for can be had.

    Raises:
        InputError: fewer than none, more than there are to try, or seeds that reach theirs.
    """
    if request.trials < 0:
        raise InputError(f"--trials is {request.trials}; give 0 (none) or more, such as 4.")
    if request.trials and request.seeds > TRIAL_SEED:
        raise InputError(f"--seeds is {request.seeds}; with --trials give at most {TRIAL_SEED}.")
    for method in request.methods:
        candidates(method, request.trials, given.keys())


def check_design(request: Request) -> None:
    """Trials need images that test nothing.

    Raises:
        InputError: folds test every image.
    """
    if request.trials and request.folds:
        raise InputError(
            f"--trials is {request.trials}, and {request.folds} folds test every image, so that "
            f"none is left to choose settings by; trials of their own in each fold would take "
            f"{request.trials} times as many runs again. Leave --trials out, or set data.folds=1 "
            f"to keep one test split."
        )


def plan_trials(
    given: Mapping[str, object], request: Request, outlook: Outlook, changes: Changes
) -> dict[Kind, tuple[Trial, ...]]:
    """The trials of every method in every cell; none for one that trains no encoder."""
    planned = {}
    for cell in (
        Cell(backbone, shots) for backbone in request.backbones for shots in request.shots
    ):
        for method in request.methods:
            own = changes.get((cell, method), {})
            plain = settings_of(given, cell, method, TRIAL_SEED, own)
            trials = []
            for number, candidate in enumerate(candidates(method, request.trials, given.keys())):
                dim = outlook.encoders[cell.backbone].dim
                tried = as_settings(candidate, plain, dim, given.keys())
                settings = settings_of(given, cell, method, TRIAL_SEED, {**own, **tried})
                folder = request.output / "trials" / folder_name(cell, method, f"t{number}")
                run = PlannedRun(cell, method, TRIAL_SEED, settings, folder)
                trials.append(Trial(candidate, tried, run))
            planned[cell, method] = tuple(trials)
    return planned


def run_trial(
    trial: Trial, trials: Sequence[PlannedRun], shared: Shared, progress: Progress
) -> None:
    """Train it and measure it on the validation images; its weights are not kept."""
    begun = trained_before(trial.run, trials)
    asked = pipeline.Request(output=trial.run.folder, report=False, test=False, begun_as=begun)
    try:
        pipeline.train(trial.run.settings, asked, progress=progress, shared=shared)
    except Diverged as error:
        progress.message(f"This trial is out: {record_failure(trial.run, error)}")
    drop_checkpoints(trial.run.folder.parent, trials)
    shutil.rmtree(RunFolder(trial.run.folder).model, ignore_errors=True)


def record(request: Request, trials: Trials) -> dict[str, Any]:
    """What `comparison.json` says of the trials, those that have not ended left out."""
    tried = [_of_kind(kind, found, request) for kind, found in trials.items()]
    return {
        "each": request.trials,
        "seed": TRIAL_SEED,
        "judged_by": "validation accuracy",
        "words": f"{request.trials} trials each, judged on validation images alone: "
        + "; ".join(one["words"] for one in tried)
        + ".",
        "tried": tried,
    }


def chosen_changes(trials: Trials) -> dict[Kind, dict[str, object]]:
    """The settings that won, by cell and method, of the trials that have all ended."""
    won: dict[Kind, dict[str, object]] = {}
    for kind, found in trials.items():
        best = _chosen(found)
        if best is not None:
            won[kind] = dict(found[best].changes)
    return won


def _of_kind(kind: Kind, trials: Sequence[Trial], request: Request) -> dict[str, Any]:
    cell, method = kind
    best = _chosen(trials)
    if not trials:
        words = f"{method} has its strengths alone, and every run tries them all"
    elif best is None:
        words = f"{method} still has trials to come"
    else:
        words = f"{method} {trials[best].candidate.name}"
        if validation_accuracy(trials[best]) is None:
            words += ", since all of its trials diverged"
    return {
        "cell": cell.name,
        "method": method,
        "chosen": best,
        "words": f"{words} ({cell.name})" if len(request.backbones + request.shots) > 2 else words,
        "tried": [
            {
                "trial": number,
                "name": trial.candidate.name,
                "settings": dict(trial.changes),
                "validation_accuracy": validation_accuracy(trial),
                "seconds": RunFolder(trial.run.folder).status().get("seconds"),
                "folder": f"trials/{trial.run.folder.name}",
            }
            for number, trial in enumerate(trials)
            if has_ended(trial.run)
        ],
    }


def _chosen(trials: Sequence[Trial]) -> int | None:
    """The number of the best trial, the method as it is where all diverged; None before the end."""
    if not trials or not all(has_ended(trial.run) for trial in trials):
        return None
    found = [validation_accuracy(trial) for trial in trials]
    return best_of([-1.0 if accuracy is None else accuracy for accuracy in found])


def validation_accuracy(trial: Trial) -> float | None:
    """Of a trial that has ended; None where it diverged."""
    folder = RunFolder(trial.run.folder)
    if folder.status().get("diverged"):
        return None
    return float(read_json(folder.evaluation / "metrics.json")["validation"]["accuracy"])

"""What lies ahead: how many runs, and how long they will take.

A backbone is timed once; a run that has ended speaks for the others of its method and cell, and
what it took beyond its steps for those of which none has ended.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lacvit import planning, regime, settling
from lacvit.arms import find_arm
from lacvit.comparison.plan import Cell, Kind, PlannedRun, kind_of
from lacvit.comparison.shared_stages import begins_trained
from lacvit.comparison.state import has_ended, status_of, why_failed
from lacvit.data.splits import Splits
from lacvit.evaluation.geometry import MOST_TEST, MOST_TRAIN
from lacvit.forecast import ImageSeconds, in_words, multiply, time_backbone
from lacvit.run_folder import RunFolder
from lacvit.shared import Shared
from lacvit.staging import load_chosen
from lacvit.training.logs import Progress

# On one core of a 2-core machine: five methods on 30 and on 250 digits took 0.2 to 0.5 s a run more
# than their timed steps (heads, checkpoints, the kept model); pages 4.3 s at 1,000 test images and
# two methods, 8.5 s at 10,000.
RUN_SECONDS = 0.5
PAGE_SECONDS = 5.0
# Neighbours of the test images, for `geometry.json`: 7.6 s for two encoders of 192 dimensions,
# among 5,000 test and 2,000 training images.
SECONDS_A_PAIR = 1e-7


@dataclass(frozen=True)
class Encoder:
    """A backbone, as far as a plan needs it."""

    dim: int
    seconds: ImageSeconds
    default: str  # the arm that `lacvit train` trains of it where nothing is said


@dataclass(frozen=True)
class Outlook:
    """What is known before anything has run."""

    encoders: Mapping[str, Encoder]  # by the backbone's spec
    seconds: Mapping[Kind, float]  # of one run, from timed steps and what comes with any run
    beginnings: Mapping[Kind, float]  # of its first stage, which another run may have trained


def look_ahead(runs: Sequence[PlannedRun], shared: Shared, progress: Progress) -> Outlook:
    """Time every backbone once, and multiply by what each kind of run does.

    Raises:
        InputError: data or a backbone that cannot be used.
    """
    encoders: dict[str, Encoder] = {}
    seconds: dict[Kind, float] = {}
    beginnings: dict[Kind, float] = {}
    for spec in dict.fromkeys(run.cell.backbone for run in runs):
        of_backbone = [run for run in runs if run.cell.backbone == spec]
        backbone = load_chosen(of_backbone[0].settings)
        started = time.perf_counter()
        load_chosen(of_backbone[0].settings)  # every run does; the first time it may be fetched
        loading = time.perf_counter() - started
        timed = time_backbone(planning.resolve(of_backbone[0].settings, backbone), backbone)
        default = regime.ARMS[settling.pretraining_of(backbone)]
        encoders[spec] = Encoder(backbone.dim, timed, default)
        for run in of_backbone:
            if kind_of(run) not in seconds:
                splits = shared.splits(run.settings, progress)
                settings = planning.resolve(run.settings, backbone)
                stages, evaluating = multiply(settings, splits, timed)
                beginnings[kind_of(run)] = stages[0].seconds
                steps = sum(stage.seconds for stage in stages) + evaluating
                beside = loading + RUN_SECONDS + _measuring(run, splits)
                seconds[kind_of(run)] = steps + beside
    return Outlook(encoders, seconds, beginnings)


def _measuring(run: PlannedRun, splits: Splits) -> float:
    """The geometry of a run's encoders, on the test images."""
    test, train = min(len(splits.test), MOST_TEST), min(len(splits.train), MOST_TRAIN)
    encoders = 2 if find_arm(run.method).trains_encoder else 1
    return SECONDS_A_PAIR * encoders * test * (test + train)


def expected_seconds(runs: Iterable[PlannedRun], outlook: Outlook) -> dict[Kind, float]:
    """Of one run of each kind: what those that ended took, else what timed steps say.

    Where runs of other kinds took longer than was said of them, the latter is raised by as much.
    """
    taken: dict[Kind, list[float]] = {}
    for run in runs:
        status = status_of(run)
        if status.get("finished") and status.get("seconds"):
            taken.setdefault(kind_of(run), []).append(RunFolder(run.folder).seconds())
    own = {kind: statistics.median(found) for kind, found in taken.items()}
    beyond = [own[kind] - outlook.seconds[kind] for kind in own if kind in outlook.seconds]
    more = max(0.0, statistics.median(beyond)) if beyond else 0.0
    return {**{kind: planned + more for kind, planned in outlook.seconds.items()}, **own}


def remaining_seconds(runs: Sequence[PlannedRun], outlook: Outlook) -> float:
    """Of all runs that have not ended, and of the page after them."""
    left = _seconds_of(runs, expected_seconds(runs, outlook), outlook)
    return left + PAGE_SECONDS if left else 0.0


def _seconds_of(
    runs: Sequence[PlannedRun], expected: Mapping[Kind, float], outlook: Outlook
) -> float:
    left = 0.0
    for number, run in enumerate(runs):
        if not has_ended(run):
            kind = kind_of(run)
            spared = outlook.beginnings.get(kind, 0.0) if begins_trained(runs, number) else 0.0
            left += max(0.0, expected[kind] - spared)
    return left


def describe(
    runs: Sequence[PlannedRun], trials: Sequence[PlannedRun], outlook: Outlook
) -> list[str]:
    """The plan, a line a cell below a line of all."""
    everything = [*runs, *trials]
    done = sum(map(has_ended, everything))
    failed = sum(1 for run in everything if why_failed(run))
    left = remaining_seconds(everything, outlook)
    expected = expected_seconds(everything, outlook)
    tried = f" and {len(trials)} trials" if trials else ""
    source = "timed steps" if not done else "timed steps and the runs that have ended"
    return [
        f"{len(runs)} runs{tried}: {done} done{f' ({failed} diverged)' if failed else ''}, "
        f"{len(everything) - done} to do; "
        f"about {in_words(left)}, from {source}.",
        *(
            _cell_line(cell, [run for run in everything if run.cell == cell], expected, outlook)
            for cell in dict.fromkeys(run.cell for run in runs)
        ),
    ]


def _cell_line(
    cell: Cell, runs: Sequence[PlannedRun], expected: Mapping[Kind, float], outlook: Outlook
) -> str:
    methods = dict.fromkeys(run.method for run in runs)
    a_run = ", ".join(f"{name} {in_words(expected[cell, name])}" for name in methods)
    done = sum(map(has_ended, runs))
    return (
        f"  {cell.name}: {done} of {len(runs)} done, about "
        f"{in_words(_seconds_of(runs, expected, outlook))} to go ({a_run} a run)"
    )

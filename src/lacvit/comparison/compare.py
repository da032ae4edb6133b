"""`lacvit compare`: what is missing is run, and everything is judged anew after every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lacvit import pipeline
from lacvit.arms import find_arm
from lacvit.comparison import budget, identity, keep, trial_runs
from lacvit.comparison.answers import RunAnswers, read_answers
from lacvit.comparison.begin import AUTO, Work, begin
from lacvit.comparison.judge import judge
from lacvit.comparison.latex import as_latex
from lacvit.comparison.outlook import describe, remaining_seconds
from lacvit.comparison.plan import Changes, PlannedRun, Request, plan_runs
from lacvit.comparison.shared_stages import drop_checkpoints, trained_before
from lacvit.comparison.state import failed_runs, has_ended, record_failure
from lacvit.comparison.tables import as_csv, as_markdown
from lacvit.errors import Diverged, InputError, LacvitError, RunStopped
from lacvit.forecast import in_words
from lacvit.lock import locked
from lacvit.report import write_comparison_report
from lacvit.report.geometry_table import read_geometry
from lacvit.report.held_out import held_out_table
from lacvit.run_folder import write_json, write_text
from lacvit.training.logs import Progress, Silence

PAGE = "comparison.html"
# Settings that say where things are, and none of how methods train.
OF_THE_PLACE = ("data.path", "data.root", "device", "workers")


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to; ``figures`` is all of `comparison.json`."""

    folder: Path
    figures: Mapping[str, Any] = field(repr=False)

    @property
    def answer(self) -> str:
        """In words, a sentence a cell."""
        return str(self.figures["answer"])


def compare(
    given: Mapping[str, object], request: Request, progress: Progress | None = None
) -> Comparison:
    """Compare methods on the same images, splits and seeds, at equal image passes or equal time.

    A run that has ended is never repeated; one that was stopped is gone on with. After every run
    the files at the top of the folder say what there is so far; the page is made at the end, or
    in brief where the comparison stops before. A run that diverges is left out with the reason,
    and tried again once its folder is deleted.

    Args:
        given: settings for every run, as dotted keys; ``data.path`` among them.
        request: what is compared.
        progress: who watches.

    Raises:
        InputError: anything that the user can mend.
    """
    work = begin(given, request, progress or Silence())
    for line in plan_lines(work):
        work.progress.message(line)
    return carry_out(work)


def carry_out(work: Work) -> Comparison:
    """What is missing of a comparison, and its files and page."""
    with locked(work.request.output):
        try:
            comparison = _run_missing(work)
        except (LacvitError, RunStopped):
            _leave_page(work)
            raise
        write_comparison_report(work.request.output)
    for line in _failure_lines(comparison):
        work.progress.message(line)
    return comparison


def _run_missing(work: Work) -> Comparison:
    request, progress = work.request, work.progress
    # Before anything changes: what is there must be what would be made now.
    decided = _decide(work)
    runs = plan_runs(work.given, request, decided.changes)
    identity.check_same_settings(runs)
    identity.check_same_images(runs, work.shared)
    identity.follow_data(runs)
    _write(work, decided, runs)
    todo = [run for run in runs if not has_ended(run)]
    drop_checkpoints(request.output / "runs", runs)
    for number, run in enumerate(todo, 1):
        progress.message(f"Run {number} of {len(todo)}: {run.folder.name}")
        _run(run, runs, work)
        _write(work, decided, runs)
        _tell_rest(work, runs)
    if request.pick:
        picked = keep.keep(request, _ended(runs), work.shared, progress)
        decided = replace(decided, picked=picked)
    return _write(work, decided, runs)


def _run(run: PlannedRun, runs: Sequence[PlannedRun], work: Work) -> None:
    """One run; where it diverges the others go on without it, as the trials do."""
    begun = trained_before(run, runs)
    asked = pipeline.Request(output=run.folder, report=False, begun_as=begun)
    try:
        pipeline.train(run.settings, asked, progress=work.progress, shared=work.shared)
    except Diverged as error:
        work.progress.message(f"This run is left out: {record_failure(run, error)}")
    drop_checkpoints(run.folder.parent, runs)


def _failure_lines(comparison: Comparison) -> list[str]:
    failed = comparison.figures["failed"]
    if not failed:
        return []
    many = "1 run diverged and is" if len(failed) == 1 else f"{len(failed)} runs diverged and are"
    return [
        f"{many} left out:",
        *(f"  {one['folder']}: {one['reason']}" for one in failed),
        f"To try again, delete what is named here from {comparison.folder} and give the same "
        f"command; for other settings (a lower rate by --set, say) choose a new --output.",
    ]


def _leave_page(work: Work) -> None:
    """A page of what there is, in brief: who stops a comparison does not want to wait."""
    folder = work.request.output
    if (folder / PAGE).exists() or not (folder / identity.FIGURES).exists():
        return  # it holds all that there is, or nothing is there to show
    try:
        page = write_comparison_report(folder, brief=True)
    except InputError as fault:
        work.progress.message(f"There is no page of what has ended: {fault}")
        return
    work.progress.message(
        f"What has ended so far is in {page}; lacvit report {folder} makes it with pictures."
    )


def plan(given: Mapping[str, object], request: Request, progress: Progress) -> list[str]:
    """What :func:`compare` would do, in words, with every run's folder; nothing is written.

    Raises:
        InputError: as :func:`compare`.
    """
    work = begin(given, request, progress)
    if work.request.budget == budget.EQUAL_IMAGES and not work.request.trials:
        # Else what was decided says by which settings the runs were, or will be.
        identity.check_same_settings(plan_runs(work.given, work.request))
    lines = plan_lines(work)
    if work.request.budget == budget.EQUAL_TIME and work.budget is None:
        lines.append("  Epochs are scaled to equal time once real steps have been timed.")
    return [*lines, *(f"  {run.folder}" for run in plan_runs(work.given, work.request))]


@dataclass(frozen=True)
class _Decided:
    """What budget, trials and pick have come to."""

    budget: Mapping[str, Any] | None
    trials: Mapping[str, Any] | None
    changes: Changes
    picked: Mapping[str, Any] | None = None


def plan_lines(work: Work) -> list[str]:
    """The runs, those that have ended, and the time that the others will take."""
    runs = plan_runs(work.given, work.request)
    warned = [] if work.copies is None else [f"WARNING: {work.copies['words']}"]
    return [*describe(runs, _trials_of(work, {}), work.outlook), *warned]


def _trials_of(work: Work, changes: Changes) -> list[PlannedRun]:
    planned = trial_runs.plan_trials(work.given, work.request, work.outlook, changes)
    return [trial.run for trials in planned.values() for trial in trials]


def _decide(work: Work) -> _Decided:
    """The budget, then the trials under it; both are kept by a comparison that goes on."""
    request, found = work.request, work.budget
    runs = plan_runs(work.given, request)
    if request.budget == budget.EQUAL_TIME:
        found = budget.equal_time(runs, found, work.outlook, work.shared, work.progress)
    cells = list(dict.fromkeys(run.cell for run in runs))
    changes = budget.as_changes(found, cells)
    if not request.trials:
        return _Decided(found, None, changes)
    trials = trial_runs.plan_trials(work.given, request, work.outlook, changes)
    planned = [trial.run for of_kind in trials.values() for trial in of_kind]
    identity.check_same_settings(planned)
    identity.check_same_images(planned, work.shared)
    identity.follow_data(planned)
    before = _Decided(found, trial_runs.record(request, trials), changes)
    _write(work, before, plan_runs(work.given, request, changes))
    todo = [t for of_kind in trials.values() for t in of_kind if not has_ended(t.run)]
    for number, trial in enumerate(todo, 1):
        name = f"{trial.run.folder.name}, {trial.candidate.name}"
        work.progress.message(f"Trial {number} of {len(todo)}: {name}")
        trial_runs.run_trial(trial, planned, work.shared, work.progress)
        _tell_rest(work, [*planned, *runs])
    chosen = trial_runs.chosen_changes(trials)
    both = {kind: {**changes.get(kind, {}), **chosen.get(kind, {})} for kind in trials}
    kept = trial_runs.record(request, trials)
    work.progress.message(kept["words"])
    return _Decided(found, kept, both)


def _tell_rest(work: Work, runs: Sequence[PlannedRun]) -> None:
    left = remaining_seconds(runs, work.outlook)
    if left:
        work.progress.message(f"About {in_words(left)} to go.")


def _ended(runs: Sequence[PlannedRun]) -> list[tuple[PlannedRun, RunAnswers]]:
    found = [(run, read_answers(run)) for run in runs]
    return [(run, answers) for run, answers in found if answers is not None]


def _asked(given: Mapping[str, object], methods: Sequence[str]) -> str:
    """How the runs were set, in words."""
    told = {key: f"{key}={value}" for key, value in given.items() if key not in OF_THE_PLACE}
    usual = "as lacvit settings lists them"
    if not told:
        return f"Settings are {usual}."
    said = f"Set for every method that has a use for it: {', '.join(told.values())}."
    of_heads = [key for key in told if key.startswith(("head.", "features."))]
    own_head = [m for m in methods if find_arm(m).stages[-1] != "head"]
    if of_heads and own_head:
        without = " and ".join(of_heads)
        said += f" {', '.join(own_head)}: answers by the head of its training, without {without}."
    return f"{said} The rest is {usual}."


def _write(work: Work, decided: _Decided, runs: Sequence[PlannedRun]) -> Comparison:
    request = work.request
    answered = [(run, read_answers(run)) for run in runs]
    ended = sum(answers is not None for _, answers in answered)
    figures = judge(request, answered, work.data)
    figures["fingerprint"] = work.fingerprint
    figures["asked"] = _asked(work.given, request.methods)
    if work.given.get("features.crops") == "corners":
        figures["features"] = (
            "A feature is the mean over an image and its corners (features.crops)."
        )
    if request.chosen is not None:
        figures[AUTO] = request.chosen
    if "precision" in work.given:
        figures["precision"] = work.given["precision"]
    figures["copies"] = work.copies
    figures["failed"] = failed_runs(runs)
    for cell in figures["cells"]:
        if (table := held_out_table(request.output, cell)) is not None:
            cell["held_out"] = table.as_json()
        if (measured := read_geometry(request.output, cell)) is not None:
            cell["embeddings"] = measured.as_json()
    figures["budget"] = decided.budget or {"kind": request.budget}
    if decided.trials is not None:
        figures["trials"] = decided.trials
    if picked := decided.picked or keep.kept_before(request.output, ended):
        figures["picked"] = picked
    figures["seconds_left"] = remaining_seconds(runs, work.outlook)
    (request.output / PAGE).unlink(missing_ok=True)  # it would tell of other figures than these
    write_json(request.output / identity.FIGURES, figures)
    write_text(request.output / "comparison.csv", as_csv(figures))
    write_text(request.output / "comparison.md", as_markdown(figures))
    write_text(request.output / "comparison.tex", as_latex(figures))
    return Comparison(request.output, figures)

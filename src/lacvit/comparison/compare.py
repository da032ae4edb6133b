"""`lacvit compare`: what is missing is run, and everything is judged anew after every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lacvit import pipeline
from lacvit.comparison.answers import read_answers
from lacvit.comparison.folds import settle_folds
from lacvit.comparison.judge import judge
from lacvit.comparison.plan import PlannedRun, Request, plan_runs
from lacvit.comparison.tables import as_csv, as_latex, as_markdown
from lacvit.config import make_settings
from lacvit.errors import InputError
from lacvit.report import write_comparison_report
from lacvit.run_folder import read_json, write_json, write_text
from lacvit.training.logs import Progress, Silence

AUTO = "auto"


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to; ``figures`` is all of `comparison.json`."""

    folder: Path
    figures: Mapping[str, Any]

    @property
    def answer(self) -> str:
        """In words, a sentence a cell."""
        return str(self.figures["answer"])


def compare(
    given: Mapping[str, object], request: Request, progress: Progress | None = None
) -> Comparison:
    """Compare methods on the same images, splits and seeds, at equal image passes.

    A run that has ended is never repeated; one that was stopped is gone on with. After every run
    the files at the top of the folder say what there is so far.

    Args:
        given: settings for every run, as dotted keys; ``data.path`` among them.

    Raises:
        InputError: anything that the user can mend.
    """
    progress = progress or Silence()
    data = str(given.get("data.path", ""))
    plan_runs(given, request)  # what is wrong with them is told before any image is read
    _claim(request.output, data)
    request = settle_folds(given, _settle(given, request, progress), progress)
    runs = plan_runs(given, request)
    todo = [run for run in runs if read_answers(run) is None]
    progress.message(
        f"{len(runs)} runs: {len(request.methods)} methods, {request.seeds} seeds, "
        f"{len({run.cell for run in runs})} cells. "
        + (f"{len(runs) - len(todo)} are done already." if len(todo) < len(runs) else "")
    )
    for number, run in enumerate(todo, 1):
        progress.message(f"Run {number} of {len(todo)}: {run.folder.name}")
        pipeline.train(
            run.settings, pipeline.Request(output=run.folder, report=False), progress=progress
        )
        _write(request, runs, data)  # not before: data that cannot be read leaves nothing behind
    comparison = _write(request, runs, data)
    write_comparison_report(request.output)
    return comparison


def _settle(given: Mapping[str, object], request: Request, progress: Progress) -> Request:
    """``auto`` among the backbones resolved once, so that every method has the same one.

    A comparison that goes on keeps the choice that it began with.
    """
    if AUTO not in request.backbones:
        return request
    known = request.output / "comparison.json"
    chosen = read_json(known).get(AUTO) if known.exists() else None
    if chosen is None:
        chosen = pipeline.choose_backbone(make_settings(recipe=given), progress)
    names = dict.fromkeys(chosen if name == AUTO else name for name in request.backbones)
    return replace(request, backbones=tuple(names), chosen=chosen)


def _claim(output: Path, data: str) -> None:
    """Refuse a folder that holds something else, or a comparison of other data."""
    if not output.exists():
        return
    if not output.is_dir():
        raise InputError(f"{output} is a file. Choose another folder with --output.")
    known = output / "comparison.json"
    if known.exists():
        earlier = read_json(known)
        if earlier.get("data") != data:
            raise InputError(
                f"{output} holds a comparison on {earlier.get('data')!r}, not on "
                f"{data!r}. Choose another folder with --output."
            )
    elif any(not entry.name.startswith(".") and entry.name != "runs" for entry in output.iterdir()):
        raise InputError(
            f"{output} holds files of something else. Choose an empty folder with --output."
        )


def _write(request: Request, runs: tuple[PlannedRun, ...], data: str) -> Comparison:
    figures = judge(request, [(run, read_answers(run)) for run in runs], data)
    if request.chosen is not None:
        figures[AUTO] = request.chosen
    write_json(request.output / "comparison.json", figures)
    write_text(request.output / "comparison.csv", as_csv(figures))
    write_text(request.output / "comparison.md", as_markdown(figures))
    write_text(request.output / "comparison.tex", as_latex(figures))
    return Comparison(request.output, figures)

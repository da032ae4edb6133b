"""``--pick``: the method that validation prefers, kept as the comparison's model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median_low
from typing import Any

from lacvit import pipeline
from lacvit.arms import find_arm
from lacvit.backbones.saved_models import CARD
from lacvit.comparison import identity
from lacvit.comparison.answers import RunAnswers
from lacvit.comparison.folds import out_of_fold
from lacvit.comparison.plan import PlannedRun, Request, folder_name, kind_of
from lacvit.comparison.state import record_failure
from lacvit.config import HeadSettings
from lacvit.errors import Diverged, InputError
from lacvit.reading import listed_images
from lacvit.run_folder import RunFolder, read_json, write_json, write_text
from lacvit.shared import Shared
from lacvit.training.head import Settled
from lacvit.training.logs import Progress

CHOSEN_BEFORE = " Runs were made since; --pick chooses among all."

Ended = Sequence[tuple[PlannedRun, RunAnswers]]


@dataclass(frozen=True)
class Winner:
    """The method of the highest mean validation accuracy, and its best run by validation."""

    run: PlannedRun
    mean: float
    runs: int
    means: Mapping[str, float]  # of every method that could be chosen, the highest first


def choose(ended: Ended) -> Winner:
    """Among equals the one that comes first. No test answer is looked at.

    Only runs with the most images a class are set against each other: fewer images train a worse
    model, and they validate on other images, so that luck would decide. For the same reason a
    method some of whose runs diverged is left out while another has them all.

    Raises:
        InputError: no run has ended.
    """
    if not ended:
        raise InputError(
            "Every run diverged, so that --pick has no model to keep. Compare with milder "
            "settings, a lower rate by --set, say, and another --output."
        )
    most = max(_images_a_class(run) for run, _ in ended)
    kinds: dict[tuple[object, str], list[tuple[PlannedRun, float]]] = {}
    for run, answers in ended:
        if _images_a_class(run) == most:
            found = kinds.setdefault((run.cell, run.method), [])
            found.append((run, answers.validation_accuracy))
    whole = max(len(found) for found in kinds.values())
    kinds = {kind: found for kind, found in kinds.items() if len(found) == whole}
    means = {kind: fmean(accuracy for _, accuracy in found) for kind, found in kinds.items()}
    best = max(means, key=lambda kind: means[kind])  # the first of equals
    run, _ = max(kinds[best], key=lambda pair: pair[1])
    named = {
        f"{found[0][0].method} ({found[0][0].cell.name})": means[kind]
        for kind, found in kinds.items()
    }
    order = sorted(named, key=lambda name: -named[name])
    return Winner(run, means[best], len(kinds[best]), {name: named[name] for name in order})


def _images_a_class(run: PlannedRun) -> float:
    return math.inf if run.cell.shots is None else run.cell.shots


def keep(request: Request, ended: Ended, shared: Shared, progress: Progress) -> dict[str, Any]:
    """Copy the winner's model to ``model/`` of the comparison; what `comparison.json` says of it.

    Where folds test in turn no run has seen all images, so the winner is trained once more, on
    all of them.
    """
    winner = choose(ended)
    run = winner.run
    kind = "folds" if request.folds else "seeds"
    among = "compared" if len(request.shots) == 1 else "with the most images a class"
    why = (
        f"{run.method} ({run.cell.name}) has the highest mean validation accuracy of the methods "
        f"{among}, {100 * winner.mean:.1f} % over {winner.runs} runs{_level(winner)}"
    )
    folder, settled = run.folder, None
    if request.folds:
        alike = [(other, answers) for other, answers in ended if kind_of(other) == kind_of(run)]
        settled = _settled_by([other for other, _ in alike])
        folder = _train_on_all(request, run, settled, shared, progress)
        found = out_of_fold([answers for _, answers in alike], request.folds)
        why += f". {_again(run, settled)} {found}"
    else:
        why += f"; this is its run of the highest validation accuracy, seed {run.seed}"
    why += (
        ". What validates in one fold tests in another, so images that tested had a say."
        if request.folds
        else ". No test image had a say."
    )
    _copy(folder / "model", request.output / "model", why)
    # Beside the model, as in a run: what is evaluated later may be what trained it.
    write_json(RunFolder(request.output).data, read_json(RunFolder(folder).data))
    progress.message(f"Kept as {request.output / 'model'}: {why}")
    return {
        "method": run.method,
        "cell": run.cell.name,
        "backbone": run.cell.backbone,
        "shots": run.cell.shots,
        "seed": run.seed,
        "folder": folder.relative_to(request.output).as_posix(),
        "validation_accuracy": winner.mean,
        "over": f"{winner.runs} {kind}",
        "validation_accuracies": dict(winner.means),
        "among": len(ended),
        "refitted_on_all": bool(request.folds) and _sees_all(run, settled),
        "words": why,
    }


def kept_before(output: Path, ended: int) -> Mapping[str, Any] | None:
    """The record of the model that an earlier ``--pick`` kept here; None where none is here.

    Args:
        output: the comparison's folder.
        ended: how many runs have ended by now; more than then had no say in it, and its words
            tell so.
    """
    figures = output / identity.FIGURES
    if not (output / "model").is_dir() or not figures.is_file():
        return None
    record: dict[str, Any] | None = read_json(figures).get("picked")
    if record is None or record["words"].endswith(CHOSEN_BEFORE):
        return record
    if ended > record.get("among", ended):
        record["words"] += CHOSEN_BEFORE
    return record


def _level(winner: Winner) -> str:
    level = [name for name, mean in winner.means.items() if mean == winner.mean][1:]
    verb = "has" if len(level) == 1 else "have"
    return f" ({' and '.join(level)} {verb} it too, and came later)" if level else ""


def _settled_by(runs: Sequence[PlannedRun]) -> Settled | None:
    """The median of what the runs' validation images chose, so that every image can train.

    None where images are left to validate: those that the data gives as such, and those of shots;
    where the encoder does not train, or neighbours vote, the head has learned from them in the
    end; and of runs of an earlier version, which did not keep all that they chose.
    """
    first, arm = runs[0], find_arm(runs[0].method)
    statuses = [RunFolder(run.folder).status() for run in runs]
    votes = arm.stages[-1] == "head" and first.settings.head.solver == "knn"
    if (
        first.cell.shots is not None
        or not arm.trains_encoder
        or votes
        or any("head_strengths" not in status for status in statuses)
        or "validation" in listed_images(first.settings.data)
    ):
        return None
    chosen = [status["head_strengths"] for status in statuses]
    tested = [read_json(RunFolder(run.folder).evaluation / "metrics.json")["test"] for run in runs]
    return Settled(
        {stage: median_low(of_run[stage] for of_run in chosen) for stage in chosen[0]},
        median_low(test["temperature"] for test in tested),
    )


def _again(run: PlannedRun, settled: Settled | None) -> str:
    if run.cell.shots is not None:
        return (
            f"This model was trained again on {run.cell.shots} images a class, drawn from all of "
            f"them, and has not been tested itself."
        )
    held_out = run.settings.data.hold_out_classes is not None
    on = f"on all images{' of the classes that are not held out' if held_out else ''}"
    fits = _last_fit(run).fit_on == "all"
    if settled is not None:
        on += f", with the folds' median of {_in_words(settled)}"
    elif find_arm(run.method).trains_encoder or not fits:
        on += " but those that validate" + (", and then its head on these too" if fits else "")
    return f"This model was trained again {on}, so none is left that could test it."


def _in_words(settled: Settled) -> str:
    """What there is no image left to choose."""
    heads = {"head": "its head's strength"}
    words = [heads.get(stage, "its first head's strength") for stage in settled.strengths]
    return " and ".join([*words, "its temperature"])


def _last_fit(run: PlannedRun) -> HeadSettings:
    """The head's settings where validation images are left: it may learn from them in the end.

    Not where the images a class are counted, or it would have more than were asked for.
    """
    head = run.settings.head
    fits = "head" in find_arm(run.method).stages and head.solver != "sgd"
    if not fits or run.cell.shots is not None:
        return head
    return head.model_copy(update={"fit_on": "all"})


def _sees_all(run: PlannedRun, settled: Settled | None) -> bool:
    """Whether no image is left that only validates."""
    if find_arm(run.method).trains_encoder or run.cell.shots is not None:
        return settled is not None
    return _last_fit(run).fit_on == "all"


def _train_on_all(
    request: Request,
    run: PlannedRun,
    settled: Settled | None,
    shared: Shared,
    progress: Progress,
) -> Path:
    """The run without folds and without a test split, nor a validation split where it can be."""
    waived: dict[str, object] = {
        "folds": None, "fold": None, "fold_repeat": None, "test_fraction": 0.0,
    }  # fmt: skip
    head = _last_fit(run)
    if settled is not None:
        waived["validation_fraction"] = 0.0
        head = head.model_copy(update={"fit_on": "train"})
    data = run.settings.data.model_copy(update=waived)
    settings = run.settings.model_copy(update={"data": data, "head": head})
    folder = request.output / "runs" / folder_name(run.cell, run.method, f"s{run.seed}-all")
    again = [replace(run, settings=settings, folder=folder)]
    # More repeats may have another median, and then it is another model.
    stale = _kept_settled(folder) != (None if settled is None else asdict(settled))
    if not stale:
        identity.check_same_images(again, shared)
        identity.follow_data(again)
    asked = pipeline.Request(
        output=folder, overwrite=stale, report=False, test=False, settled=settled
    )
    try:
        pipeline.train(settings, asked, progress=progress, shared=shared)
    except Diverged as error:
        raise InputError(
            f"The comparison is whole, but {folder.name}, which --pick trains on all images, "
            f"failed: {record_failure(again[0], error)} Leave --pick out to have the page of the "
            f"comparison alone; for milder settings choose another --output."
        ) from None
    return folder


def _kept_settled(folder: Path) -> dict[str, Any] | None:
    """What a model that was trained on all images was given; None where there is none."""
    run = RunFolder(folder)
    found: dict[str, Any] | None = run.status().get("settled") if run.status_file.exists() else None
    return found


def _copy(model: Path, place: Path, why: str) -> None:
    """The whole model or none: it is made beside its place, then renamed."""
    new, old = (place.with_name(f".{place.name}.{name}") for name in ("new", "old"))
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    shutil.copytree(model, new)
    card = (new / CARD).read_text(encoding="utf-8")
    write_text(new / CARD, f"{card}\n## How it was chosen\n\n{why}\n")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)

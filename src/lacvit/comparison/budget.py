"""Equal time in place of equal images: epochs scaled until every method trains as long.

Measured are real training steps of every stage, views and optimiser included, on a few batches;
the weights that come of it are thrown away.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacvit import pipeline, settling
from lacvit.arms import PUBLISHED_ARM, find_arm
from lacvit.comparison.outlook import Outlook
from lacvit.comparison.plan import Cell, Changes, PlannedRun, Request
from lacvit.comparison.shared_stages import begin_alike
from lacvit.config import OF_ITS_BUDGET, RunSettings
from lacvit.data.splits import Splits
from lacvit.errors import InputError
from lacvit.forecast import in_words
from lacvit.run_folder import RunFolder
from lacvit.shared import Shared
from lacvit.staging import STAGES, load_chosen
from lacvit.training.logs import Progress, Silence
from lacvit.training.trainable import prepare

EQUAL_IMAGES, EQUAL_TIME = "equal-images", "equal-time"
TIMED_BATCHES = 3
TIMED_EPOCHS = 2  # the last one counts; the first warms up
TIMED_RATE = 1e-6  # no step takes longer at the rate asked for, and none diverges at this one
VALIDATED = 8  # images


@dataclass(frozen=True)
class Pace:
    """What a method's training of the encoder costs in a cell."""

    epochs: Mapping[str, int]  # by stage, at equal images
    epoch_seconds: Mapping[str, float]  # by stage
    share: float  # of the others' budget, by the method's own design

    @property
    def seconds(self) -> float:
        """Of all its epochs."""
        return sum(n * self.epoch_seconds[stage] for stage, n in self.epochs.items())


def check_budget(request: Request, given: Mapping[str, object]) -> None:
    """What can be said of a budget before anything is timed.

    Raises:
        InputError: no such budget; epochs of one method's stage set by hand.
    """
    if request.budget not in (EQUAL_IMAGES, EQUAL_TIME):
        raise InputError(f"--budget is {request.budget!r}; give {EQUAL_IMAGES} or {EQUAL_TIME}.")
    for key in OF_ITS_BUDGET:
        if given.get(key, "auto") != "auto":
            raise InputError(
                f"{key} is set, and --budget {request.budget} decides it for every method. Leave "
                f"it out: --epochs says how long {PUBLISHED_ARM} trains, and the others follow."
            )


def equal_time(
    runs: Sequence[PlannedRun],
    known: Mapping[str, Any] | None,
    outlook: Outlook,
    shared: Shared,
    progress: Progress,
) -> dict[str, Any]:
    """What `comparison.json` keeps of the budget: how fast each method is, and its epochs.

    The measure is lacvit's training at equal images, or the longest where it is not compared. A
    method that by design has a share of the others' images keeps that share of their time. What
    is ``known`` from an earlier start stays as it is; a method that came later is measured too.
    """
    decided = {kept["cell"]: kept for kept in (known or {}).get("cells", ())}
    for cell in dict.fromkeys(run.cell for run in runs):
        firsts = {run.method: run for run in reversed(runs) if run.cell == cell}
        before = decided.get(cell.name, {"seconds": {}, "epochs": {}, "words": ""})
        paces: dict[str, Pace] = {}
        for method in dict.fromkeys(run.method for run in runs):
            if not find_arm(method).encoder_stages or method in before["seconds"]:
                continue
            twin = next((m for m in paces if begin_alike(firsts[method], firsts[m])), None)
            paces[method] = (
                paces[twin] if twin else _pace(firsts[method], outlook, shared, progress)
            )
        if not paces:
            continue
        seconds = {method: pace.seconds for method, pace in paces.items()}
        seconds = {**before["seconds"], **seconds}
        longest = max(seconds, key=lambda name: seconds[name])
        published = PUBLISHED_ARM if PUBLISHED_ARM in seconds else longest
        reference = before.get("reference") or published
        epochs = {
            method: scaled_epochs(pace, seconds[reference])
            for method, pace in paces.items()
            if method != reference
        }
        words = _in_words(cell, (reference, seconds[reference]), paces, epochs)
        progress.message(words)
        decided[cell.name] = {
            "cell": cell.name,
            "reference": reference,
            "seconds": seconds,
            "epochs": {**before["epochs"], **epochs},
            "words": f"{before['words']} {words}".strip(),
        }
    return {"kind": EQUAL_TIME, "cells": list(decided.values())}


def scaled_epochs(pace: Pace, seconds: float) -> dict[str, int]:
    """A method's epochs by stage, all scaled alike so that they take ``seconds``; at least one."""
    factor = seconds * pace.share / pace.seconds
    return {stage: max(1, round(n * factor)) for stage, n in pace.epochs.items()}


def as_changes(budget: Mapping[str, Any] | None, cells: Sequence[Cell]) -> Changes:
    """The settings that a recorded budget changes."""
    by_name = {cell.name: cell for cell in cells}
    return {
        (by_name[kept["cell"]], method): {f"{stage}.epochs": n for stage, n in epochs.items()}
        for kept in (budget or {}).get("cells", ())
        if kept["cell"] in by_name
        for method, epochs in kept["epochs"].items()
    }


def _in_words(
    cell: Cell,
    reference: tuple[str, float],
    paces: Mapping[str, Pace],
    epochs: Mapping[str, Mapping[str, int]],
) -> str:
    said = [
        f"{method} has {new[stage]} epochs instead of {paces[method].epochs[stage]}"
        + (f" of {stage}" if len(new) > 1 else "")
        for method, new in epochs.items()
        for stage in new
    ]
    measure = f"{reference[0]} trains for {in_words(reference[1])}"
    return f"Equal time, {cell.name}: {'; '.join([measure, *said])}."


def _pace(run: PlannedRun, outlook: Outlook, shared: Shared, progress: Progress) -> Pace:
    splits = shared.splits(run.settings, progress)
    backbone = load_chosen(run.settings)
    settings = settling.settle(run.settings, backbone, splits, None, progress)
    stages = find_arm(run.method).encoder_stages
    an_image = _image_seconds(settings, splits)
    validating = len(splits.validation) * outlook.encoders[run.cell.backbone].seconds.encoding
    return Pace(
        epochs={stage: int(getattr(settings, stage).epochs) for stage in stages},
        epoch_seconds={s: an_image[s] * len(splits.train) + validating for s in stages},
        share=settings.cross_entropy.share_of_passes if stages == ("cross_entropy",) else 1.0,
    )


def _image_seconds(settings: RunSettings, splits: Splits) -> dict[str, float]:
    """Seconds an image, all its views, in a step of each stage that trains the encoder."""
    stages = find_arm(settings.method).encoder_stages
    sections = {}
    for stage in stages:
        timed = {"epochs": TIMED_EPOCHS, "lr": TIMED_RATE}
        own = {} if stage == "contrastive" else {"head_init": "random"}
        sections[stage] = getattr(settings, stage).model_copy(update={**timed, **own})
    short = settings.model_copy(update=sections)
    most = TIMED_BATCHES * max(section.batch_size for section in sections.values())
    few = replace(
        splits,
        train=splits.train.select(_spread(len(splits.train), most)),
        validation=splits.validation.select(_spread(len(splits.validation), VALIDATED)),
    )
    backbone = load_chosen(short)
    seconds = {}
    with tempfile.TemporaryDirectory() as place:
        run = pipeline.make_run(short, RunFolder(Path(place)), few, Silence(), None, Shared())
        backbone.to(run.compute.device)
        prepare(backbone, short.backbone, seed=short.seed)
        for stage in stages:
            torch.manual_seed(short.seed)
            STAGES[stage](run, backbone)
            last = run.folder.stage(stage).metrics.read_text(encoding="utf-8").splitlines()[-1]
            steps = -(-len(few.train) // sections[stage].batch_size)
            seconds[stage] = json.loads(last)["step_seconds"] * steps / len(few.train)
    return seconds


def _spread(count: int, most: int) -> np.ndarray:
    """Positions spread evenly over ``count`` images, which lie class by class."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))

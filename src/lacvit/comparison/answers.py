"""What finished runs answered on the test images, brought to one order so that they pair.

Where folds test in turn (`lacvit.comparison.folds`), the runs of a repeat are put together to one
`RunAnswers` that holds every image once.

Shape letters: S seeds, N test images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.comparison.plan import PlannedRun
from lacvit.errors import InputError
from lacvit.evaluated import read_predictions
from lacvit.run_folder import RunFolder, read_json


@dataclass(frozen=True, eq=False)
class RunAnswers:
    """One finished run, or the runs of one repeat of folds as one."""

    method: str
    seed: int
    folder: Path
    accuracy: float
    validation_accuracy: float
    seconds: float
    fingerprint: str  # of all its images, their labels and splits, as in its data.json
    test_images: str  # fingerprint of the test images' paths and labels
    class_names: tuple[str, ...]
    paths: tuple[str, ...]  # of the test images, sorted
    labels: tuple[str, ...]
    correct_N: NDArray[np.bool_]  # in the order of the paths
    fold_N: NDArray[np.int64]  # which fold tested each; one split is fold 0
    learned_from: int  # images that trained or validated
    settings: Mapping[str, Any]
    fold: int | None = None  # of one run among folds


def read_answers(run: PlannedRun) -> RunAnswers | None:
    """A planned run's answers; None where it has not ended.

    Raises:
        InputError: its files are damaged, or an image that it was tested on had trained or
            chosen it.
    """
    folder = RunFolder(run.folder)
    if not folder.status_file.exists() or not folder.status().get("finished"):
        return None
    metrics, data = read_json(folder.evaluation / "metrics.json"), read_json(folder.data)
    _check_unseen(data["paths"], run.folder)
    table = read_predictions(folder.evaluation, "path", "label", "prediction").sort_by("path")
    paths, labels, predictions = (column.to_pylist() for column in table.columns)
    return RunAnswers(
        method=run.method,
        seed=run.seed,
        folder=run.folder,
        accuracy=float(metrics["test"]["accuracy"]),
        validation_accuracy=float(metrics["validation"]["accuracy"]),
        seconds=folder.seconds(),
        fingerprint=str(data.get("fingerprint", "")),
        test_images=digest_of(paths, labels),
        class_names=tuple(data["class_names"]),
        paths=tuple(paths),
        labels=tuple(labels),
        correct_N=np.array([a == b for a, b in zip(labels, predictions, strict=True)]),
        fold_N=np.full(len(paths), run.fold or 0),
        learned_from=len(data["paths"]["train"]) + len(data["paths"]["validation"]),
        settings=folder.resolved_settings(),
        fold=run.fold,
    )


def digest_of(paths: Sequence[str], labels: Sequence[str]) -> str:
    """Fingerprint of test images, by their paths and labels in order."""
    pairs = "\n".join(f"{path}\0{label}" for path, label in zip(paths, labels, strict=True))
    return hashlib.sha256(pairs.encode("utf-8", "surrogateescape")).hexdigest()


def _check_unseen(paths: Mapping[str, Sequence[str]], folder: Path) -> None:
    seen = set(paths["test"]) & {*paths["train"], *paths["validation"]}
    if seen:
        raise InputError(
            f"{folder} was tested on {len(seen)} images that trained or chose it, such as "
            f"{min(seen)}. Its accuracy means nothing: mend the splits and start again."
        )


def correct_by_seed(
    runs: Sequence[RunAnswers], methods: Sequence[str]
) -> tuple[list[int], dict[str, NDArray[np.bool_]]]:
    """The seeds that every method has, and each method's answers (S, N) under them.

    Raises:
        InputError: two of the runs were not tested on the same images, or know other classes; or
            two of one seed learned from other images.
    """
    if runs:
        _check_same_test(runs)
        _check_same_images(runs)
    by_key = {(run.method, run.seed): run.correct_N for run in runs}
    seeds = sorted(
        {run.seed for run in runs if all((method, run.seed) in by_key for method in methods)}
    )
    if not seeds:
        return [], {}
    return seeds, {m: np.stack([by_key[m, seed] for seed in seeds]) for m in methods}


def _check_same_test(runs: Sequence[RunAnswers]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.class_names != first.class_names:
            differing = sorted(set(run.class_names) ^ set(first.class_names))
            raise InputError(
                f"{first.folder} and {run.folder} do not compare: their classes differ "
                f"({', '.join(differing[:5]) or 'in their order'}). Compare runs on the same data."
            )
        if run.test_images != first.test_images:
            raise InputError(
                f"{first.folder} and {run.folder} do not compare: they were tested on other "
                f"images ({len(first.correct_N)} and {len(run.correct_N)}, or other labels). The "
                f"data changed in between: choose a new folder with --output."
            )


def _check_same_images(runs: Sequence[RunAnswers]) -> None:
    """Few shots are drawn anew by each seed, so runs of one seed alone must have all in common."""
    firsts: dict[int, RunAnswers] = {}
    for run in runs:
        first = firsts.setdefault(run.seed, run)
        if run.fingerprint != first.fingerprint:
            raise InputError(
                f"{first.folder} and {run.folder} do not compare: they learned from other images, "
                f"or from other labels (the fingerprints in their data.json differ). Delete the "
                f"one that does not belong here, or choose a new folder with --output."
            )

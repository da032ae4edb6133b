"""What finished runs answered on the test images, brought to one order so that they pair.

Shape letters: S seeds, N test images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lacvit.comparison.plan import PlannedRun
from lacvit.errors import InputError
from lacvit.run_folder import RunFolder, read_json


@dataclass(frozen=True, eq=False)
class RunAnswers:
    """One finished run."""

    method: str
    seed: int
    folder: Path
    accuracy: float
    validation_accuracy: float
    seconds: float
    test_images: str  # fingerprint of the test images' paths and labels
    class_names: tuple[str, ...]
    correct_N: NDArray[np.bool_]  # in the order of the paths
    settings: Mapping[str, Any]


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
    table = pq.read_table(folder.evaluation / "predictions.parquet").sort_by("path")
    paths, labels, predictions = (
        table[name].to_pylist() for name in ("path", "label", "prediction")
    )
    pairs = "\n".join(f"{path}\0{label}" for path, label in zip(paths, labels, strict=True))
    return RunAnswers(
        method=run.method,
        seed=run.seed,
        folder=run.folder,
        accuracy=float(metrics["test"]["accuracy"]),
        validation_accuracy=float(metrics["validation"]["accuracy"]),
        seconds=float(folder.status().get("seconds", 0.0)),
        test_images=hashlib.sha256(pairs.encode("utf-8", "surrogateescape")).hexdigest(),
        class_names=tuple(data["class_names"]),
        correct_N=np.array([a == b for a, b in zip(labels, predictions, strict=True)]),
        settings=folder.resolved_settings(),
    )


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
        InputError: two of the runs were not tested on the same images, or know other classes.
    """
    if runs:
        _check_same_test(runs)
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

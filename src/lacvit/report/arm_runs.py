"""One run of each method of a cell in detail: answers, probabilities, features, geometry.

Shape letters: N test images, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacvit.arms import UNTOUCHED
from lacvit.evaluated import PREDICTIONS, damaged, read_features, read_predictions
from lacvit.report.record import Floats, Integers
from lacvit.run_folder import read_object


@dataclass(frozen=True, eq=False)
class ArmRun:
    """One run's test images in the order of their paths; classes are numbers into the page's."""

    method: str
    number: int  # of the method within the comparison: its colour
    seed: int
    paths: tuple[str, ...]
    labels_N: Integers
    predictions_N: Integers
    probabilities_NC: Floats  # a column a class of `columns`
    columns: tuple[str, ...]
    features: Mapping[str, Floats]

    @property
    def encoder(self) -> str:
        """The name of the features after training; empty for a method that trains no encoder."""
        return next((name for name in reversed(tuple(self.features)) if name != UNTOUCHED), "")


def class_names(folder: Path, cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The classes as the first run that knows them has them in order."""
    for cell in cells:
        for method in cell["methods"]:
            if names := _classes_of(folder / method["runs"][0]["folder"]):
                return names
    return ()


def _classes_of(run: Path) -> tuple[str, ...]:
    data = run / "data.json"
    return tuple(map(str, read_object(data).get("class_names", ()))) if data.is_file() else ()


def read_arms(
    folder: Path, cell: Mapping[str, Any], methods: Sequence[str], names: Sequence[str]
) -> list[ArmRun]:
    """The run of the cell's first seed, and its first fold, that every method has; else its own.

    Raises:
        InputError: a file is damaged, or names a class that is not among ``names``.
    """
    arms = []
    shared = set.intersection(*({_place(r) for r in m["runs"]} for m in cell["methods"]))
    for method in cell["methods"]:
        place = min(shared or {_place(run) for run in method["runs"]}, default=None)
        run = next((run for run in method["runs"] if _place(run) == place), None)
        if run is not None:
            number = list(methods).index(method["method"])
            arms.append(_read(folder / run["folder"], method["method"], number, run["seed"], names))
    return arms


def _place(run: Mapping[str, Any]) -> tuple[int, int]:
    """Which of a method's runs it is."""
    return run["seed"], run.get("fold", 0)


def _read(run: Path, method: str, number: int, seed: int, names: Sequence[str]) -> ArmRun:
    evaluation = run / "evaluation"
    place = {name: position for position, name in enumerate(names)}
    table = read_predictions(evaluation, "path", "label", "prediction", "probabilities")
    paths = table["path"].to_pylist()
    order = sorted(range(len(paths)), key=lambda position: paths[position])
    try:
        labels, predictions = (
            np.array([place[name] for name in table[key].to_pylist()], dtype=np.int64)[order]
            for key in ("label", "prediction")
        )
        flat = table["probabilities"].combine_chunks().flatten().to_numpy()
        probabilities = flat.reshape(len(paths), -1)[order].astype(np.float32)
    except (KeyError, ValueError) as fault:
        raise damaged(evaluation / PREDICTIONS, repr(fault)) from fault
    return ArmRun(
        method=method,
        number=number,
        seed=seed,
        paths=tuple(paths[position] for position in order),
        labels_N=labels,
        predictions_N=predictions,
        probabilities_NC=probabilities,
        columns=_classes_of(run),
        features=_features(evaluation, order),
    )


def _features(evaluation: Path, order: Sequence[int]) -> dict[str, Floats]:
    found = read_features(evaluation)
    kept = {name: rows for name, rows in found.items() if len(rows) == len(order)}
    names = sorted(kept, key=lambda name: name != UNTOUCHED)
    return {name: kept[name][list(order)] for name in names}

"""What a run folder holds, as plain frozen values. `collect` fills them, `page` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lacvit.arms import UNTOUCHED

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Status:
    """How far the run came."""

    stage: str
    finished: bool
    method: str
    seconds: float | None
    notices: tuple[str, ...]
    diverged: str = ""  # what a comparison's run was left out for


@dataclass(frozen=True)
class StageRecord:
    """One stage's `metrics.jsonl`: a flat row an epoch, or a strength or k that was tried."""

    name: str
    rows: tuple[Mapping[str, object], ...]

    def column(self, key: str) -> list[float]:
        """The numbers under `key`, row by row; rows without one give nan."""
        return [_number(row.get(key)) for row in self.rows]

    def has(self, key: str) -> bool:
        return any(value == value for value in self.column(key))

    @property
    def done(self) -> str:
        """How much of it there is, in words."""
        if any(self.has(key) for key in ("strength", "k")):
            return self.name
        return f"{len(self.rows)} epoch{'' if len(self.rows) == 1 else 's'} of {self.name}"


@dataclass(frozen=True)
class DataRecord:
    """The images: where they were, the class names in order, and how many of each a split has."""

    root: str  # a path, or the name of a set
    set_root: str  # where a set that is known by its name lies, else empty
    fingerprint: str
    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Score:
    """One split's line in `evaluation/metrics.json`; `interval` covers 95 %."""

    accuracy: float
    interval: tuple[float, float] | None
    images: int | None
    macro_f1: float | None


@dataclass(frozen=True)
class ClassScore:
    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    path: str
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Predictions:
    """Every test image's label and prediction, as indices into `class_names`."""

    class_names: tuple[str, ...]
    labels_N: Integers
    predictions_N: Integers


@dataclass(frozen=True)
class Embeddings:
    """`geometry.json`: figures by encoder, the pretrained one first, by group and by measure."""

    images: int  # measured
    of: int
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    verdict: tuple[str, ...]


@dataclass(frozen=True)
class Bins:
    """Test images binned by the probability of their prediction; all but `edges` (B,)."""

    edges: Floats
    counts: Floats
    confidence: Floats
    accuracy: Floats


@dataclass(frozen=True)
class Calibration:
    """`calibration.json`, and the test figures of `metrics.json` before and after."""

    temperature: float
    before: Bins
    after: Bins
    scores: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class EvaluationRecord:
    scores: Mapping[str, Score]
    per_class: tuple[ClassScore, ...]
    predictions: Predictions | None
    mistakes: tuple[Mistake, ...]
    features: Mapping[str, Floats]
    embeddings: Embeddings | None
    calibration: Calibration | None


@dataclass(frozen=True)
class RunRecord:
    """All that a report can tell of one run."""

    folder: Path
    settings: Mapping[str, object]
    status: Status
    method: str
    environment: Mapping[str, object]
    data: DataRecord | None
    stages: tuple[StageRecord, ...]
    evaluation: EvaluationRecord | None
    views: Path | None


def read_embeddings(fields: Mapping[str, Any]) -> Embeddings:
    """What `geometry.json` holds; KeyError and the like where it is not as lacvit writes it."""
    return Embeddings(
        images=int(fields["images"]),
        of=int(fields["of"]),
        figures={
            encoder: {
                group: {name: float(value) for name, value in groups.get(group, {}).items()}
                for group in ("geometry", "quality")
            }
            for encoder, groups in sorted(
                fields["embeddings"].items(), key=lambda item: item[0] != UNTOUCHED
            )
        },
        verdict=tuple(map(str, fields["verdict"])),
    )


def read_calibration(fields: Mapping[str, Any], test: Mapping[str, Any]) -> Calibration:
    """What `calibration.json` holds, with the test figures of `metrics.json`; errors as above."""
    before, after = (
        Bins(**{key: np.array(values, dtype=float) for key, values in fields[when].items()})
        for when in ("before", "after")
    )
    scores = {
        name: (float(test["before_temperature"][name]), float(test[name]))
        for name in ("ece", "brier", "nll")
    }
    return Calibration(float(fields["temperature"]), before, after, scores)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")

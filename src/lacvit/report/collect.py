"""Reads a run folder. Only `settings.toml` and `status.json` must be there.

What is missing is left out; what is there and broken is named, with its file.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lacvit import evaluated
from lacvit.arms import ARMS
from lacvit.errors import InputError, first_line
from lacvit.evaluated import damaged
from lacvit.report import words
from lacvit.report.record import (
    ClassScore,
    DataRecord,
    EvaluationRecord,
    Floats,
    Mistake,
    Predictions,
    RunRecord,
    Score,
    StageRecord,
    Status,
    read_calibration,
    read_embeddings,
)

Made = TypeVar("Made")

# Feature sets, and the stages of a method that is unknown here, are told in this order.
STAGES, FEATURES = tuple(words.STAGES), tuple(words.FEATURES)


def read_run(folder: Path) -> RunRecord:
    """Everything in `folder` that a report can show.

    Raises:
        InputError: `folder` is no run folder, a file in it is broken, or no epoch is done yet.
    """
    for name in ("settings.toml", "status.json"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is no run folder: it has no {name}. "
                f"Give a folder that `lacvit train` has written."
            )
    settings = _toml(folder / "settings.toml")
    status = _status(folder / "status.json")
    method = status.method or str(settings.get("method") or "")
    data = _data(folder / "data.json")
    views = folder / "figures" / "views.png"
    run = RunRecord(
        folder=folder,
        settings=settings,
        status=status,
        method=method,
        environment=_json(folder / "environment.json"),
        data=data,
        stages=tuple(read_stages(folder, method)),
        evaluation=_evaluation(folder / "evaluation", data),
        views=views if views.is_file() else None,
    )
    if not run.stages and run.evaluation is None:
        raise InputError(
            f"{folder} has nothing to report yet: no stage has finished an epoch "
            f"(status.json: stage {status.stage or 'none'}). "
            f"Let `lacvit train` go on for an epoch, then ask again."
        )
    return run


def _status(path: Path) -> Status:
    fields = _json(path)
    seconds, taken = fields.get("seconds"), fields.get("taken_over")
    before = taken.get("seconds", 0.0) if isinstance(taken, Mapping) else 0.0
    notices = fields.get("notices")
    return Status(
        stage=str(fields.get("stage") or ""),
        finished=bool(fields.get("finished")),
        method=str(fields.get("method") or ""),
        seconds=before + seconds if isinstance(seconds, int | float) else None,
        notices=tuple(str(text) for text in notices) if isinstance(notices, list) else (),
        diverged=str(fields.get("diverged") or ""),
    )


def _data(path: Path) -> DataRecord | None:
    fields: dict[str, Any] = _json(path)
    if not fields:
        return None
    try:
        return DataRecord(
            root=str(fields.get("root") or ""),
            set_root=str(fields.get("set_root") or ""),
            fingerprint=str(fields.get("fingerprint") or ""),
            class_names=tuple(map(str, fields["class_names"])),
            counts={
                split: {str(name): int(count) for name, count in by_class.items()}
                for split, by_class in (fields.get("counts") or {}).items()
            },
        )
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise damaged(
            path, f"class_names or counts are not as lacvit writes them ({fault!r})"
        ) from fault


def _stage_order(method: str) -> tuple[str, ...]:
    planned = ARMS[method].stages if method in ARMS else ()
    return (*planned, *(name for name in STAGES if name not in planned))


def read_stages(folder: Path, method: str) -> Iterable[StageRecord]:
    """The numbers of each stage that has any, in the method's order."""
    for name in _stage_order(method):
        rows = _json_lines(folder / name / "metrics.jsonl")
        if rows:
            yield StageRecord(name, rows)


def _evaluation(folder: Path, data: DataRecord | None) -> EvaluationRecord | None:
    metrics = _json(folder / "metrics.json")
    if not metrics:
        return None
    predictions = _predictions(folder, data)
    features = _features(folder)
    if predictions is not None:
        for name, rows in features.items():
            if len(rows) != len(predictions.labels_N):
                raise damaged(
                    folder / evaluated.FEATURES,
                    f"{name} has {len(rows)} rows and {evaluated.PREDICTIONS} "
                    f"{len(predictions.labels_N)}",
                )
    return EvaluationRecord(
        scores=_scores(folder / "metrics.json", metrics),
        per_class=tuple(_per_class(folder / "per_class.csv")),
        predictions=predictions,
        mistakes=tuple(_mistakes(folder / "mistakes.csv")),
        features=features,
        embeddings=_evidence(folder / "geometry.json", read_embeddings),
        calibration=_evidence(
            folder / "calibration.json", partial(read_calibration, test=metrics.get("test") or {})
        ),
    )


def _evidence(path: Path, read: Callable[[dict[str, Any]], Made]) -> Made | None:
    fields = _json(path)
    if not fields:
        return None
    try:
        return read(fields)
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise damaged(path, f"it is not as lacvit writes it ({fault!r})") from fault


def _scores(path: Path, metrics: Mapping[str, object]) -> dict[str, Score]:
    scores = {}
    for split, fields in metrics.items():
        if not isinstance(fields, Mapping) or "accuracy" not in fields:
            continue
        interval, images, f1 = (fields.get(key) for key in ("interval", "images", "macro_f1"))
        try:
            scores[split] = Score(
                accuracy=float(fields["accuracy"]),
                interval=(float(interval[0]), float(interval[1])) if interval else None,
                images=int(images) if images is not None else None,
                macro_f1=float(f1) if f1 is not None else None,
            )
        except (TypeError, ValueError, IndexError) as fault:
            raise damaged(path, f"{split} is not as lacvit writes it: {fault!r}") from fault
    return scores


def _per_class(path: Path) -> Iterable[ClassScore]:
    for row in _csv(path, ("class", "precision", "recall", "f1", "support")):
        yield ClassScore(
            name=row["class"],
            precision=_float(path, row["precision"]),
            recall=_float(path, row["recall"]),
            f1=_float(path, row["f1"]),
            support=int(_float(path, row["support"])),
        )


def _mistakes(path: Path) -> Iterable[Mistake]:
    for row in _csv(path, ("path", "label", "prediction", "confidence")):
        confidence = _float(path, row["confidence"])
        yield Mistake(row["path"], row["label"], row["prediction"], confidence)


def _predictions(folder: Path, data: DataRecord | None) -> Predictions | None:
    if not (folder / evaluated.PREDICTIONS).is_file():
        return None
    table = evaluated.read_predictions(folder, "label", "prediction")
    labels, predictions = (column.to_pylist() for column in table.columns)
    known = data.class_names if data else ()
    names = (*known, *sorted({*labels, *predictions} - set(known)))
    index = {name: position for position, name in enumerate(names)}
    return Predictions(
        class_names=names,
        labels_N=np.array([index[name] for name in labels], dtype=np.int64),
        predictions_N=np.array([index[name] for name in predictions], dtype=np.int64),
    )


def _features(folder: Path) -> Mapping[str, Floats]:
    found = evaluated.read_features(folder)
    ordered = [name for name in FEATURES if name in found]
    return {name: found[name] for name in (*ordered, *sorted(set(found) - set(FEATURES)))}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise damaged(path, first_line(fault)) from fault


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as fault:
        raise damaged(path, str(fault)) from fault
    if not isinstance(value, dict):
        raise damaged(path, f"it holds a JSON {type(value).__name__}, not an object")
    return value


def _json_lines(path: Path) -> tuple[Mapping[str, object], ...]:
    if not path.is_file():
        return ()
    lines = _text(path).splitlines()
    rows: list[Mapping[str, object]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as fault:
            if number == len(lines):  # a run killed while it wrote; the epoch is not done
                break
            raise damaged(path, f"line {number}: {fault}") from fault
        if not isinstance(row, dict):
            raise damaged(path, f"line {number} holds no JSON object")
        rows.append(row)
    return tuple(rows)


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise damaged(path, str(fault)) from fault


def _csv(path: Path, columns: tuple[str, ...]) -> Iterable[dict[str, str]]:
    if not path.is_file():
        return
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise damaged(path, f"it has no column {', '.join(missing)}")
    yield from reader


def _float(path: Path, text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError as fault:
        raise damaged(path, f"{text!r} is no number") from fault

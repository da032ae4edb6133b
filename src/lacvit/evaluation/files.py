"""The files that keep an evaluation: every answer, scores by class, mistakes, features."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from lacvit.evaluated import PREDICTIONS
from lacvit.evaluation.evaluate import BY_CLASS, Evaluation
from lacvit.run_folder import write_bytes, write_text

Array = npt.NDArray[Any]


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """``per_class.csv``, ``predictions.parquet`` and ``mistakes.csv`` of the test split."""
    names = evaluation.class_names
    rows = [
        (name, *(f"{value:.6g}" for value in values))
        for name, *values in (list(row.values()) for row in evaluation.by_class())
    ]
    write_csv(folder / "per_class.csv", BY_CLASS, rows)
    predictions = evaluation.predictions_N
    table = pa.table(
        {
            "path": list(evaluation.paths),
            "label": [names[c] for c in evaluation.labels_N],
            "prediction": [names[c] for c in predictions],
            "probabilities": list(evaluation.probabilities_NC.astype(np.float32)),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(folder / PREDICTIONS, buffer.getvalue())
    confidence_N = evaluation.probabilities_NC.max(1)
    wrong = np.flatnonzero(predictions != evaluation.labels_N)
    wrong = wrong[np.argsort(-confidence_N[wrong], kind="stable")]
    write_csv(
        folder / "mistakes.csv",
        ("path", "label", "prediction", "confidence"),
        [
            (
                evaluation.paths[i],
                names[evaluation.labels_N[i]],
                names[predictions[i]],
                f"{confidence_N[i]:.4f}",
            )
            for i in wrong
        ],
    )


def write_features(path: Path, features: Mapping[str, Array]) -> None:
    """Features by the stage they come after, each float32 (N, D), as one safetensors file."""
    write_bytes(path, save({name: np.ascontiguousarray(x) for name, x in features.items()}))


def write_csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """A table with a header line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())

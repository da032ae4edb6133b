"""Every figure of a classifier on one split, and the files that keep them.

Shape letters: N images, C classes, D feature dimensions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from lacvit.errors import InputError
from lacvit.metrics.classification import accuracy, macro_f1, per_class, wilson_interval
from lacvit.run_folder import write_bytes, write_text

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """A classifier's answers on labelled images, and what they are worth.

    ``accuracy`` is Accuracy@1 between 0 and 1; ``interval`` its 95 % Wilson interval, which
    covers the choice of test images and not that of the training run.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Array
    probabilities_NC: Array

    @property
    def predictions_N(self) -> Array:
        """The most probable class of each image, int64 (N,)."""
        predicted: Array = np.argmax(self.probabilities_NC, axis=1)
        return predicted

    @property
    def accuracy(self) -> float:
        return accuracy(self.labels_N, self.predictions_N)

    @property
    def interval(self) -> tuple[float, float]:
        correct = int((self.labels_N == self.predictions_N).sum())
        return wilson_interval(correct, len(self.labels_N))

    def summary(self) -> dict[str, object]:
        """What ``metrics.json`` says of this split."""
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "macro_f1": macro_f1(self.labels_N, self.predictions_N),
            "images": len(self.labels_N),
        }


def align_labels(
    labels_N: Array, data_classes: tuple[str, ...], model_classes: tuple[str, ...]
) -> Array:
    """Class ids of a data set as the model's, matched by name, never by position.

    Raises:
        InputError: the data has images of a class that the model does not know.
    """
    present = {data_classes[c] for c in np.unique(labels_N)}
    strangers = sorted(present - set(model_classes))
    if strangers:
        raise InputError(
            f"The model does not know the class{'es' if len(strangers) > 1 else ''} "
            f"{', '.join(strangers[:5])}. It knows {', '.join(model_classes[:10])}"
            f"{', ...' if len(model_classes) > 10 else ''}. "
            f"Classes are matched by name: rename the folders, or leave those images out."
        )
    place = {name: index for index, name in enumerate(model_classes)}
    table = np.array([place.get(name, -1) for name in data_classes], dtype=np.int64)
    aligned: Array = table[labels_N]
    return aligned


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """``per_class.csv``, ``predictions.parquet`` and ``mistakes.csv`` of the test split."""
    names = evaluation.class_names
    scores = per_class(evaluation.labels_N, evaluation.predictions_N, len(names))
    columns = (scores.precision, scores.recall, scores.f1, scores.support)
    rows = [(name, *(f"{column[c]:.6g}" for column in columns)) for c, name in enumerate(names)]
    write_csv(folder / "per_class.csv", ("class", "precision", "recall", "f1", "support"), rows)
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
    write_bytes(folder / "predictions.parquet", buffer.getvalue())
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

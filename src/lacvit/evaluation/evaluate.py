"""A classifier's answers on labelled images, and what they are worth.

Shape letters: N images, C classes, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lacvit.data.batches import evaluation_batches, hold
from lacvit.data.decoding import decoding_threads
from lacvit.data.faults import Fault, drop_unreadable, find_unreadable
from lacvit.data.folders import split_called
from lacvit.data.named_sets import names_a_set
from lacvit.data.readers import notices, read_data
from lacvit.data.records import ImageRecords, some_of
from lacvit.errors import InputError
from lacvit.features import encode
from lacvit.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    log_loss,
    reliability,
    tempered,
)
from lacvit.metrics.classification import accuracy, macro_f1, per_class, wilson_interval
from lacvit.metrics.novelty import novelty_auroc, top_probability
from lacvit.model import Classifier
from lacvit.run_folder import RunFolder, read_json

BATCH = 256  # images a forward pass
BY_CLASS = ("class", "precision", "recall", "f1", "support")

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A classifier's answers on labelled images, and what they are worth.

    ``accuracy`` is Accuracy@1 between 0 and 1; ``interval`` its 95 % Wilson interval, which
    covers the choice of test images and not that of the training run.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Array
    logits_NC: Array
    temperature: float = 1.0  # the classifier's, which divides the logits
    notices: tuple[str, ...] = ()  # what the user should know of the data

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Evaluation(accuracy={self.accuracy:.4f}, interval=({low:.4f}, {high:.4f}), "
            f"images={len(self.labels_N)}, classes={len(self.class_names)})"
        )

    @cached_property
    def probabilities_NC(self) -> Array:
        """Softmax of the logits over the temperature, float32 (N, C)."""
        return tempered(self.logits_NC, self.temperature)

    @property
    def predictions_N(self) -> Array:
        """The most probable class of each image, int64 (N,); no temperature moves it."""
        predicted: Array = np.argmax(self.logits_NC, axis=1)
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
            **self._calibration(self.temperature),
            "temperature": self.temperature,
            "before_temperature": self._calibration(1.0),
        }

    def by_class(self) -> list[dict[str, object]]:
        """Name, precision, recall, F1 and number of images of each class, in their order."""
        scores = per_class(self.labels_N, self.predictions_N, len(self.class_names))
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(self.class_names, *(column.tolist() for column in columns), strict=True)
        return [dict(zip(BY_CLASS, row, strict=True)) for row in rows]

    def novelty_auroc(self, probabilities_M: Sequence[float]) -> float:
        """How well the largest probability tells these images from images of no known class.

        0 to 1; 0.5 tells nothing (:func:`lacvit.metrics.novelty.novelty_auroc`).

        Args:
            probabilities_M: that of each image of no known class, as ``Classifier.predict`` has it.

        Raises:
            InputError: no such image.
        """
        known_N = top_probability(self.probabilities_NC)
        return novelty_auroc(known_N, np.asarray(probabilities_M, dtype=np.float64))

    def _calibration(self, temperature: float) -> dict[str, float]:
        probabilities_NC = tempered(self.logits_NC, temperature)
        return {
            "ece": expected_calibration_error(probabilities_NC, self.labels_N),
            "brier": brier_score(probabilities_NC, self.labels_N),
            "nll": log_loss(self.logits_NC, self.labels_N, temperature=temperature),
        }

    def reliability(self) -> dict[str, object]:
        """What ``calibration.json`` says: the bins of a reliability diagram, before and after."""
        return {
            "temperature": self.temperature,
            "before": _table(tempered(self.logits_NC), self.labels_N),
            "after": _table(self.probabilities_NC, self.labels_N),
        }


def _table(probabilities_NC: Array, labels_N: Array) -> dict[str, list[float]]:
    bins = reliability(probabilities_NC, labels_N)
    columns = ("edges", "counts", "confidence", "accuracy")
    return {name: getattr(bins, name).tolist() for name in columns}


def evaluate(
    classifier: Classifier,
    data: str | Path,
    *,
    split: str = "test",
    root: str | Path | None = None,
) -> Evaluation:
    """A classifier's answers on a split of a data set; on one without splits, on every image.

    ``data`` and ``root`` are those of :func:`lacvit.data.readers.read_data`. As in training, up to
    1 % of the images may be unreadable; they are left out, and the notices name them.

    Raises:
        InputError: no such split, classes that the model does not know, or more unreadable images.
    """
    by_split = read_data(data, root)
    split = split_called(split) or split
    if split not in by_split and "all" not in by_split:
        raise InputError(
            f"{data} has no {split} split; it has {', '.join(by_split)}. Choose one with --split."
        )
    asked = by_split[split if split in by_split else "all"]
    faults, chosen = find_unreadable(asked, decoding_threads())
    chosen = drop_unreadable(chosen, faults, strict=False)
    said = [
        *notices(data, root, by_split),
        *_left_out(faults),
        *_trained_on(classifier.folder, _where(data, root), chosen.paths),
    ]
    return replace(evaluate_records(classifier, chosen), notices=tuple(said))


def _left_out(faults: Sequence[Fault]) -> list[str]:
    named = some_of([f"{fault.path} ({fault.reason})" for fault in faults])
    count = "1 image" if len(faults) == 1 else f"{len(faults)} images"
    return [f"Left out, since unreadable: {count}: {named}."] if faults else []


def _where(data: str | Path, root: str | Path | None) -> Path:
    """The place that paths of records are relative to, the same however it is written."""
    if names_a_set(data, root):
        return (Path(root or ".") / data).resolve()
    place = Path(data).resolve()
    return place.parent if place.is_file() else place


def _trained_on(model: Path | None, place: Path, paths: Sequence[str]) -> list[str]:
    """How many of the images the run of this model had seen, where it lies in its run folder."""
    if model is None or not RunFolder(model.parent).data.exists():
        return []
    manifest = read_json(RunFolder(model.parent).data)
    if not isinstance(manifest, dict) or not {"root", "paths"} <= manifest.keys():
        return []  # a file of something else that is called so too
    base = _where(manifest["root"], manifest.get("set_root"))
    seen = {base / path for split in ("train", "validation") for path in manifest["paths"][split]}
    count = sum(place / path in seen for path in paths)
    if not count:
        return []
    said = (
        f"{count} of these {len(paths)} images trained this model or chose its settings, so the "
        f"accuracy is too high."
    )
    if manifest["paths"].get("test") and RunFolder(model.parent).evaluation.exists():
        said += f" On images that it never saw: {RunFolder(model.parent).evaluation}."
    return [said]


def evaluate_records(classifier: Classifier, records: ImageRecords) -> Evaluation:
    """A classifier's answers on records, whose classes are matched to the model's by name."""
    records = records.relabel(classifier.class_names)
    batches = evaluation_batches(
        hold(records, workers=decoding_threads()),
        classifier.input_spec,
        batch_size=BATCH,
        device=classifier.device,
    )
    features_ND = encode(classifier.backbone, batches, crops=classifier.crops)
    return Evaluation(
        class_names=classifier.class_names,
        paths=records.paths,
        labels_N=records.labels,
        logits_NC=classifier.logits(features_ND),
        temperature=classifier.temperature,
    )

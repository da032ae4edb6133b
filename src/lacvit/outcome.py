"""What a run came to: the test split read, once, and the files that say what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from lacvit.arms import find_arm
from lacvit.backbones import Backbone
from lacvit.data.batches import DecodedImages, hold
from lacvit.data.splits import Splits
from lacvit.distributed import from_main
from lacvit.evaluation.evaluate import Evaluation, evaluate_records
from lacvit.evaluation.files import write_evaluation, write_features
from lacvit.model import Classifier
from lacvit.model_card import model_card
from lacvit.run_folder import RunFolder, read_json, write_json
from lacvit.staging import Run, load_chosen
from lacvit.training.material import encode_images


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run_folder: Path
    accuracy: float  # Accuracy@1 on the test split, 0 to 1
    interval: tuple[float, float]  # its 95 % Wilson interval
    images: int  # in the test split
    notices: tuple[str, ...] = ()


def finish(run: Run, backbone: Backbone, head: nn.Linear, splits: Splits) -> TrainResult:
    """Read the test split, once, and write what the run came to.

    Among several processes each encodes its share of the test images, and the first writes.
    """
    run.folder.update_status(stage="evaluation")
    test_images = hold(splits.test, workers=run.compute.workers)
    features = {"untouched": _untouched_features(run, test_images)}
    encoder_stages = [name for name in find_arm(run.settings.method).stages if name != "head"]
    if encoder_stages:
        features[encoder_stages[-1]] = encode_images(test_images, backbone, run.compute)
    classifier = Classifier(backbone, head, splits.class_names)
    return from_main(partial(_write, run, classifier, splits, features), run.compute.group)


def _write(
    run: Run, classifier: Classifier, splits: Splits, features: Mapping[str, np.ndarray]
) -> TrainResult:
    final = list(features.values())[-1]
    test = Evaluation(
        class_names=splits.class_names,
        paths=splits.test.paths,
        labels_N=splits.test.labels,
        probabilities_NC=classifier.probabilities(final),
    )
    validation = evaluate_records(classifier, splits.validation)
    metrics = {"test": test.summary(), "validation": validation.summary()}
    write_features(run.folder.features / "test.safetensors", features)
    write_evaluation(run.folder.evaluation, test)
    classifier.save(run.folder.model, card=model_card(run.settings, splits.class_names, metrics))
    write_json(run.folder.evaluation / "metrics.json", metrics)
    return read_result(run.folder)


def _untouched_features(run: Run, images: DecodedImages) -> np.ndarray:
    """What the pretrained encoder makes of the images, for the report's "before"."""
    untouched = load_chosen(run.settings)
    return encode_images(images, untouched.to(run.compute.device), run.compute)


def read_result(folder: RunFolder) -> TrainResult:
    """The result of a finished run."""
    test = read_json(folder.evaluation / "metrics.json")["test"]
    low, high = test["interval"]
    notices = tuple(folder.status()["notices"])
    return TrainResult(folder.path, test["accuracy"], (low, high), test["images"], notices)

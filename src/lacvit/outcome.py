"""What a run came to: the test split read, once, and the files that say what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lacvit.arms import UNTOUCHED, find_arm
from lacvit.backbones import Backbone
from lacvit.data.batches import DecodedImages, hold
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits
from lacvit.distributed import from_main
from lacvit.evaluated import FEATURES
from lacvit.evaluation.evaluate import Evaluation
from lacvit.evaluation.files import write_evaluation, write_features
from lacvit.evaluation.geometry import Embedding, chosen_rows, measure_embeddings
from lacvit.evaluation.held_out import SeenAndUnseen, measure_held_out
from lacvit.metrics.calibration import chosen_temperature
from lacvit.metrics.collapse import LinearHead
from lacvit.model import Classifier
from lacvit.model_card import model_card
from lacvit.neighbour_head import NeighbourHead
from lacvit.planning import crops_of
from lacvit.run_folder import RunFolder, read_json, write_json
from lacvit.staging import Run, load_chosen
from lacvit.training.heads import Heads
from lacvit.training.material import encode_images

# The images that a run was measured on; training ones where every image trains, and none is left.
Measured = Literal["test", "validation", "training"]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run_folder: Path
    accuracy: float  # Accuracy@1 on the images that `measured_on` names, 0 to 1
    interval: tuple[float, float]  # its 95 % Wilson interval; of training images it means nothing
    images: int  # that were measured
    notices: tuple[str, ...] = ()
    measured_on: Measured = "test"  # another where no test image is looked at


@dataclass(frozen=True)
class _Encoded:
    """Features of the splits by encoder, `untouched` first and the trained one last."""

    test: Mapping[str, np.ndarray]
    train: Mapping[str, np.ndarray]  # of those images alone that are measured
    train_labels_T: np.ndarray
    validation: np.ndarray  # by the trained encoder
    held_out: Mapping[str, np.ndarray]  # of classes never trained on; empty without them


def finish(run: Run, backbone: Backbone, heads: Heads, splits: Splits) -> TrainResult:
    """Read the test split, once, and write what the run came to.

    Among several processes each encodes its share of the images, and the first writes.
    """
    run.folder.update_status(stage="evaluation")
    encoded = _encode(run, backbone, splits)
    settled = partial(_settle, run, backbone, heads, splits, encoded.validation)
    return from_main(lambda: _write(run, *settled(), splits, encoded), run.compute.group)


def _encode(run: Run, backbone: Backbone, splits: Splits) -> _Encoded:
    """What each encoder makes of the images; what a stage has encoded already is taken from it."""
    test_images = run.shared.images(splits.test, run.compute.workers)
    rows = chosen_rows(len(run.train))
    train_images = run.train.images
    if len(rows) < len(run.train):  # too many to keep decoded
        few = train_images.records.select(rows)
        train_images = hold(few, workers=run.compute.workers, memory_bytes=0)

    @cache
    def pretrained() -> Backbone:
        return load_chosen(run.settings).to(run.compute.device)

    def untouched(images: DecodedImages) -> np.ndarray:
        return run.shared.untouched_features(
            images, backbone, run.compute.in_float32, pretrained, crops_of(run.settings)
        )

    def trained(images: DecodedImages) -> np.ndarray:
        return encode_images(images, backbone, run.compute.in_float32, crops_of(run.settings))

    test = {UNTOUCHED: untouched(test_images)}
    train = {UNTOUCHED: untouched(train_images)}
    solved_on = run.encoded.get("head")  # the last stage, if there is one: the encoder is the same
    name = find_arm(run.settings.method).encoder
    if name != UNTOUCHED:
        test[name] = trained(test_images)
        train[name] = solved_on[0].features_ND[rows] if solved_on else trained(train_images)
    held_out = {}
    if splits.held_out:
        parts = [run.shared.images(part, run.compute.workers) for part in splits.held_out]
        held_out = {UNTOUCHED: np.concatenate([untouched(part) for part in parts])}
        if name != UNTOUCHED:
            held_out[name] = np.concatenate([trained(part) for part in parts])
    labels_T = run.train.labels_N[rows]
    return _Encoded(test, train, labels_T, _validation_features(run, backbone), held_out)


def _validation_features(run: Run, backbone: Backbone) -> np.ndarray:
    solved_on = run.encoded.get("head")
    if solved_on:
        return solved_on[1].features_ND
    return encode_images(
        run.validation.images, backbone, run.compute.in_float32, crops_of(run.settings)
    )


def finish_on_validation(run: Run, backbone: Backbone, heads: Heads, splits: Splits) -> TrainResult:
    """What a run came to on its validation images; no test image is looked at.

    A trial is judged so, and so is a model that was trained on all images.
    """
    run.folder.update_status(stage="evaluation")
    features_ND = _validation_features(run, backbone)

    def write() -> TrainResult:
        model, validation = _settle(run, backbone, heads, splits, features_ND)
        metrics: dict[str, object] = {_watched(splits): validation.summary()}
        model.save(run.folder.model, card=_card(run, splits, metrics))
        write_json(run.folder.evaluation / "metrics.json", metrics)
        return read_result(run.folder)

    return from_main(write, run.compute.group)


def _settle(
    run: Run, backbone: Backbone, heads: Heads, splits: Splits, validation_ND: np.ndarray
) -> tuple[Classifier, Evaluation]:
    """The model with its temperature, and what validation says of the head that it may judge."""
    judged = Classifier(backbone, heads.judged, splits.class_names, crops=crops_of(run.settings))
    if not splits.validation_trains:  # a head is too sure of its own
        logits_NC = judged.logits(validation_ND)
        judged.temperature = chosen_temperature(logits_NC, run.validation.labels_N)
    elif run.settled is not None:
        judged.temperature = run.settled.temperature
    model = Classifier(
        backbone, heads.final, splits.class_names, judged.temperature, crops=crops_of(run.settings)
    )
    return model, _answered(judged, splits.validation, validation_ND)


def _write(
    run: Run, model: Classifier, validation: Evaluation, splits: Splits, encoded: _Encoded
) -> TrainResult:
    test = _answered(model, splits.test, encoded.test[find_arm(run.settings.method).encoder])
    metrics: dict[str, object] = {"test": test.summary()}
    metrics[_watched(splits)] = validation.summary()
    folder = run.folder.evaluation
    write_features(folder / FEATURES, encoded.test)
    write_evaluation(folder, test)
    write_json(folder / "calibration.json", test.reliability())
    write_json(folder / "geometry.json", _geometry(run, model, splits.test.labels, encoded))
    if splits.held_out:
        write_json(folder / "held_out.json", _held_out(model, splits, encoded))
    model.save(run.folder.model, card=_card(run, splits, metrics))
    write_json(folder / "metrics.json", metrics)
    return read_result(run.folder)


def _held_out(model: Classifier, splits: Splits, encoded: _Encoded) -> dict[str, object]:
    name = list(encoded.held_out)[-1]
    return measure_held_out(
        {
            name: SeenAndUnseen(encoded.train[name], encoded.test[name], encoded.held_out[name])
            for name in encoded.held_out
        },
        np.concatenate([part.labels for part in splits.held_out]),
        splits.held_out[0].class_names,
        encoded.train_labels_T,
        (
            model.probabilities(encoded.test[name]),
            model.probabilities(encoded.held_out[name]),
        ),
    )


def _answered(classifier: Classifier, records: ImageRecords, features_ND: np.ndarray) -> Evaluation:
    return Evaluation(
        class_names=classifier.class_names,
        paths=records.paths,
        labels_N=records.labels,
        logits_NC=classifier.logits(features_ND),
        temperature=classifier.temperature,
    )


def _geometry(
    run: Run, classifier: Classifier, labels_N: np.ndarray, encoded: _Encoded
) -> dict[str, object]:
    head = classifier.head
    linear = None  # what the measures of a head's weights need
    if not isinstance(head, NeighbourHead):
        weight_CD, bias_C = (tensor.detach().cpu().numpy() for tensor in (head.weight, head.bias))
        linear = LinearHead(weight_CD, bias_C)
    return measure_embeddings(
        {name: Embedding(encoded.test[name], encoded.train[name]) for name in encoded.test},
        labels_N,
        encoded.train_labels_T,
        head=linear,
        extended=run.settings.evaluation.extended,
    )


def read_result(folder: RunFolder) -> TrainResult:
    """The result of a finished run."""
    metrics = read_json(folder.evaluation / "metrics.json")
    measured: Measured = next(name for name in get_args(Measured) if name in metrics)
    found = metrics[measured]
    low, high = found["interval"]
    notices = tuple(folder.status()["notices"])
    return TrainResult(
        folder.path, found["accuracy"], (low, high), found["images"], notices, measured_on=measured
    )


def _watched(splits: Splits) -> Measured:
    """What the images in the place of validation are."""
    return "training" if splits.validation_trains else "validation"


def _card(run: Run, splits: Splits, metrics: Mapping[str, object]) -> str:
    return model_card(run.settings, splits.class_names, metrics, crops_of(run.settings))
